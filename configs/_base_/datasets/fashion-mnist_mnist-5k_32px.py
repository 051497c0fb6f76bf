"""Fashion-MNIST (60 000 + 10 000) and MNIST-5k (2 500 + 2 500), a source and a task each, at 32x32.

The folders come from `python -m interngv.gvd.layouts fashion-mnist` and `... mnist-5k`.
"""

crop = [dict(type="Resize", scale=32), dict(type="RandomCrop", crop_size=32, padding=3), dict(type="PackInputs")]
plain = [dict(type="Resize", scale=32), dict(type="PackInputs")]
clothes = dict(type="mmpretrain.FashionMNIST", data_root="data/fashion-mnist", download=False)
digits = dict(type="mmpretrain.CustomDataset", data_root="data/mnist-5k", data_prefix="images")
read = dict(type="LoadImageFromFile")
train_dataloader = dict(
    type="interngv.MetaDataLoader",
    schedule="joint",
    num_workers=1,
    sources=dict(
        clothes=dict(batch_size=64, dataset=dict(**clothes, split="train", pipeline=crop)),
        digits=dict(batch_size=64, dataset=dict(**digits, ann_file="meta/train.txt", pipeline=[read, *crop])),
    ),
)
validation = dict(
    batch_size=256,
    num_workers=1,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_dataloader = dict(
    clothes=dict(**validation, dataset=dict(**clothes, split="test", test_mode=True, pipeline=plain)),
    digits=dict(**validation, dataset=dict(**digits, ann_file="meta/test.txt", pipeline=[read, *plain])),
)
test_dataloader = val_dataloader
accuracy = dict(type="mmpretrain.Accuracy", topk=1)
val_evaluator = dict(clothes=accuracy, digits=accuracy)
test_evaluator = val_evaluator
