"""Accuracy and mean per-class accuracy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from interngv.errors import UserError
from interngv.gvb.metrics.base import CLASS, Counts, Metric, Sample, array, check_finite, check_labels, picture
from interngv.registry import METRICS


@METRICS.register_module()
class AccuracyMetric(Metric):
    """Accuracy and the mean over classes of confusion diagonal / row sum, in percent (intern-spec §7.3).

    A class without a test sample has no accuracy: it is left out of the mean and counted. mmpretrain's
    ``SingleLabelMetric`` takes its recall for 0, its ``Accuracy`` keeps every sample's scores in memory, counts labels
    outside the classes and nan as wrong answers, and a right one of score 0 as well.

    Args:
        num_classes: the data set's own number where None.
    """

    def __init__(self, num_classes: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def measure(self, sample: Sample, counts: Counts) -> tuple[int, int]:
        """The true and the predicted label.

        Raises:
            UserError: no single true label, a label outside the classes, scores that are not finite or of another
                number.
        """
        classes = self.class_number(self.num_classes)
        truth = array(sample["gt_label"]).reshape(-1)
        if truth.size != 1:
            raise UserError(f"{picture(sample)}: expected one true label, got {truth.size}")
        predicted = self._predicted(sample, classes)
        check_labels(truth, classes, "true label", sample)
        check_labels(predicted, classes, "predicted label", sample)
        return int(truth[0]), int(predicted[0])

    @staticmethod
    def _predicted(sample: Sample, classes: int) -> np.ndarray:
        if "pred_score" not in sample:
            return array(sample["pred_label"]).reshape(-1)
        scores = array(sample["pred_score"]).reshape(-1)
        if scores.size != classes:
            raise UserError(f"{picture(sample)}: {scores.size} scores were predicted for {classes} classes")
        check_finite(scores, "predicted scores", sample)
        return scores.argmax(0, keepdims=True)

    def summary(self, results: Sequence[tuple[int, int]], counts: Counts) -> dict[str, float]:
        """``accuracy``, ``per_class`` and each class's accuracy, in percent."""
        classes = self.class_number(self.num_classes)
        truth, predicted = np.array(results, dtype=np.int64).T
        samples = np.bincount(truth, minlength=classes)
        right = np.bincount(truth[truth == predicted], minlength=classes)
        occurs = samples > 0
        each = 100 * right[occurs] / samples[occurs]
        if not occurs.all():
            counts["classes_without_a_sample"] += int(classes - occurs.sum())
        names = np.array(self.class_names(classes), dtype=object)[occurs]
        return {
            "accuracy": float(100 * right.sum() / samples.sum()),
            "per_class": float(each.mean()),
            **{f"{CLASS}{name}": float(value) for name, value in zip(names, each, strict=True)},
        }
