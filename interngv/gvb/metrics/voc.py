"""Mean average precision of PASCAL VOC."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interngv.errors import UserError, did_you_mean
from interngv.gvb.metrics.base import CLASS, Counts, Metric, Sample
from interngv.gvb.metrics.detections import area_under, overlaps, read_detections, read_truth
from interngv.registry import METRICS

FORMS = ("11points", "area")


@dataclass(frozen=True)
class VocResult:
    """One picture: a row a detection that counts, and how many boxes of each class must be found."""

    labels: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    boxes: np.ndarray


@METRICS.register_module()
class VocMetric(Metric):
    """VOC mAP in percent: a detection is right at IoU >= .5 with the annotated box that it overlaps most.

    Rules of the VOC devkit: boxes are inclusive pixels (+1 in widths), a second detection of a box is wrong, detections
    of difficult boxes count neither way. Both forms are reported: ``11points`` (VOC07: mean of the best precision at
    recalls 0, .1 .. 1) and ``area`` (VOC 2010 and later). Classes without a box are left out and counted.

    mmdetection's ``VOCMetric`` agrees but for this: it compares recalls as rounded numbers, so a class whose recall
    ends at exactly 3, 6 or 7 tenths loses a point (up to 9 % AP); it sorts equal scores as it comes; it drops labels
    outside the classes; it accepts scores that are nan; and it returns no AP a class. Difficult boxes arrive as
    ``ignored_instances`` through ``VOCDataset``, ``LoadAnnotations`` and ``PackDetInputs``; labels must be loaded after
    resizing, as predictions are in pixels of the original.

    Args:
        form: which form is ``voc_map``; the other one stands beside it.
        iou: least overlap of a right detection.
    """

    def __init__(self, form: str = "11points", iou: float = 0.5, **kwargs: Any) -> None:
        if form not in FORMS:
            raise UserError(f"VocMetric has no form '{form}'{did_you_mean(form, FORMS)}; it has {', '.join(FORMS)}")
        super().__init__(**kwargs)
        self.form, self.iou = form, iou

    def measure(self, sample: Sample, counts: Counts) -> VocResult:
        """Judge the detections of a picture class by class."""
        classes = self.class_number(None)
        found = read_detections(sample, classes, counts)
        boxes, labels, difficult = read_truth(sample, classes, counts)
        right = np.zeros(len(found.labels), dtype=bool)
        judged = np.ones(len(found.labels), dtype=bool)
        for label in np.intersect1d(found.labels, labels):
            ours, theirs = np.flatnonzero(found.labels == label), labels == label
            one = overlaps(found.boxes[ours], boxes[theirs], inclusive=True)
            right[ours], judged[ours] = judge(one, difficult[theirs], self.iou)
        wanted = np.bincount(labels[~difficult], minlength=classes)
        return VocResult(found.labels[judged], found.scores[judged], right[judged], wanted)

    def summary(self, results: Sequence[VocResult], counts: Counts) -> dict[str, float]:
        """``voc_map``, the mAP of either form, and each class's AP in the chosen form, in percent.

        Raises:
            UserError: no class has a box that is not difficult.
        """
        labels = np.concatenate([one.labels for one in results])
        scores = np.concatenate([one.scores for one in results])
        right = np.concatenate([one.right for one in results])
        wanted = np.sum([one.boxes for one in results], axis=0)
        occurs = np.flatnonzero(wanted)
        if not occurs.size:
            raise UserError("VocMetric: no picture of the test set has an annotated box")
        if occurs.size < wanted.size:
            counts["classes_without_a_box"] += int(wanted.size - occurs.size)
        names = self.class_names(len(wanted))
        each: dict[str, dict[str, float]] = {form: {} for form in FORMS}
        for index in occurs:
            ours = labels == index
            ranked = right[ours][np.argsort(-scores[ours], kind="stable")]
            for form in FORMS:
                each[form][names[index]] = 100 * average_precision(ranked, int(wanted[index]), form)
        means = {form: float(np.mean(list(one.values()))) for form, one in each.items()}
        return {
            "voc_map": means[self.form],
            **{f"voc_map_{form}": value for form, value in means.items()},
            **{f"{CLASS}{name}": value for name, value in each[self.form].items()},
        }


def judge(overlap: np.ndarray, difficult: np.ndarray, iou: float) -> tuple[np.ndarray, np.ndarray]:
    """Which detections of one class in one picture are right, and which count at all.

    Args:
        overlap: (n, m) of detections by falling score with m >= 1 annotated boxes.
        difficult: (m,).
        iou: least overlap.

    Returns:
        (n,) right: the first on a box that is not difficult; (n,) judged: not on a difficult box.
    """
    best = overlap.argmax(1)
    hit = overlap.max(1) >= iou
    judged = ~(hit & difficult[best])
    candidates = np.flatnonzero(hit & judged)
    right = np.zeros(len(overlap), dtype=bool)
    right[candidates[np.unique(best[candidates], return_index=True)[1]]] = True
    return right, judged


def average_precision(right: np.ndarray, boxes: int, form: str) -> float:
    """Average precision of detections by falling score; recalls are compared as fractions, free of rounding.

    Args:
        right: (n,) whether each detection is right.
        boxes: number of boxes to find, at least 1.
        form: one of ``FORMS``.
    """
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    if form == "area":
        return area_under(hits / boxes, precision)
    return sum(precision[10 * hits >= tenth * boxes].max(initial=0.0) for tenth in range(11)) / 11
