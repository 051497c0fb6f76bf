"""The depth decoder for small sets on two cores: narrower, whole pictures at half size, 150 steps."""

_base_ = ["../depth.py"]

size = (128, 160)  # height, width in pixels
model = dict(data_preprocessor=dict(size=size), decode_head=dict(channels=64))
load = dict(type="LoadImageFromFile")
depth = dict(type="LoadDepthAnnotation", depth_rescale_factor="gvb:depth_scale")
pack = dict(type="PackSegInputs")
resize = dict(type="Resize", scale=size[::-1])
loader = dict(num_workers=0, persistent_workers=False)
train_pipeline = [load, depth, resize, dict(type="RandomFlip", prob=0.5), pack]
train_dataloader = dict(**loader, batch_size=8, dataset=dict(pipeline=train_pipeline))
test_dataloader = dict(**loader, batch_size=8, dataset=dict(pipeline=[load, resize, depth, pack]))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = dict(end=150)
train_cfg = dict(max_iters=150)
default_hooks = dict(checkpoint=dict(interval=150))
