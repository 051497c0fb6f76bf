"""The same with mn-mini on photographs of people, two classes: other sizes, data and schedule, no other code."""

_base_ = "upernet_mn-b4_160k_ade20k-512px.py"

norm_cfg = dict(type="BN", requires_grad=True)  # one process: the host's SyncBN would need a GPU
size = (160, 224)  # height, width in pixels
model = dict(
    data_preprocessor=dict(size=size),
    backbone=dict(arch="mn-mini"),
    decode_head=dict(in_channels=[24, 40, 64, 128], channels=64, num_classes=2, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=64, channels=32, num_classes=2, norm_cfg=norm_cfg),
)

resize = dict(type="Resize", scale=size[::-1])
load, labels, pack = dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")
people = dict(
    _delete_=True,
    type="BaseSegDataset",
    data_root="data/people_seg",
    metainfo=dict(classes=("background", "person"), palette=[[0, 0, 0], [220, 20, 60]]),
)
train = dict(
    data_prefix=dict(img_path="images/train", seg_map_path="annotations/train"),
    pipeline=[load, labels, resize, dict(type="RandomFlip", prob=0.5), dict(type="PhotoMetricDistortion"), pack],
)
val = dict(
    data_prefix=dict(img_path="images/val", seg_map_path="annotations/val"), pipeline=[load, resize, labels, pack]
)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(**loader, batch_size=8, dataset=dict(**people, **train))
val_dataloader = dict(**loader, dataset=dict(**people, **val))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=150, val_interval=150)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [dict(type="PolyLR", eta_min=1e-5, power=0.9, end=150, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=150))
