"""UniNet's 300 epochs on ImageNet-1k (exp/b1/run.sh over the defaults of DeiT's main.py), batch 128 x 8 = 1024."""

optim_wrapper = dict(
    # DeiT's scaling of the rate: 5e-4 at a batch of 512
    optimizer=dict(type="AdamW", lr=5e-4 * 1024 / 512, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999)),
    # timm's rule, no decay on vectors (norms, biases, LayerScale); `temperature` is UniNet's no_weight_decay list
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys=dict(temperature=dict(decay_mult=0.0)),
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, end=5, convert_to_iter_based=True),  # from DeiT's warmup_lr 1e-6
    dict(type="CosineAnnealingLR", begin=5, end=300, T_max=295, eta_min=1e-5, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
custom_hooks = [dict(type="EMAHook", momentum=1 - 0.99996, priority="ABOVE_NORMAL")]  # model_ema_decay 0.99996
