"""The same with mn-mini on BCCD, blood cells of three classes: other sizes, data and schedule, no other code."""

_base_ = "faster-rcnn_mn-b4_fpn_1x_coco.py"

model = dict(
    backbone=dict(arch="mn-mini"),
    neck=dict(in_channels=[24, 40, 64, 128], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=3),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=128)), rpn_proposal=dict(max_per_img=300)),
    test_cfg=dict(rpn=dict(max_per_img=300)),
)

resize = dict(type="Resize", scale=(192, 144), keep_ratio=True)  # pixels
train_pipeline = _base_.train_pipeline
train_pipeline[2] = resize
test_pipeline = _base_.test_pipeline
test_pipeline[1] = resize
loader = dict(batch_size=2, num_workers=0, persistent_workers=False)
cells = dict(
    data_root="data/bccd/", metainfo=dict(classes=("RBC", "WBC", "Platelets")), data_prefix=dict(img="images/")
)
train_dataloader = dict(**loader, dataset=dict(**cells, ann_file="annotations/train.json", pipeline=train_pipeline))
val_dataloader = dict(**loader, dataset=dict(**cells, ann_file="annotations/val.json", pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="data/bccd/annotations/val.json")
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=4, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=40),
    dict(type="CosineAnnealingLR", end=4, T_max=4, convert_to_iter_based=True),
]
