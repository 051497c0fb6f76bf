"""DeCLIP, MetaNet-B15, YFCC-15M.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: not published
Cost: 4 nodes of 8 GPUs (torchrun's --nnodes and --rdzv-endpoint); hours not measured
Recipe: DeCLIP's for ViT-B/32; INTERN publishes none for its Up-A-G [I]
Run: torchrun --nproc-per-node 8 tools/train.py configs/up_a/mn-b15_declip_32xb128-128k_yfcc15m.py --launcher pytorch
Next: Up-A-L; zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = [
    "../_base_/up_a/declip.py",
    "../_base_/up_a/yfcc15m.py",
    "../_base_/up_a/schedule_yfcc15m.py",
]

model = dict(
    image=dict(trunk=dict(type="interngv.MetaNet", arch="mn-b15")),
    losses=dict(simsiam=dict(width=1280)),
)
