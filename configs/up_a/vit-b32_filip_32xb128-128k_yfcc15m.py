"""FILIP (arXiv 2111.07783), ViT-B/32, YFCC-15M: token-wise similarities, 256 wide.

Tokens and whole features share the projections, so that the latter, which GV-B's zero-shot takes, learn as well; the
published figure scores by tokens.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: 39.5 % zero-shot on ImageNet-1k (DeCLIP's README)
Cost: 4 nodes of 8 GPUs (torchrun's --nnodes and --rdzv-endpoint); hours not measured
Run: torchrun --nproc-per-node 8 tools/train.py configs/up_a/vit-b32_filip_32xb128-128k_yfcc15m.py --launcher pytorch
Next: Up-A-L; zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = ["vit-b32_clip_32xb128-128k_yfcc15m.py"]

model = dict(
    image=dict(embed_dim=256),
    text=dict(embed_dim=256),
    losses=dict(_delete_=True, filip=dict(type="interngv.TokenwiseLoss")),
)
optim_wrapper = dict(optimizer=dict(lr=5e-4, weight_decay=0.5))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.2, end=2_500, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=2_500, end=128_000, T_max=125_500, by_epoch=False),
]
