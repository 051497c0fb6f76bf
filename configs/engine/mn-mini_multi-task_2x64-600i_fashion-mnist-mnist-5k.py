"""Two classifiers with label spaces of their own on one mn-mini: Fashion-MNIST and 2 500 digits of MNIST-5k, at 32x32.

Paper: INTERN (arXiv 2111.08687), Up-E: one trunk, a head per data set
Expected: 75.0 % top-1 on Fashion-MNIST's 10 000 test images, 95.3 % on the other 2 500 digits
Cost: about 2 minutes on two CPU cores
Data: python -m interngv.gvd.layouts fashion-mnist && python -m interngv.gvd.layouts mnist-5k
Run: python tools/train.py configs/engine/mn-mini_multi-task_2x64-600i_fashion-mnist-mnist-5k.py
Next: none
"""

_base_ = [
    "../_base_/models/mn-mini_two-classifiers.py",
    "../_base_/datasets/fashion-mnist_mnist-5k_32px.py",
    "../_base_/schedules/adamw.py",
    "../_base_/default_runtime.py",
]

param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, end=60, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=60, end=600, T_max=540, by_epoch=False),
]
train_cfg = dict(type="interngv.MetaTrainLoop", max_iters=600, val_interval=300)
val_cfg = dict(type="interngv.MetaValLoop", score={"clothes/accuracy/top1": 0.5, "digits/accuracy/top1": 0.5})
test_cfg = dict(type="interngv.MetaTestLoop")
log_processor = dict(by_epoch=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=100, save_best="score"))
