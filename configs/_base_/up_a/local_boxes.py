"""Up-A-L on boxes: FPN, RoIAlign and the sizes of SoCo (arXiv 2106.02637), around a trunk that the config names [I]."""

model = dict(
    type="interngv.LocalSelfSupervision",
    levels=(0, 1, 2, 3),
    neck=dict(type="mmdet.FPN", out_channels=256, num_outs=4),
    matching=dict(type="interngv.BoxMatching"),
    distillation=dict(weight=1.0, embed_dim=512),
)
