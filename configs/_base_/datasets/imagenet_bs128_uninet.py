"""ImageNet-1k at 224 with UniNet's augmentation (DeiT's without random erasing): folders and lists as in mmpretrain.

A config at another size repeats the two crop steps and takes the rest from here: `_base_.augment`, `_base_.pack`.
Sources: UniNet exp/b1/run.sh for RandAugment, erasing 0, mixup, cutmix and batch 128; DeiT main.py and datasets.py for
what the script leaves at its default (bicubic, random area 0.08-1, test edge = size * 256 / 224).
"""

data_preprocessor = dict(num_classes=1000, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

load = [dict(type="LoadImageFromFile")]
augment = [
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(  # rand-m9-mstd0.5-inc1
        type="RandAugment",
        policies="timm_increasing",
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation="bicubic"),  # the mean pixel, BGR
    ),
]
pack = [dict(type="PackInputs")]

crop = [dict(type="RandomResizedCrop", scale=224, backend="pillow", interpolation="bicubic")]
centre = [
    dict(type="ResizeEdge", scale=256, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="CenterCrop", crop_size=224),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="ImageNet", data_root="data/imagenet", split="train", pipeline=load + crop + augment + pack),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="ImageNet", data_root="data/imagenet", split="val", pipeline=load + centre + pack),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1, 5))
test_evaluator = val_evaluator
