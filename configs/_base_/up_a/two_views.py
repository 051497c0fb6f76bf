"""Two views of a picture at 224 as in DeCLIP's released code: MoCo v2's augmentation (arXiv 2003.04297).

A config puts its interngv.EncodeCaption between: `_base_.load + _base_.views + [caption] + _base_.pack`. One
at another size repeats `crop` and `views` and takes the rest from here: `_base_.load`, `_base_.jitter`, `_base_.pack`.
Mean and deviation are ImageNet's, as MoCo v2 has them; public CLIP weights want CLIP's own.
"""

data_preprocessor = dict(
    type="SelfSupDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)

load = [dict(type="LoadImageFromFile")]
jitter = [
    dict(
        type="RandomApply",
        prob=0.8,
        transforms=[dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)],
    ),
    dict(type="RandomGrayscale", prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),  # of B, G, R
    dict(type="GaussianBlur", prob=0.5, magnitude_range=(0.1, 2.0), magnitude_std="inf"),  # evenly from the range
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
]
keys = ("text", "caption_id", "masked_text", "masked_targets")
pack = [dict(type="PackInputs", algorithm_keys=keys, meta_keys=("sample_idx", "img_path"))]

crop = [dict(type="RandomResizedCrop", scale=224, crop_ratio_range=(0.2, 1.0), backend="pillow")]
views = [dict(type="MultiView", num_views=2, transforms=[crop + jitter])]
pairs = dict(
    collate_fn=dict(type="default_collate"),  # a batch of each view, as the preprocessor takes them
    dataset=dict(type="interngv.ImageTextPairs", _scope_="mmpretrain", pipeline=load + views + pack),
)
train_dataloader = dict(type="interngv.MetaDataLoader", sources=dict(pairs=pairs))
