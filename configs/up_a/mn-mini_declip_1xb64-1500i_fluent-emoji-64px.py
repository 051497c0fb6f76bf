"""DeCLIP, mn-mini, pictures and names of emoji, 64 px; a fifth of the names is held out.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: not measured yet
Cost: not measured yet
Data: python -m interngv.gvd.layouts fluent-emoji wordnet
Run: python tools/train.py configs/up_a/mn-mini_declip_1xb64-1500i_fluent-emoji-64px.py
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
