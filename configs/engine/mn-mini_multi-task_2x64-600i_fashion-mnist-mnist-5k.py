"""Two classifiers with label spaces of their own on one mn-mini: Fashion-MNIST and 2 500 digits of MNIST-5k, at 32x32.

Paper: INTERN (arXiv 2111.08687), Up-E: one trunk, a head per data set
Expected: 75.0 % top-1 on Fashion-MNIST's 10 000 test images, 95.3 % on the other 2 500 digits
Cost: about 2 minutes on two CPU cores
Data: python -m interngv.gvd.layouts fashion-mnist && python -m interngv.gvd.layouts mnist-5k
Run: python tools/train.py configs/engine/mn-mini_multi-task_2x64-600i_fashion-mnist-mnist-5k.py
Next: none
"""

_base_ = ["../_base_/default_runtime.py"]

classifier = dict(
    type="mmpretrain.ImageClassifier",
    data_preprocessor=dict(num_classes=10, mean=[72.94] * 3, std=[90.02] * 3),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=1280, loss=dict(type="CrossEntropyLoss")),
)
model = dict(
    type="interngv.MultiTaskModel",
    trunk=dict(type="interngv.MetaNet", arch="mn-mini"),
    tasks=dict(clothes=classifier, digits=classifier),
)

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

optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, end=60, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=60, end=600, T_max=540, by_epoch=False),
]
train_cfg = dict(type="interngv.MetaTrainLoop", max_iters=600, val_interval=300)
val_cfg = dict(type="interngv.MetaValLoop", score={"clothes/accuracy/top1": 0.5, "digits/accuracy/top1": 0.5})
test_cfg = dict(type="interngv.MetaTestLoop")
log_processor = dict(by_epoch=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=100, save_best="score"))
