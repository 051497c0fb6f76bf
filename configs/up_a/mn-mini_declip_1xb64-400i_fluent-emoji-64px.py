"""DeCLIP, mn-mini, pictures and names of emoji, 64 px; a fifth of the names is held out.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: docs/results/up_a_emoji.md
Cost: 4 minutes on two CPU cores
Data: python -m interngv.gvd.layouts fluent-emoji wordnet; python -m interngv.amateur.text.train_vocabulary data/wordnet
Run: python tools/train.py configs/up_a/mn-mini_declip_1xb64-400i_fluent-emoji-64px.py
Next: zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = [
    "../_base_/up_a/declip_mini.py",
    "../_base_/up_a/views_64px.py",
    "../_base_/up_a/schedule_mini.py",
]

data = dict(data_root="data/fluent-emoji")
train_dataloader = dict(sources=dict(pairs=dict(dataset=data)))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=100, end=400, T_max=300, by_epoch=False),
]
train_cfg = dict(max_iters=400, val_interval=400)
default_hooks = dict(checkpoint=dict(interval=400))
