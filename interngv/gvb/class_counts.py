"""Labels of a data set: checked, grouped, and how many samples a class has before and after a selection."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from interngv.errors import UserError


class SamplesError(UserError, ValueError):
    """Samples, labels or an amount of them that nothing can be selected by."""


def checked_labels(labels: ArrayLike, classes: int, start: int = 0) -> np.ndarray:
    """Labels as an (N,) array of indices; ``start`` is the position of the first one.

    Raises SamplesError where they are no row of integers, or one is outside ``range(classes)``.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise SamplesError(f"labels must be a row of integers, got {array.dtype} of shape {array.shape}")
    if array.size and not 0 <= array.min() <= array.max() < classes:
        at = int(np.flatnonzero((array < 0) | (array >= classes))[0])
        raise SamplesError(f"sample {start + at} has label {array[at]}, expected one of {classes} classes from 0")
    return array.astype(np.intp, copy=False)


def grouped(labels: ArrayLike, classes: int | None) -> tuple[np.ndarray, int]:
    """Labels as an (N,) array of indices of classes, and the number of classes.

    Without ``classes``, integers or strings are taken as they are, and the classes are those that occur.
    """
    if classes is not None:
        return checked_labels(labels, classes), classes
    found, groups = np.unique(np.asarray(labels), return_inverse=True)
    return groups, len(found)


@dataclass(frozen=True)
class PerClass:
    """Samples in all, and the fewest, mean and most samples a class; a class without a sample counts as 0."""

    samples: int
    min: int
    mean: float
    max: int

    @classmethod
    def of(cls, counts: np.ndarray) -> "PerClass":
        """From the samples of every class, (C,) integers."""
        return cls(int(counts.sum()), int(counts.min()), float(counts.mean()), int(counts.max()))


@dataclass(frozen=True)
class Statistics:
    """What the paper's table tells of a selection, and the classes that are not as asked for.

    ``missing`` classes have no sample at all; ``short`` ones have some, and fewer than the k a class asked for.
    """

    classes: int
    before: PerClass
    after: PerClass
    missing: int
    short: int

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray, k: int = 0) -> "Statistics":
        """From the samples of every class, (C,) integers each, in the whole set and in the selection."""
        missing, short = (int(np.count_nonzero(some)) for some in (before == 0, (before > 0) & (before < k)))
        return cls(len(before), PerClass.of(before), PerClass.of(after), missing, short)

    @property
    def remarks(self) -> str:
        """How many classes are not as asked for, in words; empty where all are."""
        counts = {"without a sample": self.missing, "with fewer than k": self.short}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def statistics(labels: ArrayLike, kept: np.ndarray, classes: int | None = None, k: int = 0) -> Statistics:
    """Samples a class before and after a selection.

    Args:
        labels: (N,) class of every sample.
        kept: (K,) indices of the selection.
        classes: number of classes, where every label must be one of ``range(classes)``; None takes those that occur.
        k: samples a class that were asked for; 0 where a percentage was (``Shots.k``).

    Raises:
        SamplesError: a label outside the classes, or no class at all.
    """
    groups, count = grouped(labels, classes)
    if not count:
        raise SamplesError("statistics need at least one class, got none")
    before, after = (np.bincount(some, minlength=count) for some in (groups, groups[kept]))
    return Statistics.of(before, after, k)


def table(rows: Mapping[str, Statistics]) -> str:
    """Statistics of data sets as a Markdown table, one row each (INTERN's table of percentage-shot, section GV-B)."""
    header = ["set", "classes", *["samples", "avg", "min", "max"], *["kept", "avg", "min", "max"], "remarks"]
    lines = [header, ["---"] * len(header)]
    for name, row in rows.items():
        numbers = [f"{p.samples} | {p.mean:.1f} | {p.min} | {p.max}" for p in (row.before, row.after)]
        lines.append([name, str(row.classes), *numbers, row.remarks])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
