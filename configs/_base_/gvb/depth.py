"""GV-B's depth, protocol (f): a simple decoder on the four maps of a frozen trunk, scale-invariant logarithmic loss.

The release has no depth; heads and schedule are the simplest common ones (BTS, arXiv 1907.10326) [I]. Metres.
"""

_base_ = ["runtime.py"]
default_scope = "mmseg"

size = (416, 544)  # height, width in pixels: BTS's crop of NYUv2
model = dict(
    type="DepthEstimator",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean="gvb:mean",
        std="gvb:std",
        bgr_to_rgb="gvb:to_rgb",
        pad_val=0,
        seg_pad_val=0,
        size=size,
    ),
    backbone=dict(type="interngv.BenchmarkTrunk", trunk="gvb:trunk", form="maps", frozen=True),
    decode_head=dict(type="interngv.DepthHead", in_channels="gvb:widths", max_depth="gvb:max_depth"),
    test_cfg=dict(mode="whole"),
)
load = dict(type="LoadImageFromFile")
depth = dict(type="LoadDepthAnnotation", depth_rescale_factor="gvb:depth_scale")  # metres a step of the file
pack = dict(type="PackSegInputs")
train_pipeline = [load, depth, dict(type="RandomFlip", prob=0.5), dict(type="RandomCrop", crop_size=size), pack]
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(type="gvb:train", pipeline=train_pipeline),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="gvb:test", pipeline=[load, depth, pack]),
)
test_evaluator = "gvb:evaluator"
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=1e-4, weight_decay=0.01), clip_grad=dict(max_norm=35))
param_scheduler = dict(type="PolyLR", power=0.9, eta_min=1e-6, end=20_000, by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters=20_000)
