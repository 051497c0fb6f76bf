"""Log-average miss rate of CityPersons (MR^-2) in its four set-ups."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from interngv.errors import UserError
from interngv.gvb.metrics.annotations import Annotations, read_annotations
from interngv.gvb.metrics.base import Counts, Metric, Sample
from interngv.gvb.metrics.detections import overlaps, read_detections
from interngv.registry import METRICS

FPPI = (0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.1778, 0.3162, 0.5623, 1.0)  # false positives a picture
FLOOR = 1e-10  # the miss rate that stands for 0, whose logarithm is not finite
_IOU = 0.5
_DETECTIONS = 1000  # a picture
_EXPAND = 1.25  # a detection may be so much smaller or larger than the heights of the set-up


@dataclass(frozen=True)
class Setup:
    """Pedestrians that must be found: a range of heights in pixels and of the visible share; others are ignored."""

    heights: tuple[float, float]
    visibility: tuple[float, float]


SETUPS = {
    "reasonable": Setup((50, np.inf), (0.65, np.inf)),
    "small": Setup((50, 75), (0.65, np.inf)),
    "heavy": Setup((50, np.inf), (0.2, 0.65)),
    "all": Setup((20, np.inf), (0.2, np.inf)),
}


@dataclass(frozen=True)
class Pedestrians:
    """Annotated boxes of a picture.

    Attributes:
        boxes: (n, 4) x1, y1, x2, y2.
        heights: (n,) pixels.
        visibility: (n,) visible share.
        ignored: (n,) regions that count neither way in any set-up.
    """

    boxes: np.ndarray
    heights: np.ndarray
    visibility: np.ndarray
    ignored: np.ndarray


@dataclass(frozen=True)
class MissResult:
    """One picture: its index and, a set-up, the scores of the detections that count, which are right, and how many
    pedestrians must be found."""

    picture: int
    setups: list[tuple[np.ndarray, np.ndarray, int]]


@METRICS.register_module()
class MissRateMetric(Metric):
    """MR^-2 in percent, lower is better (Dollar et al., PAMI 2012; CityPersons, arXiv 1702.05693; intern-spec §7.4).

    The geometric mean of the miss rates at nine numbers of false positives a picture. A detection, best score first,
    takes the free pedestrian that it overlaps most at IoU >= .5; failing that, it does not count where at least half of
    it lies in an ignored box. Regions marked ``ignore`` or ``iscrowd``, other categories than the first class and
    pedestrians outside a set-up's ranges are ignored; so are detections outside its heights by a factor of 1.25.

    Perfect detections have a miss rate of ``FLOOR`` (1e-8 %, Dollar's value; the CityPersons script returns 0 with a
    warning); none have 100. That script has a fault in small sets: where the first detection is already one false
    positive too many (fewer than 100 pictures) it takes the *last* recall; here recall is 0 there, as in Dollar's code.
    mmdetection's ``CrowdHumanMetric`` has neither set-ups nor visibility.

    Args:
        ann_file: JSON in COCO's form with ``vis_ratio`` (or ``vis_bbox``) and, where it differs from the box's,
            ``height`` (``val_gt.json`` of CityPersons' evaluation).
    """

    def __init__(self, ann_file: str | Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.annotations = read_annotations(ann_file)
        self._pedestrians: list[Pedestrians] | None = None

    @property
    def pedestrians(self) -> list[Pedestrians]:
        """Ground truth a picture; read when the name of the first class is known."""
        if self._pedestrians is None:
            self._pedestrians = read_pedestrians(self.annotations, self.class_names(1)[0])
        return self._pedestrians

    def measure(self, sample: Sample, counts: Counts) -> MissResult:
        """Match the detections of a picture in each set-up."""
        index = self.annotations.index(sample)
        found = read_detections(sample, 1, counts)
        boxes, scores = found.boxes[:_DETECTIONS], found.scores[:_DETECTIONS]
        return MissResult(index, [match(boxes, scores, self.pedestrians[index], setup) for setup in SETUPS.values()])

    def summary(self, results: Sequence[MissResult], counts: Counts) -> dict[str, float]:
        """``reasonable``, ``small``, ``heavy``, ``all`` in percent; set-ups without a pedestrian are left out, counted.

        Raises:
            UserError: other pictures than the annotated ones were evaluated; no set-up has a pedestrian.
        """
        self.annotations.check_all_once(np.array([one.picture for one in results]))
        ordered = sorted(results, key=lambda one: one.picture)
        scores: dict[str, float] = {}
        for place, name in enumerate(SETUPS):
            parts = [one.setups[place] for one in ordered]
            wanted = sum(number for _, _, number in parts)
            if not wanted:
                counts["set-ups_without_a_pedestrian"] += 1
                continue
            score, right = (np.concatenate([part[field] for part in parts]) for field in range(2))
            ranked = right[np.argsort(-score, kind="stable")]
            scores[name] = 100 * log_average_miss_rate(ranked, wanted, len(results))
        if not scores:
            raise UserError(f"{self.annotations.path}: no pedestrian counts in any set-up")
        return scores


def read_pedestrians(annotations: Annotations, category: str) -> list[Pedestrians]:
    """Ground truth of every picture; what is of another category than ``category`` is ignored.

    A file of a single category is taken whatever its name.

    Raises:
        UserError: no such category, a pedestrian without a visible share, or without area.
    """
    names = annotations.categories
    if len(names) > 1 and category not in names.values():
        raise UserError(f"{annotations.path} has no category '{category}'; it has {', '.join(names.values())}")
    rows, boxes = annotations.rows, annotations.boxes
    ignored = np.array(
        [
            bool(row.get("ignore") or row.get("iscrowd")) or (len(names) > 1 and names[row["category_id"]] != category)
            for row in rows
        ],
        dtype=bool,
    )
    for row, ignore in zip(rows, ignored, strict=True):
        if not ignore and not (row["bbox"][2] > 0 and row["bbox"][3] > 0 and {"vis_ratio", "vis_bbox"} & row.keys()):
            raise UserError(
                f"{annotations.path}: a pedestrian in picture {row['image_id']!r} has no area, or neither vis_ratio "
                "nor vis_bbox"
            )
    heights = np.array([row.get("height", row["bbox"][3]) for row in rows], dtype=np.float64)
    visibility = np.array([_visibility(row) for row in rows], dtype=np.float64)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    order = np.argsort(annotations.image, kind="stable")
    bounds = np.searchsorted(annotations.image[order], np.arange(len(annotations.images) + 1))
    parts = (order[low:high] for low, high in pairwise(bounds))
    return [Pedestrians(corners[part], heights[part], visibility[part], ignored[part]) for part in parts]


def _visibility(row: Any) -> float:
    if "vis_ratio" in row or "vis_bbox" not in row:
        return row.get("vis_ratio", 0.0)
    area = row["bbox"][2] * row["bbox"][3]
    return row["vis_bbox"][2] * row["vis_bbox"][3] / area if area > 0 else 0.0


def match(
    boxes: np.ndarray, scores: np.ndarray, truth: Pedestrians, setup: Setup
) -> tuple[np.ndarray, np.ndarray, int]:
    """Judge detections of a picture in a set-up.

    Args:
        boxes: (n, 4) by falling score.
        scores: (n,).
        truth: of the picture.
        setup: what counts.

    Returns:
        the scores of the detections that count, whether each is right, and the number of pedestrians to find.
    """
    ignored = truth.ignored | _outside(truth.heights, setup.heights) | _outside(truth.visibility, setup.visibility)
    heights = boxes[:, 3] - boxes[:, 1]
    kept = (heights >= setup.heights[0] / _EXPAND) & (heights < setup.heights[1] * _EXPAND)
    boxes, scores = boxes[kept], scores[kept]
    free = overlaps(boxes, truth.boxes[~ignored])
    inside = overlaps(boxes, truth.boxes[ignored], over_first=True).max(1, initial=0.0) >= _IOU
    right = _assign(free)
    counts = right | ~inside
    return scores[counts], right[counts], int((~ignored).sum())


def _outside(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    return (values < bounds[0]) | (values > bounds[1])


def _assign(free: np.ndarray) -> np.ndarray:
    """(n,) whether a detection takes a pedestrian: one after the other, the best that is left, of equals the last."""
    free = free[:, ::-1].copy()
    right = np.zeros(len(free), dtype=bool)
    for row in np.flatnonzero(free.max(1, initial=0.0) >= _IOU):
        best = free[row].argmax()
        right[row] = free[row, best] >= _IOU
        if right[row]:
            free[:, best] = -1
    return right


def log_average_miss_rate(right: np.ndarray, pedestrians: int, pictures: int) -> float:
    """Geometric mean of the miss rates at ``FPPI`` false positives a picture, each at least ``FLOOR``.

    Args:
        right: (n,) whether each detection is right, by falling score.
        pedestrians: number to find, at least 1.
        pictures: number of pictures.
    """
    recall = np.concatenate([[0.0], np.cumsum(right) / pedestrians])
    reached = np.searchsorted(np.cumsum(~right) / pictures, FPPI, side="right")
    return float(np.exp(np.log(np.maximum(1 - recall[reached], FLOOR)).mean()))
