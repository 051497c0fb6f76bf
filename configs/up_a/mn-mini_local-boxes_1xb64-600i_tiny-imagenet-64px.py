"""Up-A-L on boxes, mn-mini, Tiny ImageNet at 64 px, from its DeCLIP.

Paper: INTERN (arXiv 2111.08687), Up-A-L, whose loss is not public [I]
Expected: docs/results/up_a.md
Cost: 8 minutes on two CPU cores, and upstream
Data: as upstream
Run: python tools/train.py configs/up_a/mn-mini_local-boxes_1xb64-600i_tiny-imagenet-64px.py --with-upstream
Next: Up-E
"""

_base_ = [
    "../_base_/up_a/local_boxes.py",
    "../_base_/up_a/local_views.py",
    "../_base_/up_a/schedule_local.py",
]

upstream = dict(
    config="mn-mini_declip_1xb64-1500i_tiny-imagenet-64px.py", select={"image.trunk": "trunk", "image": "teacher"}
)
model = dict(
    trunk=dict(type="interngv.MetaNet", arch="mn-mini", out_indices=(0, 1, 2, 3, 4)),
    neck=dict(in_channels=[24, 40, 64, 128], out_channels=64),
    matching=dict(width=64, count=4, finest_scale=8, cells=3, head=256, hidden=512, out=128),
    distillation=dict(embed_dim=128),
)
view = dict(crop=dict(scale=64, crop_ratio_range=(0.2, 1.0), backend="pillow"), flip=0.5, photometric=_base_.colours)
local_views = [dict(type="interngv.LocalViews", views=[view, view])]
data = dict(data_root="data/tiny_imagenet", split="train", pipeline=_base_.load + local_views + _base_.local_pack)
train_dataloader = dict(num_workers=1, sources=dict(pairs=dict(batch_size=64, dataset=data)))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=50, end=600, T_max=550, by_epoch=False),
]
train_cfg = dict(max_iters=600)
default_hooks = dict(checkpoint=dict(interval=300))
