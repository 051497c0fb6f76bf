"""Up-A-L on the cells of the coarsest map, after PixPro (arXiv 2011.10043), around a trunk that a config names [I]."""

model = dict(
    type="interngv.LocalSelfSupervision",
    matching=dict(type="interngv.DenseMatching"),
    distillation=dict(weight=1.0, embed_dim=512),
)
