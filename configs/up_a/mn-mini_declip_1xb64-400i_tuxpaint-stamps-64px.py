"""DeCLIP, mn-mini, Tux Paint's stamps with the sentence of each, 64 px; a fifth of the sentences is held out.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: R@1 7.3 % image to text, 14.1 % text to image, of 165 unseen stamps (seed 0)
Cost: 4 minutes on two CPU cores
Data: as for emoji, with the pack tuxpaint-stamps (Debian's)
Run: python tools/train.py configs/up_a/mn-mini_declip_1xb64-400i_tuxpaint-stamps-64px.py
Next: zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = ["mn-mini_declip_1xb64-400i_fluent-emoji-64px.py"]

data = dict(data_root="data/tuxpaint-stamps")
train_dataloader = dict(sources=dict(pairs=dict(dataset=data)))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
