"""Two views at 64 for training, the whole square for testing; a data set's config names its folder and splits."""

_base_ = ["two_views.py"]

tokenizer = dict(type="interngv.BPETokenizer", vocabulary="data/vocabulary/bpe-4096.json", context_length=32)
caption = dict(type="interngv.EncodeCaption", tokenizer=tokenizer)
crop = [dict(type="RandomResizedCrop", scale=64, crop_ratio_range=(0.2, 1.0), backend="pillow")]
views = [dict(type="MultiView", num_views=2, transforms=[crop + _base_.jitter])]
train_caption = dict(caption, augment=dict(wordnet="data/wordnet"), mask=True)
whole = [dict(type="ResizeEdge", scale=64, edge="short", backend="pillow"), dict(type="CenterCrop", crop_size=64)]
train_dataloader = dict(
    num_workers=1,
    sources=dict(
        pairs=dict(
            batch_size=64,
            dataset=dict(split="train", pipeline=_base_.load + views + [train_caption] + _base_.pack),
        )
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="interngv.ImageTextPairs",
        split="val",
        test_mode=True,
        pipeline=_base_.load + whole + [dict(caption, choose="first")] + _base_.pack,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="interngv.RetrievalRecall")
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
