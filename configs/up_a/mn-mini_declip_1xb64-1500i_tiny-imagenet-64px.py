"""DeCLIP, mn-mini, names of 160 of Tiny ImageNet's classes, 64 px; 40 classes are held out.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: docs/results/up_a.md
Cost: 15 minutes on two CPU cores
Data: docs/image_text.md: layouts wordnet, class_captions FOLDER --wordnet data/wordnet, train_vocabulary data/wordnet
Run: python tools/train.py configs/up_a/mn-mini_declip_1xb64-1500i_tiny-imagenet-64px.py
Next: zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = [
    "../_base_/up_a/declip_mini.py",
    "../_base_/up_a/views_64px.py",
    "../_base_/up_a/schedule_mini.py",
]

data = dict(data_root="data/tiny_imagenet")
train_dataloader = dict(sources=dict(pairs=dict(dataset=data)))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=dict(data, split="val_heldout"))
