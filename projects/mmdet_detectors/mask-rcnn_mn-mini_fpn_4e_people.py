"""The same with mn-mini on photographs of people, made into instances by people_instances.py: other sizes only."""

_base_ = "mask-rcnn_mn-b4_fpn_1x_coco.py"

model = dict(
    backbone=dict(arch="mn-mini"),
    neck=dict(in_channels=[24, 40, 64, 128], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=1),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(in_channels=64, conv_out_channels=64, num_classes=1),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=64)), rpn_proposal=dict(max_per_img=200)),
    test_cfg=dict(rpn=dict(max_per_img=200), rcnn=dict(max_per_img=20)),
)

resize = dict(type="Resize", scale=(160, 128), keep_ratio=True)  # pixels
train_pipeline = _base_.train_pipeline
train_pipeline[2] = resize
test_pipeline = _base_.test_pipeline
test_pipeline[1] = resize
loader = dict(batch_size=2, num_workers=0, persistent_workers=False)
people = dict(data_root="data/", metainfo=dict(classes=("person",)))
val = dict(ann_file="people_instances/val.json", data_prefix=dict(img="people_seg/images/val/"), pipeline=test_pipeline)
train = dict(
    ann_file="people_instances/train.json", data_prefix=dict(img="people_seg/images/train/"), pipeline=train_pipeline
)
train_dataloader = dict(**loader, dataset=dict(**people, **train))
val_dataloader = dict(**loader, dataset=dict(**people, **val))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="data/people_instances/val.json")
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=4, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [dict(type="CosineAnnealingLR", end=4, T_max=4, convert_to_iter_based=True)]
