"""AdamW as on YFCC-15M for small sets on two cores: 1 500 steps, warm-up 100."""

_base_ = ["schedule_yfcc15m.py"]

param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=100, end=1_500, T_max=1_400, by_epoch=False),
]
train_cfg = dict(max_iters=1_500, val_interval=1_500)
default_hooks = dict(checkpoint=dict(interval=500))
