"""Up-A on two cores: what group supervision adds to CLIP's loss, what the trunk is worth, what Up-A-L changes.

Data: that of configs/up_a/mn-mini_declip_1xb64-1500i_tiny-imagenet-64px.py, and interngv data status --suite mini
Run: python tools/study.py tools/studies/up_a.py
"""

title = "Up-A: group supervision against CLIP's loss, the trunk against an untrained one, Up-A-L against Up-A-G"

clip = "configs/up_a/mn-mini_clip_1xb64-1500i_tiny-imagenet-64px.py"
declip = "configs/up_a/mn-mini_declip_1xb64-1500i_tiny-imagenet-64px.py"
local = "configs/up_a/mn-mini_local-{}_1xb64-600i_tiny-imagenet-64px.py"
arms = {
    "random": dict(trunk="mn-mini"),
    "clip": dict(config=clip, texts="clip"),
    "declip": dict(config=declip, texts="declip"),
    "local-grid": dict(config=local.format("grid"), upstream="declip", texts="declip"),
    "local-boxes": dict(config=local.format("boxes"), upstream="declip", texts="declip"),
}

prompted = ["cifar10_mini", "cats_dogs", "imagenet_one_each"]
classified, dense = ["cifar10_mini", "cats_dogs", "clothing10"], ["people_seg", "camvid11", "kitchen_depth"]
detected = ["bccd", "raccoon"]
trunks = ["random", "declip", "local-grid", "local-boxes"]
measures = [
    dict(
        texts=True,
        scores={
            "40 classes without pictures in training, zero-shot top-1, %": "retrieval/i2t_R@1",
            "..., top-5, %": "retrieval/i2t_R@5",
        },
    ),
    dict(
        texts=True,
        options={"test_dataloader.dataset.split": "val"},
        scores={
            "unseen pictures of 160 trained classes, image to text R@1, %": "retrieval/i2t_R@1",
            "..., text to image R@1, %": "retrieval/t2i_R@1",
        },
    ),
    dict(
        suite="configs/gvb/mini.py",
        arguments="--protocol zero-shot --cfg-options suite.image_size=64",
        texts=True,
        scores={f"{task}, zero-shot, %": task for task in prompted},
    ),
    *(
        dict(
            suite="configs/gvb/mini.py",
            arguments=f"--shots 10 {protocol}",
            scores={f"{task}, {metric}, 10 % of the labels": task for task in tasks},
            arms=judged,
        )
        for tasks, metric, protocol, judged in (
            (classified, "top-1, %", "--protocol logistic", trunks),  # few samples leave SGD's settings to chance
            (dense[:2], "mIoU, %", "", trunks),
            (dense[2:], "RMSE, m", "", trunks),
            (detected, "AP, %", "", trunks[:2]),
        )
    ),
]
