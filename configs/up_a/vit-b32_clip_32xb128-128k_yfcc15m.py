"""CLIP, ViT-B/32, YFCC-15M: the first view and the caption alone.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: 32.8 % zero-shot on ImageNet-1k (DeCLIP's README)
Cost: 4 nodes of 8 GPUs (torchrun's --nnodes and --rdzv-endpoint); hours not measured
Run: torchrun --nproc-per-node 8 tools/train.py configs/up_a/vit-b32_clip_32xb128-128k_yfcc15m.py --launcher pytorch
Next: Up-A-L; zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = ["vit-b32_declip_32xb128-128k_yfcc15m.py"]

model = dict(
    losses=dict(_delete_=True, clip=dict(type="interngv.InfoNCE", pairs="first")),
    weights=None,
)
one_view = [dict(type="MultiView", num_views=1, transforms=[_base_.crop + _base_.jitter])]
plain = dict(pipeline=_base_.load + one_view + [_base_.caption] + _base_.pack)
train_dataloader = dict(sources=dict(pairs=dict(dataset=plain)))
