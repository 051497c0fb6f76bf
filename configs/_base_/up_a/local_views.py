"""Two views at 224 that know where they lie in the image, with MoCo v2's colours: SoCo's first two (arXiv 2106.02637).

A config at another size repeats `view` and `local_views` with its own crop.
"""

_base_ = ["two_views.py"]

colours = _base_.jitter[:-1]  # without the flip, which a view has for itself
view = dict(crop=dict(scale=224, crop_ratio_range=(0.2, 1.0), backend="pillow"), flip=0.5, photometric=colours)
local_views = [dict(type="interngv.LocalViews", views=[view, view])]
local_pack = [dict(type="PackInputs", algorithm_keys=("view_boxes", "view_flips"), meta_keys=("img_path",))]
train_dataloader = dict(
    num_workers=8, sources=dict(pairs=dict(dataset=dict(pipeline=_base_.load + local_views + local_pack)))
)
