"""GV-B's face detection: the same Faster R-CNN with small anchors. The release has no config for it [I]."""

_base_ = ["faster-rcnn.py"]

model = dict(
    rpn_head=dict(anchor_generator=dict(scales=[4])), test_cfg=dict(rcnn=dict(score_thr=0.01, max_per_img=750))
)
