"""The grid of a benchmark: which cells there are, and filling them, in any order, by any number of processes."""

import hashlib
import json
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from interngv.checkpoint.files import replaced
from interngv.engine.checkpoints.lock import InUse, work_dir_lock
from interngv.errors import UserError

RESULT = "result.json"
NO_SHOTS = "0"  # of a protocol that uses no labels


@dataclass(frozen=True)
class Cell:
    """One number of a benchmark: a trunk judged on a task by a protocol with some of the labels.

    Attributes:
        shots: as :class:`interngv.gvb.shots.Shots` writes it: ``'10'`` (percent), ``'k=2'``, ``'all'``; ``NO_SHOTS``.
        attempt: which of the tries; it is the seed of the list and of the training.
    """

    task: str
    trunk: str
    protocol: str
    shots: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.task} {self.trunk} {self.protocol} {self.shots} #{self.attempt}"


def cells(
    trunks: Sequence[str],
    protocols: Mapping[str, str],
    shots: Sequence[str],
    tries: int,
    without_labels: Collection[str] = (),
) -> list[Cell]:
    """Every cell, a task after the other, so that what is kept in memory for a task serves all its cells.

    All labels are one list: with shots ``'all'`` further tries differ by the training's seed only.

    Args:
        protocols: the protocol of each task.
        without_labels: protocols that use none: one cell serves all shots and tries.
    """
    amounts = {name: ([NO_SHOTS], 1) if name in without_labels else (shots, tries) for name in protocols.values()}
    return [
        Cell(task, trunk, protocol, shot, attempt)
        for (task, protocol), trunk in product(protocols.items(), trunks)
        for shot, attempt in product(amounts[protocol][0], range(amounts[protocol][1]))
    ]


class Store:
    """The results on disk: a folder a cell, whose name holds what the number depends on.

    A cell that was measured with other weights, another list, other settings or versions is another folder; nothing is
    overwritten. The folder is also where a cell's training keeps its checkpoints, so that a killed one goes on.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def place(self, cell: Cell, identity: Mapping[str, Any]) -> Path:
        """The cell's folder, for what identifies it: hashes of weights, list and settings, versions."""
        text = json.dumps([asdict(cell), identity], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        name = "_".join([cell.task, cell.trunk, cell.protocol, cell.shots, str(cell.attempt), digest])
        return self.folder / "cells" / "".join(c if c.isalnum() or c in "._=-" else "-" for c in name)

    @staticmethod
    def read(place: Path) -> dict[str, Any] | None:
        """The result in a cell's folder, None where it has none."""
        file = place / RESULT
        try:
            return json.loads(file.read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UserError(f"{file} is not JSON ({error}): remove it, and the cell is measured again") from error

    def newest(self) -> list[dict[str, Any]]:
        """All finished results, of a cell that was measured with several weights, lists or versions the newest."""
        files = sorted((self.folder / "cells").glob(f"*/{RESULT}"), key=lambda file: file.stat().st_mtime)
        found = (self.read(file.parent) for file in files)
        done = [one for one in found if one and one["status"] == "done"]
        return list({name_of(one): one for one in done}.values())

    @staticmethod
    def write(place: Path, result: Mapping[str, Any]) -> None:
        """Keep a result, whole."""
        place.mkdir(parents=True, exist_ok=True)
        with replaced(place / RESULT) as file:
            file.write(f"{json.dumps(result, indent=1)}\n".encode())

    def note_failure(self, place: Path, result: Mapping[str, Any]) -> None:
        """Keep a failed cell's result, unless another process has finished it or a damaged one stands there."""
        with suppress(UserError):
            if not _is_done(self.read(place)):
                self.write(place, result)


def name_of(result: Mapping[str, Any]) -> Cell:
    """The cell that a result is of."""
    return Cell(**{key: result[key] for key in Cell.__annotations__})


Identify = Callable[[Cell], Mapping[str, Any]]
Measure = Callable[[Cell, Path], Mapping[str, Any]]


def run(
    wanted: Sequence[Cell],
    store: Store,
    identify: Identify,
    measure: Measure,
    check: Callable[[Mapping[str, Any]], object] = lambda result: None,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Fill the cells and return their results, in order; those that another process is still measuring are left out.

    A finished cell is taken as it is; one that failed is tried again. Start as many processes as wanted with the same
    command, on one machine or on several with a common folder: a cell is measured by the one that locks it first.

    Args:
        identify: what the cell's number depends on; cheap.
        measure: the cell's ``score``, ``scores`` and whatever else a result holds. Whatever it or ``identify`` raises
            fails the cell, and the rest goes on.
        check: raises where a result is none that a report takes, so that the cell fails.
        say: told what happens.
    """
    results: dict[Cell, dict[str, Any]] = {}
    busy: dict[Cell, Path] = {}
    for number, cell in enumerate(wanted, start=1):
        identity: Mapping[str, Any] = {}
        start = time.monotonic()
        place: Path | None = None
        try:
            identity = identify(cell)
            place = store.place(cell, identity)
            results[cell], how = _filled(cell, identity, place, store, measure, check)
        except InUse:
            busy[cell], how = store.place(cell, identity), "another process is at it"
        except Exception as error:  # a cell's fault, whatever it is, must not cost the others
            reason = str(error) if isinstance(error, UserError) else _traced(error)
            results[cell] = _row(cell, identity, start) | {"status": "failed", "error": reason}
            how = f"failed: {reason}"
            if place is not None:
                store.note_failure(place, results[cell])
        say(f"[{number}/{len(wanted)}] {cell}: {how}")
    results |= {cell: found for cell, place in busy.items() if (found := store.read(place)) is not None}
    return [results[cell] for cell in wanted if cell in results]


def _filled(
    cell: Cell,
    identity: Mapping[str, Any],
    place: Path,
    store: Store,
    measure: Measure,
    check: Callable[[Mapping[str, Any]], object],
) -> tuple[dict[str, Any], str]:
    """A cell's result, kept or measured, and a word on it."""
    start = time.monotonic()
    kept = store.read(place)
    if not _is_done(kept):
        with work_dir_lock(place):
            kept = store.read(place)  # another process may have finished it meanwhile
            if not _is_done(kept):
                found = measure(cell, place)
                result = {**_row(cell, identity, start), "status": "done", "error": None, **found}
                check(result)
                store.write(place, result)
                return result, f"{result['score']:.4g} ({result['seconds']:.0f} s)"
    assert kept is not None
    return kept, f"{kept['score']:.4g} (kept)"


def _is_done(result: Mapping[str, Any] | None) -> bool:
    return result is not None and result["status"] == "done"


def _traced(error: Exception) -> str:
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def _row(cell: Cell, identity: Mapping[str, Any], start: float) -> dict[str, Any]:
    return {**asdict(cell), "seed": cell.attempt, **identity, "seconds": round(time.monotonic() - start, 2)}
