"""The same with mn-mini on 2 000 CIFAR-10 photographs of 32 pixels: other sizes, data and schedule, no other code.

Expected: see README.md
Cost: see README.md
"""

_base_ = "mn-b4_8xb128-300e_in1k.py"

model = dict(backbone=dict(arch="mn-mini"), head=dict(num_classes=10))
data_preprocessor = dict(num_classes=10)

load = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=32)]
augment = [dict(type="RandomCrop", crop_size=32, padding=4), dict(type="RandomFlip", prob=0.5, direction="horizontal")]
loader = dict(batch_size=64, num_workers=0, persistent_workers=False)
folder = dict(_delete_=True, type="CustomDataset", data_root="data/cifar10_mini")
pack = [dict(type="PackInputs")]
train_dataloader = dict(**loader, dataset=dict(**folder, data_prefix="train", pipeline=load + augment + pack))
val_dataloader = dict(**loader, dataset=dict(**folder, data_prefix="val", pipeline=load + pack))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=12, val_interval=12)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=1, end=12, T_max=11, convert_to_iter_based=True),
]
