"""What a probe found, and the two scores of GV-B's classification tasks."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Setting = Mapping[str, Any]  # hyper-parameter -> value


@dataclass(frozen=True)
class ProbeResult:
    """Scores on the test set, and how the hyper-parameters were chosen. Holds numbers, strings and their containers.

    Attributes:
        scores: ``accuracy`` and ``per_class`` in %, the task's own metric first.
        per_class: accuracy in % of every class, None for one without a test sample.
        chosen: the hyper-parameters that were used.
        chosen_by: ``'validation'`` (samples given), ``'held-out'`` (a part of the training samples),
            ``'leave-one-out'``, ``'single'`` (there was one setting), ``'fallback'`` (nothing could be held out) or
            ``'none'`` (no hyper-parameters).
        table: a row for every setting that was judged: its hyper-parameters, its ``score`` (% of the task's metric,
            None where training diverged) and what the probe notes about it.
        at_edge: hyper-parameters whose best value is the smallest or largest tried, so that a wider grid may be better.
        seconds: wall time of everything, choosing included.
        details: counts that a reader should know, such as classes without a sample.
    """

    scores: dict[str, float]
    per_class: tuple[float | None, ...]
    chosen: dict[str, Any]
    chosen_by: str
    table: tuple[dict[str, Any], ...]
    at_edge: tuple[str, ...]
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """The task's own metric in %."""
        return next(iter(self.scores.values()))


def class_accuracies(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(K,) float64: share of each class's samples that were predicted as it; NaN for a class without samples."""
    total = torch.bincount(labels, minlength=num_classes)
    correct = torch.bincount(labels[predicted == labels], minlength=num_classes)
    return correct.double() / total.double()


def scores_of(predicted: Tensor, labels: Tensor, num_classes: int, metric: str) -> dict[str, float]:
    """``accuracy`` and ``per_class`` (mean over the classes that have samples) in %, ``metric`` first."""
    both = {
        "accuracy": 100 * (predicted == labels).double().mean().item(),
        "per_class": 100 * class_accuracies(predicted, labels, num_classes).nanmean().item(),
    }
    return {metric: both.pop(metric)} | both


def edges(chosen: Setting, tried: Sequence[Setting], limits: Setting) -> tuple[str, ...]:
    """Hyper-parameters of ``chosen`` that are the smallest or largest of several tried numbers.

    ``limits`` names values beyond which there is nothing, as a weight decay of 0: these are no edge.
    """
    found = []
    for name, value in chosen.items():
        values = {setting[name] for setting in tried}
        if isinstance(value, str) or len(values) < 2 or limits.get(name) == value:
            continue
        if value in (min(values), max(values)):
            found.append(name)
    return tuple(found)


def result_of(
    predicted: Tensor,
    labels: Tensor,
    num_classes: int,
    metric: str,
    start: float,
    chosen: Setting | None = None,
    chosen_by: str = "none",
    table: Sequence[dict[str, Any]] = (),
    at_edge: tuple[str, ...] = (),
    details: Mapping[str, Any] | None = None,
) -> ProbeResult:
    """The result for predicted classes (N,) and labels (N,) of the test set; ``start`` is when the probe began."""
    accuracies = class_accuracies(predicted, labels, num_classes).tolist()
    absent = classes_without_sample(labels, num_classes)
    return ProbeResult(
        scores=scores_of(predicted, labels, num_classes, metric),
        per_class=tuple(None if math.isnan(value) else 100 * value for value in accuracies),
        chosen=dict(chosen or {}),
        chosen_by=chosen_by,
        table=tuple(table),
        at_edge=at_edge,
        seconds=time.perf_counter() - start,
        details={"test_samples": len(labels), "classes_without_test_sample": absent, **(details or {})},
    )


def classes_without_sample(labels: Tensor, num_classes: int) -> list[int]:
    """The classes that no label (N,) names."""
    return (torch.bincount(labels, minlength=num_classes) == 0).nonzero()[:, 0].tolist()
