"""UniNet-B4, supervised, ImageNet-1k at 320x320: UniNet's recipe, 300 epochs.

Paper: UniNet (arXiv 2207.05420)
Expected: about 84.4 % top-1 (read off the figure)
Cost: 8 GPUs; hours not measured
Recipe: the recipe is stated for B1 alone (exp/b1/run.sh); the other sizes take it over
Run: torchrun --nproc-per-node 8 tools/train.py configs/gva/uninet-b4_8xb128-300e_in1k-320px.py --launcher pytorch
Next: a frozen-trunk probe as in configs/gvb/
"""

_base_ = [
    "../_base_/models/metanet_in1k.py",
    "../_base_/datasets/imagenet_bs128_uninet.py",
    "../_base_/schedules/imagenet_bs1024_uninet.py",
    "../_base_/default_runtime.py",
]

model = dict(backbone=dict(arch="uninet-b4"))

train_pipeline = [
    *_base_.load,
    dict(type="RandomResizedCrop", scale=320, backend="pillow", interpolation="bicubic"),
    *_base_.augment,
    *_base_.pack,
]
test_pipeline = [
    *_base_.load,
    dict(type="ResizeEdge", scale=365, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="CenterCrop", crop_size=320),
    *_base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
