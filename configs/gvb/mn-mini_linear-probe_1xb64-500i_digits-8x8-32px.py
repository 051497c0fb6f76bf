"""Linear probe of a frozen mn-mini on the whole training half of the 8x8 digits, where only PyPI can be reached.

Paper: INTERN (arXiv 2111.08687), GV-B; a near transfer: the trunk has seen the larger digits of MNIST-5k
Expected: 95.5 % top-1 on the test half; a random trunk 80.4 %
Cost: half a minute on two CPU cores, with the test
Data: python -m interngv.gvd.layouts digits-8x8
Run: python tools/train.py configs/gvb/mn-mini_linear-probe_1xb64-500i_digits-8x8-32px.py
Next: none; the random trunk for comparison takes --cfg-options upstream=None
"""

_base_ = [
    "../_base_/models/mn-mini_linear-probe.py",
    "../_base_/datasets/digits-8x8_32px.py",
    "../_base_/schedules/linear-probe_500i.py",
    "../_base_/default_runtime.py",
]

upstream = dict(config="../gva/mn-mini_1xb64-20e_mnist-5k-32px.py", select="trunk")
train_dataloader = dict(sampler=dict(type="InfiniteSampler"))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500), logger=dict(interval=100))
