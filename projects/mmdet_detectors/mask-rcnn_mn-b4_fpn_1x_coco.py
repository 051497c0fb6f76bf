"""mmdet's Mask R-CNN with a MetaNet-B4 backbone and FPN on COCO: mmdet's own base files and 1x schedule.

Expected: not published for these weights; run README.md's mini form to see it learn.
Cost: 8 GPUs; hours not measured
"""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]

custom_imports = dict(imports=["interngv"])
default_scope = "mmdet"

model = dict(
    backbone=dict(_delete_=True, type="interngv.MetaNet", arch="mn-b4", out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[64, 128, 192, 384]),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
