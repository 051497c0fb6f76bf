"""mn-mini with a linear classification head over ten classes."""

model = dict(
    type="ImageClassifier",
    backbone=dict(type="interngv.MetaNet", arch="mn-mini"),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=1280, loss=dict(type="CrossEntropyLoss")),
)
