"""A MetaNet with a 1000-class head, UniNet's loss: label smoothing 0.1, mixup 0.8 and cutmix 1.0 in equal parts."""

model = dict(
    type="ImageClassifier",
    backbone=dict(type="interngv.MetaNet", arch="mn-b4", drop_path_rate=0.0),  # drop path 0: exp/b1/run.sh
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=1280,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
    ),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)
