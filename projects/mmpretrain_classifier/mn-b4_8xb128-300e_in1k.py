"""mmpretrain's ImageClassifier with a MetaNet-B4 backbone on ImageNet-1k: the host's own base files and schedule.

Expected: not published from scratch; run README.md's mini form to see it learn.
Cost: 8 GPUs; hours not measured
Run: see README.md beside this file
"""

_base_ = [
    "mmpretrain::_base_/models/resnet50.py",
    "mmpretrain::_base_/datasets/imagenet_bs128_mbv3.py",
    "mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py",
    "mmpretrain::_base_/default_runtime.py",
]

custom_imports = dict(imports=["interngv"])
default_scope = "mmpretrain"

model = dict(
    backbone=dict(_delete_=True, type="interngv.MetaNet", arch="mn-b4"),
    head=dict(in_channels=1280),  # level 4, the default of out_indices: the projected map
)
