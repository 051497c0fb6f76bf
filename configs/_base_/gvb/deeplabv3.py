"""GV-B's segmentation, protocol (f): DeepLabv3 on a frozen trunk, as released for VOC2012 with SBD's labels.

Source: gv-benchmark, configs/seg/linear_probe/deeplabv3: ASPP on the map of stride 32, an FCN on that of stride 16;
20 000 steps of 2 pictures a GPU; how many GPUs is not said, here it is one process [I]. Words that begin with ``gvb:``
are filled in (interngv/gvb/templates.py).
"""

_base_ = ["runtime.py"]
default_scope = "mmseg"

size = (512, 512)  # height, width in pixels
norm = dict(type="SyncBN", requires_grad=True)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean="gvb:mean",
        std="gvb:std",
        bgr_to_rgb="gvb:to_rgb",
        pad_val=0,
        seg_pad_val=255,
        size=size,
    ),
    backbone=dict(type="interngv.BenchmarkTrunk", trunk="gvb:trunk", form="maps", frozen=True),
    decode_head=dict(
        type="ASPPHead",
        in_channels="gvb:widths.3",
        in_index=3,
        channels=512,
        dilations=(1, 12, 24, 36),
        dropout_ratio=0.1,
        num_classes="gvb:classes",
        norm_cfg=norm,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels="gvb:widths.2",
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        num_classes="gvb:classes",
        norm_cfg=norm,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=0.4),
    ),
    test_cfg=dict(mode="whole"),
)
load, labels, pack = dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")
train_pipeline = [
    load,
    labels,
    dict(type="RandomResize", scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    pack,
]
test_pipeline = [load, dict(type="Resize", scale=(2048, 512), keep_ratio=True), labels, pack]
train_dataloader = dict(
    batch_size=2,  # a GPU
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(type="gvb:train", pipeline=train_pipeline),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="gvb:test", pipeline=test_pipeline),
)
test_evaluator = "gvb:evaluator"
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(type="PolyLR", power=0.9, eta_min=1e-4, end=20_000, by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters=20_000)
