"""DeCLIP, CLIP's ResNet-50, 88 M pairs; batch and number of GPUs are inferred [I], and the release resumed this run.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: 62.5 % zero-shot on ImageNet-1k (DeCLIP's README)
Cost: 4 nodes of 8 GPUs (torchrun's --nnodes and --rdzv-endpoint); hours not measured
Run: torchrun --nproc-per-node 8 tools/train.py configs/up_a/r50_declip_32xb128-46k_declip88m.py --launcher pytorch
Next: Up-A-L; zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = [
    "../_base_/up_a/declip.py",
    "../_base_/up_a/declip88m.py",
    "../_base_/up_a/schedule_declip88m.py",
]

model = dict(
    image=dict(trunk=dict(type="interngv.TimmTrunk", model_name="resnet50_clip"), embed_dim=1024, projection_bias=True),
    text=dict(embed_dim=1024),
    losses=dict(nn_text=dict(width=1024), simsiam=dict(width=2048)),
)
optim_wrapper = dict(type="interngv.AmpOptimWrapper", dtype="float16", optimizer=dict(nesterov=True, weight_decay=1e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=2_500, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=2_500, end=46_000, T_max=43_500, by_epoch=False),
]
train_cfg = dict(max_iters=46_000)
