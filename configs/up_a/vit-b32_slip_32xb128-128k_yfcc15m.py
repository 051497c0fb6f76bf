"""SLIP (arXiv 2112.12750), ViT-B/32, YFCC-15M: CLIP and SimCLR.

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: 34.3 % zero-shot on ImageNet-1k (DeCLIP's README)
Cost: 4 nodes of 8 GPUs (torchrun's --nnodes and --rdzv-endpoint); hours not measured
Run: torchrun --nproc-per-node 8 tools/train.py configs/up_a/vit-b32_slip_32xb128-128k_yfcc15m.py --launcher pytorch
Next: Up-A-L; zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = ["vit-b32_declip_32xb128-128k_yfcc15m.py"]

model = dict(
    losses=dict(
        _delete_=True,
        clip=dict(type="interngv.InfoNCE", pairs="first"),
        simclr=dict(type="interngv.SimCLRLoss", width=768),
    ),
    weights=None,
)
plain = dict(pipeline=_base_.load + _base_.views + [_base_.caption] + _base_.pack)
train_dataloader = dict(sources=dict(pairs=dict(dataset=plain)))
optim_wrapper = dict(optimizer=dict(lr=5e-4, weight_decay=0.5))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.2, end=2_500, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=2_500, end=128_000, T_max=125_500, by_epoch=False),
]
