"""mn-mini under two classifiers of ten classes each; both keep the normalisation of Fashion-MNIST."""

classifier = dict(
    type="mmpretrain.ImageClassifier",
    data_preprocessor=dict(num_classes=10, mean=[72.94] * 3, std=[90.02] * 3),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=1280, loss=dict(type="CrossEntropyLoss")),
)
model = dict(
    type="interngv.MultiTaskModel",
    trunk=dict(type="interngv.MetaNet", arch="mn-mini"),
    tasks=dict(clothes=classifier, digits=classifier),
)
