"""DeCLIP, ViT-B/32 with a space of 3 072, 88 M pairs; GPUs, momentum and warm-up are inferred [I].

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: 66.2 % zero-shot on ImageNet-1k (DeCLIP's README)
Cost: 8 nodes of 8 GPUs (torchrun's --nnodes and --rdzv-endpoint); hours not measured
Data: data/declip88m in the form of YFCC-15M; its list was not released
Run: torchrun --nproc-per-node 8 tools/train.py configs/up_a/vit-b32_declip_64xb64-300k_declip88m.py --launcher pytorch
Next: Up-A-L; zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = ["vit-b32_declip_32xb128-128k_yfcc15m.py"]

model = dict(
    image=dict(embed_dim=3072), text=dict(embed_dim=3072), losses=dict(nn_text=dict(width=3072)), weights=dict(clip=0.6)
)
train_dataloader = dict(sources=dict(pairs=dict(batch_size=64, dataset=dict(data_root="data/declip88m"))))
optim_wrapper = dict(optimizer=dict(_delete_=True, type="SGD", lr=0.2, momentum=0.9, weight_decay=0.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=2_500, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=2_500, end=300_000, T_max=297_500, by_epoch=False),
]
train_cfg = dict(max_iters=300_000)
