"""``interngv gvb compare A B``: which differences between two results exceed the noise of their tries."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from interngv.errors import UserError, did_you_mean
from interngv.gvb.report.differences import EXCEEDS, OPEN, Difference, NotCompared, by_chance, differences
from interngv.gvb.report.document import Table, as_text
from interngv.gvb.report.results import Cell, read
from interngv.gvb.report.scores import Scores, shots_title
from interngv.gvb.report.wording import MINUS, NONE, number, score_text


@dataclass(frozen=True)
class Comparison:
    """Two trunks and what differs; every difference is B less A."""

    a: str
    b: str
    differences: tuple[Difference, ...]
    not_compared: tuple[NotCompared, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        decided, expected, holm = by_chance(self.differences)
        exceeding = sum(one.verdict == EXCEEDS for one in self.differences)
        summary = {"decided": decided, "exceeding": exceeding, "expected_by_chance": expected, "after_holm": holm}
        return {**asdict(self), "summary": summary}

    def as_text(self) -> str:
        """A table for the terminal, what could not be compared, and how to read it."""
        parts = [f"A  {self.a}\nB  {self.b}", "\n".join(summary(self.differences))]
        if self.differences:
            parts.insert(1, as_text(table(self.differences)))
        if self.not_compared:
            rows = [f"  {one.task} {one.protocol} {shots_title(one.shots)}: {one.reason}" for one in self.not_compared]
            parts.append("\n".join([f"not compared ({len(rows)}):", *rows]))
        return "\n\n".join(parts)


def compare(a: str | Path, b: str | Path) -> Comparison:
    """Compare two results, each a file (or its folder), or ``FILE#TRUNK`` where it holds several trunks.

    Raises:
        UserError: a file is no results file, does not have the trunk, or holds several and none was named.
    """
    (name_a, cells_a), (name_b, cells_b) = _side(a), _side(b)
    compared, left = differences(cells_a, cells_b)
    if not compared and not left:
        raise UserError(f"nothing to compare: {name_a} and {name_b} have no cells")
    return Comparison(name_a, name_b, tuple(compared), tuple(left))


def table(found: Sequence[Difference]) -> Table:
    """The differences, a row each."""
    numbers = ("shots", "A", "B", f"B {MINUS} A", "95 % interval", "p", "better")
    header = ("task", "protocol", "verdict", "method", *numbers)
    return Table(header, tuple(map(_row, found)), labels=4)


def summary(found: Sequence[Difference]) -> list[str]:
    """What the verdicts add up to, and what they do not say."""
    decided, expected, holm = by_chance(found)
    exceeding = [one for one in found if one.verdict == EXCEEDS]
    wins = Counter(one.better for one in exceeding)
    if not decided:
        return [f"Of none of {len(found)} differences can it be said whether it exceeds the noise of the tries."]
    undecided = sum(one.verdict.startswith(OPEN) for one in found)
    return [
        f"{len(exceeding)} of {decided} differences exceed the noise of the tries: A is better in {wins['A']}, "
        f"B in {wins['B']}; of {undecided} it cannot be said.",
        f"If nothing differed, about {expected:.1f} of {decided} would exceed it by chance alone (5 % each); "
        f"{holm} hold when all are judged together (Holm, 5 %).",
        "The noise is that of the tries (training list, training); the test set's own sampling is not in it.",
    ]


def _row(one: Difference) -> tuple[str, ...]:
    bounds = (one.low, one.high)
    return (
        one.task,
        one.protocol,
        f"{one.verdict} [{one.note}]" if one.note else one.verdict,
        one.method,
        shots_title(one.shots),
        *(score_text(side.mean, side.deviation, side.n, one.metric) for side in (one.a, one.b)),
        _signed(one.difference, one.metric),
        NONE if one.low is None else " to ".join(_signed(bound, one.metric) for bound in bounds),
        NONE if one.p is None else f"{one.p:.2g}",
        one.better or NONE,
    )


def _signed(value: float | None, metric: str) -> str:
    text = number(value, metric)
    return f"+{text}" if value is not None and value > 0 else text


def _side(given: str | Path) -> tuple[str, list[Cell]]:
    """A side's name and its cells: those of one trunk."""
    path, trunk = _split(str(given))
    scores = Scores(read(path))
    if not trunk and len(scores.trunks) > 1:
        raise UserError(f"{path} holds several trunks: say which, as {path}#{scores.trunks[0]}; {_valid(scores)}")
    if trunk and trunk not in scores.trunks:
        raise UserError(f"{path} has no trunk '{trunk}'{did_you_mean(trunk, scores.trunks)}; {_valid(scores)}")
    chosen = trunk or next(iter(scores.trunks), "")
    return f"{path}#{chosen}", [cell for cell in scores.cells if scores.trunk(cell) == chosen]


def _split(given: str) -> tuple[str, str]:
    """Path and trunk: the longest path that exists, for either name may hold a '#'."""
    places = [len(given), *(place for place in reversed(range(len(given))) if given[place] == "#")]
    end = next((place for place in places if Path(given[:place]).exists()), places[-1])
    return given[:end], given[end + 1 :]


def _valid(scores: Scores) -> str:
    return f"it has {', '.join(scores.trunks) or 'none'}"
