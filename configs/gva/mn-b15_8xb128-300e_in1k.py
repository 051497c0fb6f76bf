"""MetaNet-B15, the billion-parameter teacher, supervised, ImageNet-1k at 224x224: UniNet's recipe, 300 epochs.

Paper: INTERN (arXiv 2111.08687), GV-A
Expected: not published for training from scratch on ImageNet-1k
Cost: 8 GPUs; hours not measured
Recipe: the recipe is UniNet-B1's; INTERN publishes none for training from scratch
Run: torchrun --nproc-per-node 8 tools/train.py configs/gva/mn-b15_8xb128-300e_in1k.py --launcher pytorch
Next: a frozen-trunk probe as in configs/gvb/
"""

_base_ = [
    "../_base_/models/metanet_in1k.py",
    "../_base_/datasets/imagenet_bs128_uninet.py",
    "../_base_/schedules/imagenet_bs1024_uninet.py",
    "../_base_/default_runtime.py",
]

model = dict(backbone=dict(arch="mn-b15"))
