"""GV-B: a trunk judged on 26 tasks at percentages of their labels.

Paper: INTERN (arXiv 2111.08687), General Vision Benchmark
Expected: report.html, report.md and results.json in work_dirs/gvb
Cost: a forward pass over each classification set, and a whole training for each detector, segmenter and depth head
Data: interngv data status --suite gvb
Run: python tools/test.py configs/gvb/suite.py --trunk mn-b4 --checkpoint CHECKPOINT --shots 1,10,100 --tries 3
Next: interngv gvb compare A B
"""

suite = dict(
    name="gvb",
    rows="gvb",
    data_root="data",
    image_size=224,
    num_workers=4,
    protocols={
        "cached": dict(kind="classification", probe="sgd"),
        "logistic": dict(kind="classification", probe="logistic"),
        "ridge": dict(kind="classification", probe="ridge"),
        "knn": dict(kind="classification", probe="knn"),
        "zero-shot": dict(kind="classification", probe="zero_shot"),
        "linear": dict(kind="classification", config="_base_/gvb/linear-probe.py"),
        "fine-tune": dict(kind="classification", config="_base_/gvb/fine-tune.py"),
        "faster-rcnn": dict(
            kind="detection",
            config="_base_/gvb/faster-rcnn.py",
            tasks=dict(
                citypersons="_base_/gvb/faster-rcnn_citypersons.py",
                widerface="_base_/gvb/faster-rcnn_widerface.py",
            ),
        ),
        "deeplabv3": dict(kind="segmentation", config="_base_/gvb/deeplabv3.py"),
        "depth": dict(kind="depth", config="_base_/gvb/depth.py", tasks=dict(kitti="_base_/gvb/depth_kitti.py")),
    },
    default=dict(classification="cached", detection="faster-rcnn", segmentation="deeplabv3", depth="depth"),
)
