"""GV-B's detection on CityPersons: larger pictures, cropped around people, 60 epochs over a list repeated ten times.

Source: gv-benchmark, configs/det (one picture a GPU, SGD 0.01, steps at 30 and 40).
"""

_base_ = ["faster-rcnn.py"]

load, labels = dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)
meta = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
train_pipeline = [
    load,
    labels,
    dict(type="PhotoMetricDistortion"),
    dict(type="MinIoURandomCrop", min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_crop_size=0.1),
    dict(type="RandomResize", scale=[(1216, 608), (2048, 1024)], keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    load,
    dict(type="Resize", scale=(2048, 1024), keep_ratio=True),
    labels,
    dict(type="PackDetInputs", meta_keys=meta),
]
train_dataloader = dict(batch_size=1, dataset=dict(times=10, dataset=dict(pipeline=train_pipeline)))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
optim_wrapper = dict(optimizer=dict(lr=0.01), clip_grad=dict(max_norm=35))
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 3, by_epoch=False, end=500 * 8),
    dict(type="MultiStepLR", milestones=[30, 40], gamma=0.1, end=60),
]
train_cfg = dict(max_epochs=60)
