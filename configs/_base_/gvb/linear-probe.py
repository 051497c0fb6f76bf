"""GV-B's linear probe, protocol (a): frozen trunk, one linear layer, the released schedule.

Source: gv-benchmark, configs/cls/linear_probe. No augmentation; 10 000 steps of 64 pictures a GPU, SGD, three falls of
the rate.
Words that begin with ``gvb:`` are filled in for a trunk and a task (interngv/gvb/templates.py).
"""

_base_ = ["runtime.py"]
default_scope = "mmpretrain"

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(mean="gvb:mean", std="gvb:std", to_rgb="gvb:to_rgb", num_classes="gvb:classes"),
    backbone=dict(type="interngv.BenchmarkTrunk", trunk="gvb:trunk", form="pooled", frozen=True),
    head=dict(
        type="LinearClsHead",
        num_classes="gvb:classes",
        in_channels="gvb:width",
        loss=dict(type="CrossEntropyLoss"),
        init_cfg=dict(type="Kaiming", layer="Linear", a=5**0.5, mode="fan_out", distribution="uniform"),
    ),
)
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale="gvb:size", edge="short", backend="pillow"),
    dict(type="CenterCrop", crop_size="gvb:size"),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    batch_size=512,  # 64 on each of 8 GPUs, here in one process
    num_workers=4,
    persistent_workers=True,
    dataset=dict(type="gvb:train", pipeline=pipeline),
    sampler=dict(type="InfiniteSampler"),
)
test_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=dict(type="gvb:test", pipeline=pipeline),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_evaluator = "gvb:evaluator"
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.001))
param_scheduler = dict(type="MultiStepLR", milestones=[3000, 6000, 9000], gamma=0.1, by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters=10_000)
