"""Frozen mn-mini, its pooled 1280-d feature and a linear layer over ten classes (GV-B's linear probe).

A batch norm without parameters stands before the linear layer, as in MAE's probe (arXiv 2111.06377, A.1): one learning
rate then suits trunks whose features differ in scale by orders, a trained and a random one for instance.
"""

model = dict(
    type="ImageClassifier",
    backbone=dict(type="interngv.MetaNet", arch="mn-mini", frozen_stages=7, norm_eval=True),
    neck=[dict(type="GlobalAveragePooling"), dict(type="ClsBatchNormNeck", input_features=1280)],
    head=dict(type="LinearClsHead", num_classes=10, in_channels=1280, loss=dict(type="CrossEntropyLoss")),
)
