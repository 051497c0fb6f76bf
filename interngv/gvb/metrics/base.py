"""What GV-B's metrics share: one small result a sample, names in errors, counts of what was left out."""

import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from interngv.errors import UserError

Sample = Mapping[str, Any]
Counts = Counter[str]
PREFIX = "gvb"
CLASS, COUNT = "class/", "count/"


class Metric(BaseMetric):
    """A metric that keeps one small result a sample.

    mmengine collects the results of all processes sample by sample and drops those that a sampler repeated to fill its
    last round, so a score does not depend on the number of processes; sums a process could not do that. Names of what
    comes out begin with ``gvb/``: scores, then ``gvb/class/NAME`` a class, then ``gvb/count/WHAT`` for what was
    replaced or left out, which is logged as well.

    A subclass implements :meth:`measure` and :meth:`summary`.
    """

    default_prefix = PREFIX

    @abstractmethod
    def measure(self, sample: Sample, counts: Counts) -> Any:
        """The result of one sample, small and on the CPU; what is wrong but bearable is added to ``counts``."""

    @abstractmethod
    def summary(self, results: Sequence[Any], counts: Counts) -> dict[str, float]:
        """Scores of all results; may add to ``counts``."""

    def process(self, data_batch: Any, data_samples: Sequence[Sample]) -> None:
        """Measure a batch."""
        for sample in data_samples:
            counts: Counts = Counter()
            self.results.append((self.measure(sample, counts), counts))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores and counts of all samples.

        Raises:
            UserError: there is no sample.
        """
        if not results:
            raise UserError(f"{type(self).__name__}: no sample was evaluated; the test set is empty")
        counts: Counts = sum((Counter(one) for _, one in results), Counter())  # mmengine makes them plain dicts
        scores = self.summary([result for result, _ in results], counts)
        if counts:
            said = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in sorted(counts.items()))
            print_log(f"{type(self).__name__}: {said}", logger="current", level=logging.WARNING)
        return {**scores, **{f"{COUNT}{what}": number for what, number in counts.items()}}

    def class_names(self, number: int) -> list[str]:
        """The data set's class names; equal ones (ImageNet has two cranes) are told apart by their index.

        Raises:
            UserError: the data set names another number of classes.
        """
        names = list((self.dataset_meta or {}).get("classes") or map(str, range(number)))
        if len(names) != number:
            raise UserError(f"{type(self).__name__}: the data set names {len(names)} classes, expected {number}")
        often = Counter(names)
        return [f"{name} ({index})" if often[name] > 1 else name for index, name in enumerate(names)]

    def class_number(self, given: int | None) -> int:
        """The number of classes: as given, else as the data set names them.

        Raises:
            UserError: neither says.
        """
        number = given or len((self.dataset_meta or {}).get("classes") or ())
        if not number:
            raise UserError(f"{type(self).__name__}: the data set names no classes; give num_classes")
        return number


def picture(sample: Sample) -> str:
    """What an error calls a sample: its path, else its id."""
    return str(sample.get("img_path") or sample.get("img_id", "a sample without a path"))


def array(value: Any) -> np.ndarray:
    """A tensor on any device, boxes of mmdetection or something numpy reads, as an array."""
    value = getattr(value, "tensor", value)
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def planes(sample: Sample, *keys: str) -> list[np.ndarray]:
    """Maps of a sample, (H, W) each.

    Raises:
        UserError: they differ in size, or have more than one channel.
    """
    maps = [array(sample[key]["data"]) for key in keys]
    maps = [one[0] if one.ndim == 3 and len(one) == 1 else one for one in maps]
    if any(one.ndim != 2 for one in maps) or len({one.shape for one in maps}) > 1:
        said = ", ".join(f"{key} {one.shape}" for key, one in zip(keys, maps, strict=True))
        raise UserError(f"{picture(sample)}: expected maps of one size, got {said}")
    return maps


def check_labels(labels: np.ndarray, classes: int, what: str, sample: Sample) -> None:
    """Refuse labels outside ``0 .. classes - 1``.

    Raises:
        UserError: with the first wrong value and the picture.
    """
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise UserError(f"{picture(sample)}: {what} {wrong.flat[0]} is outside the {classes} classes")


def check_finite(values: np.ndarray, what: str, sample: Sample) -> None:
    """Refuse nan and infinity.

    Raises:
        UserError: with the number of such values and the picture.
    """
    wrong = int(values.size - np.isfinite(values).sum())
    if wrong:
        raise UserError(f"{picture(sample)}: {wrong} of {values.size} {what} are not finite")
