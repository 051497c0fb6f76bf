"""AdamW over 3 epochs: half an epoch of linear warm-up, then a cosine to zero; no decay on norms, biases and scales."""

_base_ = ["adamw.py"]

param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, end=0.5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=0.5, end=3, T_max=2.5, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=1)
val_cfg = dict()
test_cfg = dict()
