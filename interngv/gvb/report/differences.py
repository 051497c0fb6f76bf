"""Which differences between two trunks exceed the noise of their tries.

The noise is that of the tries alone (choice of the training list, and training): the test set is one and the same, and
how far its samples are representative is not in it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from interngv.gvb.report import noise
from interngv.gvb.report.noise import LEVEL, Estimate, deviation, mean
from interngv.gvb.report.results import Cell
from interngv.gvb.report.scores import Tries, shots_order, task_order

EXCEEDS, WITHIN, OPEN = "exceeds the noise", "within the noise", "cannot be said"
Key = tuple[str, str, str]  # task, protocol, shots


@dataclass(frozen=True)
class Side:
    """One trunk's finished tries: their number, mean and sample deviation (None for a single one)."""

    n: int
    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Difference:
    """``b`` less ``a`` on one task by one protocol with one number of shots.

    Attributes:
        better: 'A' or 'B' by the mean scores and the metric's direction, '' where they are equal.
        method: 'paired' (tries on the same lists, list by list), 'welch' (independent tries), or 'none'.
        low, high: 95 % interval of the difference; p: two-sided; all None where the verdict cannot be said.
        verdict: whether the interval leaves out zero, or why that cannot be said.
        note: what a reader must know of the lists.
    """

    task: str
    kind: str
    protocol: str
    shots: str
    metric: str
    higher_is_better: bool
    a: Side
    b: Side
    difference: float
    better: str
    method: str
    low: float | None
    high: float | None
    p: float | None
    verdict: str
    note: str


@dataclass(frozen=True)
class NotCompared:
    """A place of the grid that has something on either side and cannot be compared, and why."""

    task: str
    protocol: str
    shots: str
    reason: str


def differences(a: Sequence[Cell], b: Sequence[Cell]) -> tuple[list[Difference], list[NotCompared]]:
    """Compare two trunks' cells place by place; each place is either compared or listed with the reason why not."""
    ours, theirs = _by_place(a), _by_place(b)
    compared, left = [], []
    for key in sorted({**ours, **theirs}, key=_place_order):
        one, other = ours.get(key, Tries()), theirs.get(key, Tries())
        reason = _why_not(one, other)
        if reason:
            left.append(NotCompared(*key, reason))
        else:
            compared.append(_difference(key, one.done, other.done))
    return compared, left


def by_chance(found: Sequence[Difference]) -> tuple[int, float, int]:
    """Of many comparisons: how many were decided, how many would exceed by chance alone, how many hold after Holm."""
    decided = [one.p for one in found if one.p is not None]
    return len(decided), (1 - LEVEL) * len(decided), noise.holm(decided)


def _place_order(key: Key) -> tuple:
    return task_order(key[0]), key[1], shots_order(key[2])


def _by_place(cells: Sequence[Cell]) -> dict[Key, Tries]:
    places: dict[Key, list[Cell]] = defaultdict(list)
    for cell in cells:
        places[cell["task"], cell["protocol"], cell["shots"]].append(cell)
    return {
        key: Tries(
            tuple(cell for cell in found if cell["status"] == "done"),
            tuple(cell for cell in found if cell["status"] == "failed"),
        )
        for key, found in places.items()
    }


def _why_not(a: Tries, b: Tries) -> str:
    for name, side, other in (("A", a, b), ("B", b, a)):
        if not side.done and not side.failed:
            return f"only in {'B' if name == 'A' else 'A'}"
        if not side.done and other.done:
            return f"every try of {name} failed: {side.failed[0]['error']}"
    if not a.done:
        return f"every try of both failed: {a.failed[0]['error']}"
    ways = [{(cell["metric"], cell["higher_is_better"]) for cell in side.done} for side in (a, b)]
    if ways[0] != ways[1]:
        metrics = [", ".join(sorted(str(metric) for metric, _ in way)) for way in ways]
        return f"measured in two ways: {metrics[0]} and {metrics[1]}"
    if {cell["test_sha256"] for cell in a.done} != {cell["test_sha256"] for cell in b.done}:
        return "tested on different lists"
    sizes = [{_list_size(cell) for cell in side.done} for side in (a, b)]
    if sizes[0] != sizes[1]:
        return f"training lists of other sizes: {_sizes_text(sizes[0])} and {_sizes_text(sizes[1])}"
    return ""


def _list_size(cell: Cell) -> tuple:
    """What two draws from the same data have in common: of a list of pictures its length alone."""
    found = cell["list"]
    if found is None:
        return ()
    return tuple(found.values()) if cell["kind"] == "classification" else (found["samples"],)


def _sizes_text(sizes: set[tuple]) -> str:
    return " or ".join(sorted("/".join(f"{part:g}" for part in size if part is not None) or "none" for size in sizes))


def _difference(key: Key, a: Sequence[Cell], b: Sequence[Cell]) -> Difference:
    pairs = _pairs(a, b)
    one, other = _scores([pair[0] for pair in pairs] or a), _scores([pair[1] for pair in pairs] or b)
    estimate = noise.paired(one, other) if pairs else noise.welch(one, other)
    gap, better = mean(other) - mean(one), bool(a[0]["higher_is_better"])
    return Difference(
        *(key[0], str(a[0]["kind"]), key[1], key[2], str(a[0]["metric"]), better),
        a=Side(len(one), mean(one), deviation(one)),
        b=Side(len(other), mean(other), deviation(other)),
        difference=gap,
        better="" if gap == 0 else "B" if (gap > 0) == better else "A",
        method="none" if estimate is None else "paired" if pairs else "welch",
        low=estimate.low if estimate else None,
        high=estimate.high if estimate else None,
        p=estimate.p if estimate else None,
        verdict=_verdict(estimate, min(len(one), len(other))),
        note="; ".join(filter(None, (_note(a, b, len(pairs)), _other_way(a, b)))),
    )


def _scores(cells: Sequence[Cell]) -> list[float]:
    return [cell["score"] for cell in cells if cell["score"] is not None]


def _pairs(a: Sequence[Cell], b: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Tries on the same list; none where a list stands for several tries, which are then independent of each other."""
    lists = [[cell["list_sha256"] for cell in side] for side in (a, b)]
    if any(None in side or len(set(side)) < len(side) for side in lists):
        return []
    theirs = {cell["list_sha256"]: cell for cell in b}
    pairs = [(cell, theirs[cell["list_sha256"]]) for cell in a if cell["list_sha256"] in theirs]
    return pairs if len(pairs) > 1 else []


def _verdict(estimate: Estimate | None, fewest: int) -> str:
    if estimate is None:
        return f"{OPEN} ({'one try' if fewest < 2 else 'the tries do not differ'})"
    return EXCEEDS if estimate.low > 0 or estimate.high < 0 else WITHIN


def _other_way(a: Sequence[Cell], b: Sequence[Cell]) -> str:
    ways = [{(cell["settings_sha256"], cell["image_size"]) for cell in side} for side in (a, b)]
    return "" if ways[0] == ways[1] else "other settings of the protocol"


def _note(a: Sequence[Cell], b: Sequence[Cell], pairs: int) -> str:
    lists = [{cell["list_sha256"] for cell in side} for side in (a, b)]
    unpaired = len(a) + len(b) - 2 * pairs if pairs else 0
    if unpaired:
        return f"{unpaired} {'try' if unpaired == 1 else 'tries'} without a partner left out"
    if lists[0] != lists[1]:
        return "other lists of the same size"
    return "one list for all tries" if len(lists[0]) == 1 and len(a) > 1 else ""
