"""Mean intersection over union."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from interngv.errors import UserError
from interngv.gvb.metrics.base import CLASS, Counts, Metric, Sample, check_labels, planes
from interngv.registry import METRICS


@METRICS.register_module()
class MeanIoUMetric(Metric):
    """mIoU in percent from whole counts of pixels, with pixel accuracy and mean class accuracy.

    A class that is neither annotated nor predicted anywhere has no vote and is counted; pictures whose mask is ignored
    throughout are counted. mmsegmentation's ``IoUMetric`` is the same measure, but: it adds up pixels in float32, which
    no longer counts beyond 2^24 of a class; labels outside the classes vanish and leave their pixels as false
    predictions; it rounds to two decimals, returns nan for a set without a label, and no IoU a class.

    Args:
        num_classes: the data set's own number where None.
        ignore_index: label of pixels that do not count.
    """

    def __init__(self, num_classes: int | None = None, ignore_index: int = 255, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def measure(self, sample: Sample, counts: Counts) -> np.ndarray:
        """(3, classes) pixels of one picture: right, annotated, predicted.

        Raises:
            UserError: mask and prediction differ in size, a label lies outside the classes.
        """
        classes = self.class_number(self.num_classes)
        predicted, truth = planes(sample, "pred_sem_seg", "gt_sem_seg")
        valid = truth != self.ignore_index
        predicted, truth = predicted[valid].astype(np.int64), truth[valid].astype(np.int64)
        check_labels(truth, classes, "mask label", sample)
        check_labels(predicted, classes, "predicted label", sample)
        if not truth.size:
            counts["pictures_ignored_throughout"] += 1
        pairs = (truth[truth == predicted], truth, predicted)
        return np.stack([np.bincount(labels, minlength=classes) for labels in pairs])

    def summary(self, results: Sequence[np.ndarray], counts: Counts) -> dict[str, float]:
        """``miou``, ``pixel_accuracy``, ``class_accuracy`` and each class's IoU, in percent.

        Raises:
            UserError: no pixel of the test set has a label.
        """
        right, annotated, predicted = np.sum(results, axis=0)
        union = annotated + predicted - right
        occurs = np.flatnonzero(union)
        if not annotated.any():
            raise UserError("MeanIoUMetric: every pixel of the test set is ignored")
        if occurs.size < union.size:
            counts["classes_without_a_pixel"] += int(union.size - occurs.size)
        each, names = 100 * right[occurs] / union[occurs], self.class_names(len(union))
        recall = right[annotated > 0] / annotated[annotated > 0]
        return {
            "miou": float(each.mean()),
            "pixel_accuracy": float(100 * right.sum() / annotated.sum()),
            "class_accuracy": float(100 * recall.mean()),
            **{f"{CLASS}{names[index]}": float(value) for index, value in zip(occurs, each, strict=True)},
        }
