"""Up-A-L on boxes, MN-B15, from its Up-A-G.

Paper: INTERN (arXiv 2111.08687), Up-A-L, whose loss is not public [I]
Expected: not published
Cost: 4 nodes of 8 GPUs (torchrun's --nnodes and --rdzv-endpoint); hours not measured
Run: torchrun --nproc-per-node 8 tools/train.py configs/up_a/mn-b15_local-boxes_32xb32-20k_yfcc15m.py --launcher pytorch
Next: Up-E
"""

_base_ = [
    "../_base_/up_a/local_boxes.py",
    "../_base_/up_a/local_views.py",
    "../_base_/up_a/schedule_local.py",
]

upstream = dict(config="mn-b15_declip_32xb128-128k_yfcc15m.py", select={"image.trunk": "trunk", "image": "teacher"})
model = dict(
    trunk=dict(type="interngv.MetaNet", arch="mn-b15", out_indices=(0, 1, 2, 3, 4)),
    neck=dict(in_channels=[256, 512, 768, 1536]),
)
data = dict(data_root="data/yfcc15m", data_prefix="images")
train_dataloader = dict(sources=dict(pairs=dict(batch_size=32, dataset=data)))
