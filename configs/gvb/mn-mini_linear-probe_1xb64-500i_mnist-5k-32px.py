"""Linear probe of a frozen mn-mini on the whole training half of MNIST-5k.

Paper: INTERN (arXiv 2111.08687), GV-B; the trunk has seen Fashion-MNIST only
Expected: 88.7 % top-1 on the test half; a random trunk 74.2 %
Cost: half a minute on two CPU cores, with the test
Data: python -m interngv.gvd.layouts mnist-5k
Run: python tools/train.py configs/gvb/mn-mini_linear-probe_1xb64-500i_mnist-5k-32px.py
Next: none; the random trunk for comparison takes --cfg-options upstream=None
"""

_base_ = [
    "../_base_/models/mn-mini_linear-probe.py",
    "../_base_/datasets/mnist-5k_32px.py",
    "../_base_/schedules/linear-probe_500i.py",
    "../_base_/default_runtime.py",
]

upstream = dict(config="../gva/mn-mini_1xb128-3e_fashion-mnist-32px.py", select="trunk")
train_dataloader = dict(sampler=dict(type="InfiniteSampler"))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500), logger=dict(interval=100))
