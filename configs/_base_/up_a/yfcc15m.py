"""YFCC-15M at 224: 15 388 848 pairs, two views, a caption with its augmented and its masked form (DeCLIP).

``data/yfcc15m/pairs.jsonl`` has a pair a line (interngv.ImageTextPairs); ``data/wordnet`` is the pack of synonyms.
"""

_base_ = ["two_views.py"]

caption = dict(type="interngv.EncodeCaption", tokenizer=dict(type="interngv.BPETokenizer"))
train_caption = dict(caption, augment=dict(wordnet="data/wordnet"), mask=True)
train_dataloader = dict(
    num_workers=8,
    sources=dict(
        pairs=dict(
            batch_size=128,  # on each of 32 GPUs
            dataset=dict(
                data_root="data/yfcc15m",
                data_prefix="images",
                pipeline=_base_.load + _base_.views + [train_caption] + _base_.pack,
            ),
        )
    ),
)
