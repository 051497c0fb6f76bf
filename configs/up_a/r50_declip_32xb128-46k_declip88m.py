"""DeCLIP, CLIP's ResNet-50, 88 M pairs; batch, GPUs, momentum, warm-up are inferred [I]; the release resumed this run.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: 62.5 % zero-shot on ImageNet-1k (DeCLIP's README)
Cost: 4 nodes of 8 GPUs (torchrun's --nnodes and --rdzv-endpoint); hours not measured
Data: data/declip88m in the form of YFCC-15M; its list was not released
Run: torchrun --nproc-per-node 8 tools/train.py configs/up_a/r50_declip_32xb128-46k_declip88m.py --launcher pytorch
Next: Up-A-L; zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = ["r50_declip_32xb128-128k_yfcc15m.py"]

train_dataloader = dict(sources=dict(pairs=dict(dataset=dict(data_root="data/declip88m"))))
optim_wrapper = dict(
    type="interngv.AmpOptimWrapper",
    dtype="float16",
    optimizer=dict(_delete_=True, type="SGD", lr=0.2, momentum=0.9, nesterov=True, weight_decay=1e-4),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=2_500, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=2_500, end=46_000, T_max=43_500, by_epoch=False),
]
train_cfg = dict(max_iters=46_000)
