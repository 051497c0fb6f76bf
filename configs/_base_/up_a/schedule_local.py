"""A short training at a small rate, which is to adapt a trunk and not to replace it [I]: nothing of it is published."""

_base_ = ["../default_runtime.py"]

optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=500, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=500, end=20_000, T_max=19_500, by_epoch=False),
]
train_cfg = dict(type="interngv.MetaTrainLoop", max_iters=20_000)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2_000))
log_processor = dict(by_epoch=False)
