"""AdamW as on YFCC-15M for small sets on two cores: 1 200 steps, warm-up 100."""

_base_ = ["schedule_yfcc15m.py"]

param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=100, end=1_200, T_max=1_100, by_epoch=False),
]
train_cfg = dict(max_iters=1_200, val_interval=1_200)
default_hooks = dict(checkpoint=dict(interval=400))
