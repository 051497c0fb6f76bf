"""GV-B's depth on KITTI: BTS's crop, for pictures that are wider than NYUv2's and differ in size [I]."""

_base_ = ["depth.py"]

size = (352, 704)  # height, width in pixels
load = dict(type="LoadImageFromFile")
depth = dict(type="LoadDepthAnnotation", depth_rescale_factor="gvb:depth_scale")
flip, crop = dict(type="RandomFlip", prob=0.5), dict(type="RandomCrop", crop_size=size)
model = dict(data_preprocessor=dict(size=size))
train_dataloader = dict(dataset=dict(pipeline=[load, depth, flip, crop, dict(type="PackSegInputs")]))
