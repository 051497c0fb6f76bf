"""Faster R-CNN for small sets on two cores: narrower, smaller pictures, 200 steps."""

_base_ = ["../faster-rcnn.py"]

model = dict(
    neck=dict(out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=64), bbox_head=dict(in_channels=64, fc_out_channels=256)),
    train_cfg=dict(rcnn=dict(sampler=dict(num=128)), rpn_proposal=dict(max_per_img=300)),
    test_cfg=dict(rpn=dict(max_per_img=300)),
)
load, labels = dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)
resize = dict(type="Resize", scale=(192, 144), keep_ratio=True)  # pixels, width and height
meta = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
train_pipeline = [load, labels, resize, dict(type="RandomFlip", prob=0.5), dict(type="PackDetInputs")]
test_pipeline = [load, resize, labels, dict(type="PackDetInputs", meta_keys=meta)]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_delete_=True, type="InfiniteSampler"),
    batch_sampler=None,
    dataset=dict(_delete_=True, type="gvb:train", pipeline=train_pipeline),
)
test_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(pipeline=test_pipeline))
optim_wrapper = dict(accumulative_counts=1, optimizer=dict(_delete_=True, type="AdamW", lr=1e-3, weight_decay=0.01))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=20),
    dict(type="CosineAnnealingLR", begin=20, end=200, T_max=180, by_epoch=False),
]
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=200)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=200))
log_processor = dict(by_epoch=False)
