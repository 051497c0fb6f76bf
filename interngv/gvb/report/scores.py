"""Results ordered for reading: rows (task, protocol), columns (trunk), a table for each number of shots."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from interngv.gvb.report.noise import deviation, mean
from interngv.gvb.report.published import published
from interngv.gvb.report.results import KINDS, Cell, Results

UNKNOWN = "unknown"  # the kind of a task of which every cell failed before it could say


@dataclass(frozen=True)
class Row:
    """A task by a protocol; ``metric`` is '' where no cell of it came to an end."""

    kind: str
    task: str
    protocol: str
    metric: str = ""
    higher_is_better: bool = True

    def error(self, score: float) -> float:
        """What is reduced: what a percentage lacks to 100, or the metric itself where lower is better."""
        return 100 - score if self.higher_is_better else score


@dataclass(frozen=True)
class Tries:
    """What is known of a place of the grid: the tries that came to an end, those that failed, and which are missing."""

    done: tuple[Cell, ...] = ()
    failed: tuple[Cell, ...] = ()
    missing: tuple[int, ...] = ()

    @cached_property
    def scores(self) -> list[float]:
        """Headline scores, a number a finished try."""
        return [cell["score"] for cell in self.done if cell["score"] is not None]

    @property
    def mean(self) -> float | None:
        """Mean over the finished tries; None where there is none."""
        return mean(self.scores) if self.scores else None

    @property
    def deviation(self) -> float | None:
        """Sample deviation over the finished tries; None below two."""
        return deviation(self.scores)


class Scores:
    """The grid of a results file.

    A trunk's name that stands for several weights becomes several trunks (``NAME [1a2b3c4d]``): a mean over different
    weights would be a number of nothing. What a place of the grid should hold is taken from its neighbours: the tries
    and shots that any trunk has by the same protocol.
    """

    def __init__(self, results: Results) -> None:
        self.suite, self.cells = results.suite, results.cells
        self._weights: dict[str, set[str]] = defaultdict(set)
        for cell in self.cells:
            if cell["weights_sha256"]:
                self._weights[cell["trunk"]].add(cell["weights_sha256"])
        self.trunks = tuple(dict.fromkeys(map(self.trunk, self.cells)))
        self.shots = tuple(sorted({cell["shots"] for cell in self.cells}, key=shots_order))
        self.rows = self._rows()
        self._places: dict[tuple, list[Cell]] = defaultdict(list)
        self._wanted: dict[tuple, set[int]] = defaultdict(set)
        for cell in self.cells:
            self._places[cell["task"], cell["protocol"], cell["shots"], self.trunk(cell)].append(cell)
            self._wanted[cell["protocol"], cell["shots"]].add(cell["attempt"])

    def trunk(self, cell: Cell) -> str:
        """The cell's column: the trunk's name, and its weights where the name does not say which."""
        name, weights = cell["trunk"], cell["weights_sha256"]
        if len(self._weights[name]) < 2:
            return name
        return f"{name} [{weights[:8] if weights else 'weights unknown'}]"

    def ambiguous(self) -> tuple[str, ...]:
        """Names of trunks that stand for several weights."""
        return tuple(name for name, weights in self._weights.items() if len(weights) > 1)

    def at(self, row: Row, shots: str, trunk: str) -> Tries:
        """What is known of one place."""
        cells = self._places.get((row.task, row.protocol, shots, trunk), [])
        cells = sorted(cells, key=lambda cell: cell["attempt"])
        here = {cell["attempt"] for cell in cells}
        return Tries(
            tuple(cell for cell in cells if cell["status"] == "done"),
            tuple(cell for cell in cells if cell["status"] == "failed"),
            tuple(sorted(self._wanted[row.protocol, shots] - here)),
        )

    def has(self, row: Row, shots: str) -> bool:
        """Whether these shots were wanted of the row's protocol."""
        return bool(self._wanted.get((row.protocol, shots)))

    def _rows(self) -> tuple[Row, ...]:
        rows: dict[tuple[str, str], Row] = {}
        for cell in self.cells:
            key = cell["task"], cell["protocol"]
            if cell["status"] == "done" and not (key in rows and rows[key].metric):
                better = cell["higher_is_better"] is not False
                rows[key] = Row(str(cell["kind"]), *key, str(cell["metric"]), better)
            elif key not in rows:
                rows[key] = Row(cell["kind"] or _usual_kind(cell["task"]), *key)
        return tuple(sorted(rows.values(), key=_row_order))


def _usual_kind(task: str) -> str:
    known = published().tasks.get(task)
    return known.kind if known else UNKNOWN


def _row_order(row: Row) -> tuple:
    return [*KINDS, UNKNOWN].index(row.kind), task_order(row.task), row.protocol


def task_order(task: str) -> tuple:
    """Sorts tasks as the authors' table does, the user's own behind them by name."""
    tasks = list(published().tasks)
    return (tasks.index(task) if task in tasks else len(tasks)), task


def shots_order(shots: str) -> tuple:
    """Sorts shots as the lists grow: samples a class, then percentages, with 'all' as 100, then what is neither."""
    per_class = re.fullmatch(r"k=(\d+)", shots)
    if per_class:
        return 0, float(per_class[1]), shots
    if re.fullmatch(r"\d+(\.\d+)?", shots):
        return 1, float(shots), shots
    return (1, 100.0, shots) if shots == "all" else (2, 0.0, shots)


def shots_title(shots: str) -> str:
    """Shots in words: ``10 %``, ``2 a class``, ``100 %`` for 'all'."""
    kind, number, _ = shots_order(shots)
    if kind == 2:
        return shots
    return f"{number:g} %" if kind else f"{number:g} a class"


def spread_of(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows by (kind, protocol): the groups over which means are taken, in order."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.kind, row.protocol].append(row)
    return dict(groups)
