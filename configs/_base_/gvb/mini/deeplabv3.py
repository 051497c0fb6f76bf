"""DeepLabv3 for small sets on two cores: narrower, smaller pictures, one process, 150 steps."""

_base_ = ["../deeplabv3.py"]

size = (144, 192)  # height, width in pixels
norm = dict(type="BN", requires_grad=True)
model = dict(
    data_preprocessor=dict(size=size),
    decode_head=dict(channels=64, dilations=(1, 2, 4, 6), norm_cfg=norm),
    auxiliary_head=dict(channels=32, norm_cfg=norm),
)
load, labels, pack = dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")
resize = dict(type="Resize", scale=size[::-1])
flip = dict(type="RandomFlip", prob=0.5)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(**loader, batch_size=8, dataset=dict(pipeline=[load, labels, resize, flip, pack]))
test_dataloader = dict(**loader, batch_size=8, dataset=dict(pipeline=[load, resize, labels, pack]))
optim_wrapper = dict(optimizer=dict(_delete_=True, type="AdamW", lr=1e-3, weight_decay=0.01))
param_scheduler = dict(end=150)
train_cfg = dict(max_iters=150)
default_hooks = dict(checkpoint=dict(interval=150))
