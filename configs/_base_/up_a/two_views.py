"""Two views of a picture at 224, MoCo v2's augmentation (arXiv 2003.04297), which DeCLIP's released code trains with.

A data set's config makes its pipelines of these parts: `_base_.load + _base_.views + caption + _base_.pack` to train, with
a `caption = [dict(type="interngv.EncodeCaption", ...)]` of its own, and `_base_.load + _base_.centre + ...` to test. A
config at another size repeats `views` and `centre` with its own crop steps and takes the rest from here: `_base_.jitter`.
Mean and deviation are ImageNet's, as MoCo v2 has them; public CLIP weights want CLIP's own. DeCLIP tests on pictures
whose shorter side is size * 256 / 224.
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
pack = [
    dict(
        type="PackInputs",
        algorithm_keys=("text", "caption_id", "masked_text", "masked_targets"),
        meta_keys=("sample_idx", "img_path"),
    )
]

crop = [dict(type="RandomResizedCrop", scale=224, crop_ratio_range=(0.2, 1.0), backend="pillow")]
views = [dict(type="MultiView", num_views=2, transforms=[crop + jitter])]
centre = [
    dict(type="ResizeEdge", scale=256, edge="short", backend="pillow"),
    dict(type="CenterCrop", crop_size=224),
]
