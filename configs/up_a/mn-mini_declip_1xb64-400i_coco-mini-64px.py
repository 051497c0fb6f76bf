"""DeCLIP, mn-mini, five sentences for each of 80 photographs of COCO, 64 px: form, for so few teach little.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: R@1 3.8 % image to text, 5.1 % text to image, of 79 unseen photographs (seed 0)
Cost: 4 minutes on two CPU cores
Data: data/coco_mini/captions.jsonl, with the pictures' paths from its folder; wordnet and vocabulary as for emoji
Run: python tools/train.py configs/up_a/mn-mini_declip_1xb64-400i_coco-mini-64px.py
Next: zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = ["mn-mini_declip_1xb64-400i_fluent-emoji-64px.py"]

data = dict(data_root="data/coco_mini", ann_file="captions.jsonl")
train_dataloader = dict(sources=dict(pairs=dict(dataset=data)))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
