"""MNIST subset of 5 000 digits (2 500 train + 2 500 test, halved by us) at 32x32; grey becomes three equal channels.

The folder comes from `python -m interngv.gvd.layouts mnist-5k`.
"""

# Fashion-MNIST's pixel statistics: a probe keeps the normalisation of its trunk's upstream set
data_preprocessor = dict(num_classes=10, mean=[72.94] * 3, std=[90.02] * 3)

pipeline = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=32), dict(type="PackInputs")]

data_facts = dict(type="CustomDataset", data_root="data/mnist-5k", data_prefix="images", pipeline=pipeline)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(**data_facts, ann_file="meta/train.txt"),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**data_facts, ann_file="meta/test.txt"),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=1)
test_evaluator = val_evaluator
