"""Fashion-MNIST (arXiv 1708.07747), 60 000 + 10 000 grey images, at 32x32; grey becomes three equal channels.

The folder comes from `python -m interngv.gvd.layouts fashion-mnist`.
"""

# mean and deviation of the training images' pixels; three values make three channels of one by broadcasting
data_preprocessor = dict(num_classes=10, mean=[72.94] * 3, std=[90.02] * 3)

train_pipeline = [
    dict(type="Resize", scale=32),
    dict(type="RandomCrop", crop_size=32, padding=3),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
test_pipeline = [dict(type="Resize", scale=32), dict(type="PackInputs")]

data_facts = dict(type="FashionMNIST", data_root="data/fashion-mnist", download=False)
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(**data_facts, split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**data_facts, split="test", test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=1)
test_evaluator = val_evaluator
