"""Boxes as the detection metrics read them, overlaps, and the area under a precision-recall curve.

Boxes are (n, 4) float64 arrays of x1, y1, x2, y2 in pixels of the original picture.
"""

from dataclasses import dataclass

import numpy as np

from interngv.errors import UserError
from interngv.gvb.metrics.base import Counts, Sample, array, check_finite, check_labels, picture

_EDGE = 1.0  # pixels beyond the picture that rounding explains


@dataclass(frozen=True)
class Detections:
    """Detections of one picture by falling score, equal ones in the order of the detector.

    Attributes:
        boxes: (n, 4).
        scores: (n,).
        labels: (n,) class indices.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def read_detections(sample: Sample, classes: int, counts: Counts) -> Detections:
    """``pred_instances`` of a host's data sample.

    Detections without area or beyond the picture stay (they are false positives as any other) and are counted.

    Raises:
        UserError: a box or score that is not finite, a label outside the classes, lengths that differ.
    """
    found = sample["pred_instances"]
    boxes = array(found["bboxes"]).astype(np.float64).reshape(-1, 4)
    scores, labels = array(found["scores"]).astype(np.float64), array(found["labels"]).astype(np.int64)
    if not len(boxes) == len(scores) == len(labels):
        raise UserError(
            f"{picture(sample)}: {len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels were predicted"
        )
    check_finite(boxes, "predicted coordinates", sample)
    check_finite(scores, "predicted scores", sample)
    check_labels(labels, classes, "predicted label", sample)
    _count(counts, "detections_without_area", int((~has_area(boxes)).sum()))
    _count(counts, "detections_beyond_the_picture", beyond(boxes, sample))
    order = np.argsort(-scores, kind="stable")
    return Detections(boxes[order], scores[order], labels[order])


def read_truth(sample: Sample, classes: int, counts: Counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Annotated boxes of a host's data sample: (n, 4) boxes, (n,) labels, (n,) whether a detector may leave it out.

    Coordinates are inclusive, as VOC's: a box whose edges coincide is a pixel wide. A box whose edges are the wrong way
    round is left out and counted.

    Raises:
        UserError: a coordinate that is not finite, a label outside the classes, no annotation at all in the sample.
    """
    if "bboxes" not in sample.get("gt_instances", {}):
        raise UserError(f"{picture(sample)}: no annotated boxes were read: the pipeline lacks LoadAnnotations")
    parts = [sample["gt_instances"], sample.get("ignored_instances") or {"bboxes": [], "labels": []}]
    pairs = [(array(part["bboxes"]).reshape(-1, 4), array(part["labels"]).reshape(-1)) for part in parts]
    boxes = np.concatenate([box for box, _ in pairs]).astype(np.float64)
    labels = np.concatenate([label for _, label in pairs]).astype(np.int64)
    optional = np.arange(len(boxes)) >= len(pairs[0][0])
    check_finite(boxes, "annotated coordinates", sample)
    check_labels(labels, classes, "annotated label", sample)
    _count(counts, "annotated_boxes_beyond_the_picture", beyond(boxes, sample))
    sound = (boxes[:, 2:] >= boxes[:, :2]).all(1)
    _count(counts, "annotated_boxes_without_area", int((~sound).sum()))
    return boxes[sound], labels[sound], optional[sound]


def has_area(boxes: np.ndarray) -> np.ndarray:
    """(n,) whether a box is wider and higher than 0."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def beyond(boxes: np.ndarray, sample: Sample) -> int:
    """Number of boxes that leave the original picture by more than rounding; 0 where its size is not known."""
    if "ori_shape" not in sample:
        return 0
    height, width = sample["ori_shape"][:2]
    low, high = (boxes < -_EDGE).any(1), (boxes > np.array([width, height] * 2) + _EDGE).any(1)
    return int((low | high).sum())


def overlaps(boxes: np.ndarray, others: np.ndarray, inclusive: bool = False, over_first: bool = False) -> np.ndarray:
    """(n, m) intersections of two sets of boxes over their unions.

    Args:
        boxes: (n, 4).
        others: (m, 4).
        inclusive: x2 and y2 belong to the box: a pixel more to each width and height (VOC, WIDER FACE).
        over_first: divide by the area of ``boxes`` instead of the union.
    """
    pixel = float(inclusive)
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low + pixel, 0, None).prod(2)
    first = np.clip(boxes[:, 2:] - boxes[:, :2] + pixel, 0, None).prod(1)[:, None]
    second = np.clip(others[:, 2:] - others[:, :2] + pixel, 0, None).prod(1)[None]
    whole = np.broadcast_to(first, shared.shape) if over_first else first + second - shared
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def area_under(recall: np.ndarray, precision: np.ndarray) -> float:
    """Area under a precision-recall curve whose precision is made to fall (VOC 2010 and later); recall ascends."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def _count(counts: Counts, what: str, number: int) -> None:
    if number:
        counts[what] += number
