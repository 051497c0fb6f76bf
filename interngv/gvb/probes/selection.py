"""How every probe chooses its hyper-parameters: on samples it has not seen, then once more on all training samples.

1. All settings are trained on one part of the training samples and judged on the other: ``ProbeData.val`` where it is
   given, else a seeded stratified split, or several where one would judge by a few samples (``ProbeData.splits``).
2. The best by the task's metric, mean of the splits, is chosen. Of equal ones, one inside the grid goes before one at
   its edge, then the first.
3. The chosen setting is trained on all training samples and predicts the test set: the only time that the test set is
   looked at, and for this setting alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, Protocol

from torch import Tensor

from interngv.errors import UserError
from interngv.gvb.probes.data import ProbeData, Samples
from interngv.gvb.probes.result import ProbeResult, Setting, classes_without_sample, edges, result_of, scores_of

Row = dict[str, Any]


class Model(Protocol):
    """What training for G settings gives."""

    @property
    def notes(self) -> Sequence[Mapping[str, Any]]:
        """G of them, for the table; ``diverged=True`` takes a setting out of the choice."""

    def predict(self, features: Tensor) -> Tensor:
        """(G, N) classes of features (N, D)."""


Trainer = Callable[[Sequence[Setting]], Model]
Method = Callable[[Samples], Trainer]  # what settings share is worked out once for the samples
Refine = Callable[[list[Row]], list[Setting]]  # further settings to try, from the rows so far; none at the end


def select_and_test(
    data: ProbeData,
    method: Method,
    grid: Sequence[Setting],
    fallback: Setting,
    limits: Setting | None = None,
    refine: Refine | None = None,
) -> ProbeResult:
    """The result of a probe (see the module's text).

    Args:
        data: the task.
        method: the probe.
        grid: settings to try.
        fallback: the setting to use where nothing can be held out: every class has one training sample, no ``val``.
        limits: hyper-parameter values that are no edge (:func:`interngv.gvb.probes.result.edges`).
        refine: asked for further settings until it has none.

    Raises:
        UserError: an empty grid; training diverged for every setting.
    """
    start = time.perf_counter()
    if not grid:
        raise UserError("the grid of hyper-parameters is empty; give every one of them at least one value")
    if len(grid) == 1:
        return tested(data, method, grid[0], "single", start)
    splits = data.splits()
    if not splits:
        return tested(data, method, fallback, "fallback", start)
    trainers = [(method(training), validation) for training, validation in splits]
    rows = _judged(data, trainers, grid)
    while refine and (more := refine(rows)):
        rows += _judged(data, trainers, more)
    tried = [{name: row[name] for name in grid[0]} for row in rows]
    chosen = best(rows, tried, limits or {})
    at_edge = edges(chosen, tried, limits or {})
    chosen_by = "held-out" if data.val is None else "validation"
    judged = sum(len(validation.labels) for _, validation in splits)
    return tested(data, method, chosen, chosen_by, start, rows, at_edge, judged)


def best(rows: Sequence[Row], tried: Sequence[Setting], limits: Setting) -> Setting:
    """The setting whose row has the highest score; see the module's text for equal ones.

    Raises:
        UserError: no row has a score.
    """
    scored = [row["score"] for row in rows if row["score"] is not None]
    if not scored:
        raise UserError(
            f"none of {len(rows)} settings could be judged, as training diverged; try smaller steps, or normalise=True"
        )
    ties = [setting for setting, row in zip(tried, rows, strict=True) if row["score"] == max(scored)]
    return min(ties, key=lambda setting: len(edges(setting, tried, limits)))


def tested(
    data: ProbeData,
    method: Method,
    chosen: Setting,
    chosen_by: str,
    start: float,
    rows: Sequence[Row] = (),
    at_edge: tuple[str, ...] = (),
    validation_samples: int = 0,
) -> ProbeResult:
    """Trains the chosen setting on all training samples and scores the test set; ``start`` is when the probe began.

    Raises:
        UserError: training diverged.
    """
    model = method(data.train)([chosen])
    notes = dict(model.notes[0])
    if notes.pop("diverged", False):
        raise UserError(f"training diverged with {dict(chosen)}; try a smaller learning rate, or normalise=True")
    details = {
        "training_samples": len(data.train.labels),
        "validation_samples": validation_samples,
        "classes_without_training_sample": classes_without_sample(data.train.labels, data.num_classes),
        **notes,
    }
    predicted = model.predict(data.test.features)[0]
    labels = data.test.labels
    return result_of(predicted, labels, data.num_classes, data.metric, start, chosen, chosen_by, rows, at_edge, details)


def _judged(data: ProbeData, trainers: Sequence[tuple[Trainer, Samples]], grid: Sequence[Setting]) -> list[Row]:
    """A row a setting: its mean score over the splits, None where training diverged on any; notes of the first."""
    models, scores = [], []
    for train, validation in trainers:
        models.append(model := train(grid))
        predicted, labels = model.predict(validation.features), validation.labels
        scores.append([scores_of(one, labels, data.num_classes, data.metric)[data.metric] for one in predicted])
    rows = []
    for number, setting in enumerate(grid):
        diverged = any(model.notes[number].get("diverged") for model in models)
        score = None if diverged else fmean(split[number] for split in scores)
        rows.append({**setting, "score": score, **models[0].notes[number]})
    return rows
