"""What the tests of the metrics share: data samples as the hosts make them, detections made of annotations, a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric, Evaluator


def run(metric: BaseMetric, samples: Sequence[Mapping[str, Any]], classes: Sequence[str] = ()) -> dict[str, float]:
    """Evaluate as a test loop does, in batches of three."""
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = dict(classes=tuple(classes))
    for start in range(0, len(samples), 3):
        evaluator.process(data_samples=samples[start : start + 3], data_batch=None)
    return evaluator.evaluate(len(samples))


def detection(name: Any, found: np.ndarray, boxes: Any = (), labels: Any = (), difficult: Any = ()) -> dict[str, Any]:
    """A data sample; ``found`` has rows x1, y1, x2, y2, score, label."""
    found = torch.as_tensor(np.asarray(found, dtype=np.float64).reshape(-1, 6))
    boxes = torch.as_tensor(np.asarray(boxes, dtype=np.float64).reshape(-1, 4))
    labels = torch.as_tensor(np.asarray(labels, dtype=np.int64).reshape(-1))
    optional = torch.zeros(len(boxes), dtype=torch.bool) if len(difficult) == 0 else torch.as_tensor(difficult)
    return dict(
        img_id=name,
        img_path=f"pictures/{name}.jpg",
        ori_shape=(10_000, 10_000),
        pred_instances=dict(bboxes=found[:, :4], scores=found[:, 4], labels=found[:, 5].long()),
        gt_instances=dict(bboxes=boxes[~optional], labels=labels[~optional]),
        ignored_instances=dict(bboxes=boxes[optional], labels=labels[optional]),
    )


def random_boxes(rng: np.random.Generator, number: int, size: float = 400.0) -> np.ndarray:
    """(number, 4) x1, y1, x2, y2; many overlap."""
    corner = rng.uniform(0, size, (number, 2))
    return np.concatenate([corner, corner + rng.uniform(10, 120, (number, 2))], axis=1).round(1)


def jittered(rng: np.random.Generator, boxes: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Rows of detections: near the boxes, some of another class, some twice, some of nothing; scores tie."""
    base = np.concatenate([boxes, boxes[::2], random_boxes(rng, 4)])
    names = np.concatenate([labels, labels[::2], rng.integers(classes, size=4)])
    names = np.where(rng.random(len(names)) < 0.15, rng.integers(classes, size=len(names)), names)
    moved = base + rng.normal(0, 6, base.shape)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    scores = rng.integers(1, 30, len(base)) / 30
    return np.concatenate([moved.clip(0), scores[:, None], names[:, None]], axis=1)


def write_annotations(path: Path, images: int, rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Path:
    """A file in COCO's form with pictures 100, 101 .. and categories 7, 8 .."""
    content = dict(
        images=[dict(id=100 + index, file_name=f"{100 + index}.jpg", width=500, height=500) for index in range(images)],
        categories=[dict(id=7 + index, name=name) for index, name in enumerate(classes)],
        annotations=[
            dict(dict(id=number, area=float(np.prod(row["bbox"][2:])), iscrowd=0), **row)
            for number, row in enumerate(rows)
        ],
    )
    path.write_text(json.dumps(content))
    return path
