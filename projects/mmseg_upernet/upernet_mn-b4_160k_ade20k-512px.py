"""mmseg's UPerNet with a MetaNet-B4 backbone on ADE20K: mmseg's own base files, data and 160k schedule.

Expected: not published for these weights; run README.md's mini form to see it learn.
Cost: 8 GPUs, 2 photographs each; hours not measured
"""

_base_ = [
    "mmseg::_base_/models/upernet_r50.py",
    "mmseg::_base_/datasets/ade20k.py",
    "mmseg::_base_/default_runtime.py",
    "mmseg::_base_/schedules/schedule_160k.py",
]

custom_imports = dict(imports=["interngv"])
default_scope = "mmseg"

model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(512, 512)),  # pixels
    backbone=dict(_delete_=True, type="interngv.MetaNet", arch="mn-b4", out_indices=(0, 1, 2, 3)),
    decode_head=dict(in_channels=[64, 128, 192, 384], num_classes=150),
    auxiliary_head=dict(in_channels=192, num_classes=150),
)
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=6e-5, weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
)
train_dataloader = dict(batch_size=2)
