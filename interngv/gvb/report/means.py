"""Means over tasks and the paper's headline, the reduction of the mean error rate (INTERN, arXiv 2111.08687).

Two trunks are compared over the tasks that both finished, and over no others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interngv.gvb.report.noise import mean
from interngv.gvb.report.scores import Row, Scores, spread_of


@dataclass(frozen=True)
class KindMean:
    """Mean score and mean error of every trunk over the tasks of a kind that all of them finished.

    Attributes:
        scores: a mean a trunk, None where the metrics of the tasks do not mix (some higher, some lower is better).
        left_out: tasks that a trunk lacks, and are in nobody's mean.
        absent: trunks that finished none of the tasks, and are in no comparison.
    """

    kind: str
    protocol: str
    shots: str
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    errors: dict[str, float]
    scores: dict[str, float] | None
    absent: tuple[str, ...]


@dataclass(frozen=True)
class Reduction:
    """Change of a trunk's error against a baseline's over the tasks that both finished; -0.4 is 40 % less error.

    The paper does not say how its headline is averaged, so both readings are given [I].

    Attributes:
        of_means: mean errors first, then their ratio; None where the baseline makes no error or no task is common.
        of_tasks: the mean of the tasks' own changes; None where the baseline makes no error on one of them.
    """

    kind: str
    protocol: str
    shots: str
    trunk: str
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    of_means: float | None
    of_tasks: float | None


def kind_means(scores: Scores) -> list[KindMean]:
    """Means per kind of task, protocol and shots, in the order of the report."""
    return [
        kind_mean(scores, group, shots)
        for shots in scores.shots
        for group in spread_of(scores.rows).values()
        if scores.has(group[0], shots)
    ]


def reductions(scores: Scores, baseline: str) -> list[Reduction]:
    """Of every other trunk against the baseline, per kind of task, protocol and shots."""
    return [
        _reduction(scores, group, shots, trunk, baseline)
        for shots in scores.shots
        for group in spread_of(scores.rows).values()
        if scores.has(group[0], shots)
        for trunk in scores.trunks
        if trunk != baseline
    ]


def _finished(scores: Scores, group: Sequence[Row], shots: str, trunk: str) -> dict[Row, float]:
    """Mean score of the tasks that the trunk finished at least once."""
    found = {row: scores.at(row, shots, trunk).mean for row in group}
    return {row: score for row, score in found.items() if score is not None}


def kind_mean(scores: Scores, group: Sequence[Row], shots: str) -> KindMean:
    """Mean over a group of rows of one kind and protocol."""
    by_trunk = {trunk: _finished(scores, group, shots, trunk) for trunk in scores.trunks}
    present = {trunk: found for trunk, found in by_trunk.items() if found}
    common = [row for row in group if present and all(row in found for found in present.values())]
    alike = common and len({row.higher_is_better for row in common}) == 1
    return KindMean(
        group[0].kind,
        group[0].protocol,
        shots,
        tuple(row.task for row in common),
        tuple(row.task for row in group if row not in common),
        {trunk: mean([row.error(found[row]) for row in common]) for trunk, found in present.items() if common},
        {trunk: mean([found[row] for row in common]) for trunk, found in present.items()} if alike else None,
        tuple(trunk for trunk in scores.trunks if trunk not in present),
    )


def _reduction(scores: Scores, group: Sequence[Row], shots: str, trunk: str, baseline: str) -> Reduction:
    ours, theirs = (_finished(scores, group, shots, name) for name in (trunk, baseline))
    common = [row for row in group if row in ours and row in theirs]
    errors = [(row.error(ours[row]), row.error(theirs[row])) for row in common]
    total = sum(base for _, base in errors)
    return Reduction(
        group[0].kind,
        group[0].protocol,
        shots,
        trunk,
        tuple(row.task for row in common),
        tuple(row.task for row in group if row not in common),
        sum(error for error, _ in errors) / total - 1 if total > 0 else None,
        mean([error / base - 1 for error, base in errors]) if errors and all(base > 0 for _, base in errors) else None,
    )
