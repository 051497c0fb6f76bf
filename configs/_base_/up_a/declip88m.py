"""DeCLIP's 88 million pairs, in the form of yfcc15m.py: ``data/declip88m/pairs.jsonl``. Their list was not released."""

_base_ = ["yfcc15m.py"]

train_dataloader = dict(sources=dict(pairs=dict(dataset=dict(data_root="data/declip88m"))))
