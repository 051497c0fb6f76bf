"""COCO's box evaluation: the evaluators that CocoBoxMetric can take against pycocotools, on the same made detections.

2,000 pictures, about 14,600 boxes of 80 classes, 200,000 detections (siblings-and-anchors §2.4). A step is what the
metric does: index the annotations, load the detections, evaluate, accumulate, summarize. pycocotools takes some 25 s of
a round, so one is timed by default, after the warm-up. Usage: ``python -m benchmarks.coco_eval [--check]``.
"""

import importlib.util
from functools import partial

import numpy as np

from benchmarks.harness import Goal, arguments, environment, finish, interleaved
from interngv.gvb.metrics.coco_backends import BACKENDS, evaluate

IMAGES, CLASSES, BOXES, DETECTIONS = 2000, 80, 14_600, 200_000
WIDTH, HEIGHT = 640, 480
PEER = "pycocotools"


def annotations(rng: np.random.Generator) -> dict[str, list]:
    """Boxes in COCO's form: sizes from 4 to 400 pixels, evenly in their logarithm; one in a hundred is a crowd."""
    size = np.exp(rng.uniform(np.log(4), np.log(400), (BOXES, 2)))
    corner = rng.uniform(0, 1, (BOXES, 2)) * np.maximum([WIDTH, HEIGHT] - size, 1)
    rows = [
        dict(id=number, image_id=image, category_id=label, bbox=box, area=box[2] * box[3], iscrowd=crowd)
        for number, image, label, box, crowd in zip(
            range(1, BOXES + 1),
            rng.integers(IMAGES, size=BOXES).tolist(),
            rng.integers(CLASSES, size=BOXES).tolist(),
            np.concatenate([corner, size], axis=1).tolist(),
            (rng.random(BOXES) < 0.01).astype(int).tolist(),
            strict=True,
        )
    ]
    return {
        "images": [dict(id=index, width=WIDTH, height=HEIGHT) for index in range(IMAGES)],
        "categories": [dict(id=index, name=str(index)) for index in range(CLASSES)],
        "annotations": rows,
    }


def detections(rng: np.random.Generator, truth: dict[str, list]) -> np.ndarray:
    """(n, 7) picture, box, score, class: every box four times with growing error, the rest anywhere."""
    rows = truth["annotations"]
    near = np.array([[row["image_id"], *row["bbox"], 0, row["category_id"]] for row in rows] * 4)
    error = np.repeat([0.03, 0.1, 0.2, 0.4], len(rows))[:, None]
    near[:, 1:5] += near[:, [3, 4, 3, 4]] * error * rng.normal(size=(len(near), 4))
    near[:, 5] = rng.beta(4, 2, len(near)) * (1 - error[:, 0])
    far = np.empty((DETECTIONS - len(near), 7))
    far[:, 0], far[:, 6] = rng.integers(IMAGES, size=len(far)), rng.integers(CLASSES, size=len(far))
    far[:, 1:5] = rng.uniform(1, 300, (len(far), 4))
    far[:, 5] = rng.beta(1, 4, len(far))
    near[:, 3:5] = np.maximum(near[:, 3:5], 1)
    return np.concatenate([near, far])


def main() -> None:
    """Runs everything and prints the line of figures."""
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(rounds=1)
    args = parser.parse_args()
    print(environment())
    rng = np.random.default_rng(0)
    truth = annotations(rng)
    found = detections(rng, truth)
    present = [name for name, ((module, _), _) in BACKENDS.items() if importlib.util.find_spec(module.split(".")[0])]
    stats: dict[str, np.ndarray] = {}

    def step(name: str) -> None:
        stats[name] = np.concatenate(evaluate(truth, found, name))

    seconds = interleaved({name: partial(step, name) for name in present}, args.rounds)
    difference = {name: float(np.abs(stats[name] - stats[PEER]).max()) for name in present}
    print(f"{IMAGES} pictures, {BOXES} boxes, {len(found)} detections, AP {stats[PEER][0]:.5f}:")
    for name, value in seconds.items():
        ratio = seconds[PEER] / value
        print(f"  {name:16} {value:7.2f} s  {ratio:6.1f}x pycocotools  largest difference {difference[name]:.1e}")
    finish(
        "coco_eval",
        [
            Goal("pycocotools / the fastest", seconds[PEER] / min(seconds.values()), 10.0),
            Goal("largest difference / 1e-9", max(difference.values()) / 1e-9, 1.0, at_most=True),
        ],
        args.check,
    )


if __name__ == "__main__":
    main()
