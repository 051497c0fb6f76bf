"""GV-B's detection, protocol (f): Faster R-CNN with an FPN on a frozen trunk, as released for VOC07+12.

Source: gv-benchmark, configs/det/linear_probe/faster_rcnn. 12 epochs over a list that is repeated three times, two
pictures a GPU, mAP on VOC07's test set. Words that begin with ``gvb:`` are filled in (interngv/gvb/templates.py).
"""

_base_ = ["runtime.py"]
default_scope = "mmdet"

box = dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4)
assign = dict(type="MaxIoUAssigner", pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, ignore_iof_thr=-1)
sample = dict(type="RandomSampler", num=256, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=False)
model = dict(
    type="FasterRCNN",
    data_preprocessor=dict(
        type="DetDataPreprocessor", mean="gvb:mean", std="gvb:std", bgr_to_rgb="gvb:to_rgb", pad_size_divisor=32
    ),
    backbone=dict(type="interngv.BenchmarkTrunk", trunk="gvb:trunk", form="maps", frozen=True),
    neck=dict(type="FPN", in_channels="gvb:widths", out_channels=256, num_outs=5),
    rpn_head=dict(
        type="RPNHead",
        in_channels=256,
        feat_channels=256,
        anchor_generator=dict(type="AnchorGenerator", scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]),
        bbox_coder=dict(**box, target_stds=[1.0] * 4),
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True),
        loss_bbox=dict(type="SmoothL1Loss", beta=1 / 9),
    ),
    roi_head=dict(
        type="StandardRoIHead",
        bbox_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32],
        ),
        bbox_head=dict(
            type="Shared2FCBBoxHead",
            in_channels=256,
            fc_out_channels=1024,
            roi_feat_size=7,
            num_classes="gvb:classes",
            bbox_coder=dict(**box, target_stds=[0.1, 0.1, 0.2, 0.2]),
            reg_class_agnostic=False,
            loss_cls=dict(type="CrossEntropyLoss"),
            loss_bbox=dict(type="SmoothL1Loss", beta=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(assigner=assign, sampler=sample, allowed_border=0, pos_weight=-1),
        rpn_proposal=dict(nms_pre=2000, max_per_img=2000, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(
            assigner=dict(assign, pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False),
            sampler=dict(sample, num=512, pos_fraction=0.25, add_gt_as_proposals=True),
            pos_weight=-1,
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=1000, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100),
    ),
)
load, labels = dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)
resize = dict(type="Resize", scale=(1000, 600), keep_ratio=True)  # pixels, width and height
meta = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
train_pipeline = [load, labels, resize, dict(type="RandomFlip", prob=0.5), dict(type="PackDetInputs")]
test_pipeline = [load, resize, labels, dict(type="PackDetInputs", meta_keys=meta)]
train_dataloader = dict(
    batch_size=2,  # a GPU
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict(
        type="RepeatDataset",
        times=3,
        dataset=dict(type="gvb:train", filter_cfg=dict(filter_empty_gt=True), pipeline=train_pipeline),
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="gvb:test", pipeline=test_pipeline),
)
test_evaluator = "gvb:evaluator"
test_cfg = dict()
optim_wrapper = dict(
    type="OptimWrapper",
    accumulative_counts=8,  # for the release's 8 GPUs, here one process
    optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, end=500 * 8),
    dict(type="MultiStepLR", milestones=[8, 11], gamma=0.1, end=12),
]
train_cfg = dict(by_epoch=True, max_epochs=12)
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1))
log_processor = dict(by_epoch=True)
