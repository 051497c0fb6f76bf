"""UniNet-B1, supervised, ImageNet-1k at 224x224: UniNet's recipe, 300 epochs.

Paper: UniNet (arXiv 2207.05420)
Expected: 81.0 % top-1 (README)
Cost: 8 GPUs; hours not measured
Recipe: exp/b1/run.sh of the UniNet release
Run: torchrun --nproc-per-node 8 tools/train.py configs/gva/uninet-b1_8xb128-300e_in1k.py --launcher pytorch
Next: a frozen-trunk probe as in configs/gvb/
"""

_base_ = [
    "../_base_/models/metanet_in1k.py",
    "../_base_/datasets/imagenet_bs128_uninet.py",
    "../_base_/schedules/imagenet_bs1024_uninet.py",
    "../_base_/default_runtime.py",
]

model = dict(backbone=dict(arch="uninet-b1"))
