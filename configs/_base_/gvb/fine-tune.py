"""Full fine-tuning of a classifier, protocol (e): the whole trunk learns, the head ten times as fast.

INTERN gives no schedule for it; AdamW and a cosine over 2 000 steps are a common choice for few labels [I].
"""

_base_ = ["linear-probe.py"]

model = dict(backbone=dict(frozen=False))
crop = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale="gvb:size", crop_ratio_range=(0.4, 1.0), backend="pillow"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=crop))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=0.1)}),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=100),
    dict(type="CosineAnnealingLR", begin=100, end=2000, T_max=1900, by_epoch=False),
]
train_cfg = dict(max_iters=2000)
