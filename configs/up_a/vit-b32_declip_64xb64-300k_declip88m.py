"""DeCLIP, ViT-B/32 with a space of 3 072, 88 M pairs; the number of GPUs is inferred [I].

Paper: INTERN (arXiv 2111.08687), Up-A-G; DeCLIP (arXiv 2110.05208)
Expected: 66.2 % zero-shot on ImageNet-1k (DeCLIP's README)
Cost: 8 nodes of 8 GPUs (torchrun's --nnodes and --rdzv-endpoint); hours not measured
Run: torchrun --nproc-per-node 8 tools/train.py configs/up_a/vit-b32_declip_64xb64-300k_declip88m.py --launcher pytorch
Next: Up-A-L; zero-shot by GV-B's protocol of that name (docs/benchmark.md)
"""

_base_ = [
    "../_base_/up_a/declip.py",
    "../_base_/up_a/declip88m.py",
    "../_base_/up_a/schedule_declip88m.py",
]

model = dict(
    image=dict(
        trunk=dict(type="interngv.TimmTrunk", model_name="vit_base_patch32_clip_quickgelu_224"),
        embed_dim=3072,
        frozen=["patch_embed"],  # as released
    ),
    text=dict(embed_dim=3072),
    losses=dict(nn_text=dict(width=3072), simsiam=dict(width=768)),
    weights=dict(clip=0.6),
)
train_dataloader = dict(sources=dict(pairs=dict(batch_size=64)))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=2_500, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=2_500, end=300_000, T_max=297_500, by_epoch=False),
]
train_cfg = dict(max_iters=300_000)
