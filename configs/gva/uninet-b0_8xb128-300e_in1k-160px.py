"""UniNet-B0, supervised, ImageNet-1k at 160x160: UniNet's recipe, 300 epochs.

Paper: UniNet (arXiv 2207.05420)
Expected: not published
Cost: 8 GPUs; hours not measured
Recipe: the recipe is stated for B1 alone (exp/b1/run.sh); the other sizes take it over
Run: torchrun --nproc-per-node 8 tools/train.py configs/gva/uninet-b0_8xb128-300e_in1k-160px.py --launcher pytorch
Next: a frozen-trunk probe as in configs/gvb/
"""

_base_ = [
    "../_base_/models/metanet_in1k.py",
    "../_base_/datasets/imagenet_bs128_uninet.py",
    "../_base_/schedules/imagenet_bs1024_uninet.py",
    "../_base_/default_runtime.py",
]

model = dict(backbone=dict(arch="uninet-b0"))

train_pipeline = [
    *_base_.load,
    dict(type="RandomResizedCrop", scale=160, backend="pillow", interpolation="bicubic"),
    *_base_.augment,
    *_base_.pack,
]
test_pipeline = [
    *_base_.load,
    dict(type="ResizeEdge", scale=182, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="CenterCrop", crop_size=160),
    *_base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
