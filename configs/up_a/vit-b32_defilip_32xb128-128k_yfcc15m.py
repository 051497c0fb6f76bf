"""DeFILIP (arXiv 2203.05796), ViT-B/32, YFCC-15M: DeCLIP and FILIP.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: 45.0 % zero-shot on ImageNet-1k (DeCLIP's README)
Cost: 4 nodes of 8 GPUs (torchrun's --nnodes and --rdzv-endpoint); hours not measured
Run: torchrun --nproc-per-node 8 tools/train.py configs/up_a/vit-b32_defilip_32xb128-128k_yfcc15m.py --launcher pytorch
Next: Up-A-L; zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = ["vit-b32_declip_32xb128-128k_yfcc15m.py"]

model = dict(
    image=dict(token_dim=256),
    text=dict(token_dim=256),
    losses=dict(filip=dict(type="interngv.TokenwiseLoss")),
    weights=dict(filip=0.2),
)
