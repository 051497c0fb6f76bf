"""The benchmark on small real sets of all four kinds: the same code as the whole, other rows, sizes and schedules.

Paper: INTERN (arXiv 2111.08687), General Vision Benchmark
Expected: docs/results/gvb_mini.md
Cost: 160 s on two CPU cores for three of its classification sets
Data: interngv data status --suite mini
Run: python tools/test.py configs/gvb/mini.py --trunk efficientnet-lite0 --shots 10,all
Next: interngv gvb compare A B
"""

_base_ = ["suite.py"]

suite = dict(
    name="mini",
    rows="mini",
    image_size=128,
    num_workers=0,
    protocols={
        "cached": dict(settings=dict(normalise=True, schedule=dict(iterations=500, milestones=(150, 300, 450)))),
        "linear": dict(config="_base_/gvb/mini/linear-probe.py"),
        "faster-rcnn": dict(_delete_=True, kind="detection", config="_base_/gvb/mini/faster-rcnn.py"),
        "deeplabv3": dict(config="_base_/gvb/mini/deeplabv3.py"),
        "depth": dict(_delete_=True, kind="depth", config="_base_/gvb/mini/depth.py"),
    },
)
