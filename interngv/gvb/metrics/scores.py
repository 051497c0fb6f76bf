"""From a task to its evaluator, and from an evaluator's output to the scores of a cell."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interngv.errors import UserError, did_you_mean
from interngv.gvb.metrics import depth
from interngv.gvb.metrics.base import CLASS, COUNT, PREFIX, Metric
from interngv.gvb.metrics.classification import AccuracyMetric
from interngv.gvb.metrics.coco import CocoBoxMetric
from interngv.gvb.metrics.depth import DepthErrorMetric
from interngv.gvb.metrics.miss_rate import MissRateMetric
from interngv.gvb.metrics.segmentation import MeanIoUMetric
from interngv.gvb.metrics.voc import VocMetric
from interngv.gvb.metrics.wider import WiderFaceMetric


@dataclass(frozen=True)
class Kind:
    """A metric of the benchmark.

    Attributes:
        evaluator: class that takes it.
        scores: what it reports, the headline first.
        higher_is_better: direction of the headline.
    """

    evaluator: type[Metric]
    scores: tuple[str, ...]
    higher_is_better: bool = True


KINDS = {
    "accuracy": Kind(AccuracyMetric, ("accuracy", "per_class")),
    "per_class": Kind(AccuracyMetric, ("per_class", "accuracy")),
    "voc_map": Kind(VocMetric, ("voc_map", "voc_map_11points", "voc_map_area")),
    "wider_ap": Kind(WiderFaceMetric, ("easy", "medium", "hard")),
    "mr2": Kind(MissRateMetric, ("reasonable", "small", "heavy", "all"), higher_is_better=False),
    "coco_ap": Kind(CocoBoxMetric, ("coco_ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")),
    "miou": Kind(MeanIoUMetric, ("miou", "pixel_accuracy", "class_accuracy")),
    "rmse": Kind(DepthErrorMetric, depth.SCORES, higher_is_better=False),
}
HIGHER_IS_BETTER = {name: kind.higher_is_better for name, kind in KINDS.items()}


def evaluator(task: Any, **settings: Any) -> dict[str, Any]:
    """The config of a task's evaluator.

    Args:
        task: has ``metric``, one of ``KINDS``, ``num_classes`` and a mapping ``settings``, of which the evaluator gets
            what it takes.
        settings: more of the evaluator's own, such as ``ann_file``; they win.

    Raises:
        UserError: an unknown metric, a setting that the evaluator does not take.
    """
    kind = _kind(task.metric)
    taken = {"collect_device", "collect_dir", *inspect.signature(kind.evaluator).parameters} - {"kwargs"}
    for name in settings:
        if name not in taken:
            raise UserError(f"{kind.evaluator.__name__} takes no '{name}'{did_you_mean(name, taken)}")
    facts = {"num_classes": task.num_classes, **task.settings, **settings}
    return {"type": f"interngv.{kind.evaluator.__name__}", **{name: facts[name] for name in facts if name in taken}}


def scores(metric: str, output: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a cell from an evaluator's output, the headline first.

    Args:
        metric: one of ``KINDS``.
        output: of ``Evaluator.evaluate`` or of a test loop; names may carry a data set's name in front.

    Raises:
        UserError: an unknown metric, or an output without its headline.
    """
    found = _named(output)
    wanted = _kind(metric).scores
    chosen = {name: float(found[name]) for name in wanted if name in found}
    if wanted[0] not in chosen:
        raise UserError(f"the evaluator reported no {wanted[0]}; it reported {', '.join(found) or 'nothing'}")
    return chosen


def per_class(output: Mapping[str, Any]) -> dict[str, float] | None:
    """The headline of each class where the metric has one, else None."""
    return _below(CLASS, output) or None


def counts(output: Mapping[str, Any]) -> dict[str, int]:
    """What the evaluator replaced or left out."""
    return {name: int(value) for name, value in _below(COUNT, output).items()}


def _below(prefix: str, output: Mapping[str, Any]) -> dict[str, float]:
    named = _named(output).items()
    return {name.removeprefix(prefix): float(value) for name, value in named if name.startswith(prefix)}


def _named(output: Mapping[str, Any]) -> dict[str, Any]:
    """What stands behind ``gvb/``."""
    split = (f"/{key}".partition(f"/{PREFIX}/") for key in output)
    return {name: value for (_, sign, name), value in zip(split, output.values(), strict=True) if sign}


def _kind(metric: str) -> Kind:
    if metric not in KINDS:
        raise UserError(f"unknown metric '{metric}'{did_you_mean(metric, KINDS)}; there are {', '.join(KINDS)}")
    return KINDS[metric]
