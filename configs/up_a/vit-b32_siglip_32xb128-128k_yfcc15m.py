"""SigLIP (arXiv 2303.15343), ViT-B/32, YFCC-15M: a yes-or-no question a pair.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: not published
Cost: 4 nodes of 8 GPUs (torchrun's --nnodes and --rdzv-endpoint); hours not measured
Run: torchrun --nproc-per-node 8 tools/train.py configs/up_a/vit-b32_siglip_32xb128-128k_yfcc15m.py --launcher pytorch
Next: Up-A-L; zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = ["vit-b32_clip_32xb128-128k_yfcc15m.py"]

model = dict(
    losses=dict(_delete_=True, siglip=dict(type="interngv.SigLIPLoss")),
    logit_scale=dict(start=10.0),
    logit_bias=-10.0,
)
