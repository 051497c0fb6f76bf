"""mn-mini, supervised, on Fashion-MNIST: the demo without npm (small twin of the in1k configs here).

Paper: INTERN (arXiv 2111.08687), GV-A; data: Fashion-MNIST (arXiv 1708.07747)
Expected: 88.2 % top-1 on the 10 000 test images
Cost: about 4 minutes on two CPU cores
Data: python -m interngv.gvd.layouts fashion-mnist
Run: python tools/train.py configs/gva/mn-mini_1xb128-3e_fashion-mnist-32px.py
Next: configs/gvb/mn-mini_linear-probe_1xb64-500i_mnist-5k-10p-32px.py
"""

_base_ = [
    "../_base_/models/mn-mini_cls.py",
    "../_base_/datasets/fashion-mnist_32px.py",
    "../_base_/schedules/adamw_3e.py",
    "../_base_/default_runtime.py",
]
