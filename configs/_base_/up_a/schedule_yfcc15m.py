"""DeCLIP's 128 000 steps on YFCC-15M: AdamW, 1e-4 to 1e-3 in 2 500 steps, then a cosine to 0; batch 128 x 32 = 4096."""

_base_ = ["../default_runtime.py"]

optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.1),
    paramwise_cfg=dict(  # no decay on norms, biases and the temperature
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            name: dict(decay_mult=0.0) for name in ("logit_scale", "logit_bias", "in_proj_bias", "text_projection_bias")
        },
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=2_500, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=2_500, end=128_000, T_max=125_500, by_epoch=False),
]
train_cfg = dict(type="interngv.MetaTrainLoop", max_iters=128_000)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2_000))
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(base_batch_size=4096)
