"""DeCLIP, CLIP's ResNet-50, YFCC-15M.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: 44.4 % zero-shot on ImageNet-1k (DeCLIP's README)
Cost: 4 nodes of 8 GPUs (torchrun's --nnodes and --rdzv-endpoint); hours not measured
Run: torchrun --nproc-per-node 8 tools/train.py configs/up_a/r50_declip_32xb128-128k_yfcc15m.py --launcher pytorch
Next: Up-A-L; zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = [
    "../_base_/up_a/declip.py",
    "../_base_/up_a/yfcc15m.py",
    "../_base_/up_a/schedule_yfcc15m.py",
]

model = dict(
    image=dict(trunk=dict(type="interngv.TimmTrunk", model_name="resnet50_clip"), embed_dim=1024, projection_bias=True),
    text=dict(embed_dim=1024),
    losses=dict(nn_text=dict(width=1024), simsiam=dict(width=2048)),
)
