"""mn-mini, supervised, on 2 500 digits of MNIST-5k: the demo's upstream stage where only PyPI can be reached.

Paper: INTERN (arXiv 2111.08687), GV-A
Expected: 96.7 % top-1 on the other 2 500 digits
Cost: about 2.5 minutes on two CPU cores
Data: python -m interngv.gvd.layouts mnist-5k
Run: python tools/train.py configs/gva/mn-mini_1xb64-20e_mnist-5k-32px.py
Next: configs/gvb/mn-mini_linear-probe_1xb64-500i_digits-8x8-10p-32px.py
"""

_base_ = [
    "../_base_/models/mn-mini_cls.py",
    "../_base_/datasets/mnist-5k_32px.py",
    "../_base_/schedules/adamw_3e.py",
    "../_base_/default_runtime.py",
]

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=32),
    dict(type="RandomCrop", crop_size=32, padding=3),
    dict(type="PackInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, end=2, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=2, end=20, T_max=18, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=20, val_interval=5)
