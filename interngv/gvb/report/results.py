"""``results.json``, the outcome of a benchmark: an object a cell of the grid task x trunk x protocol x shots x try.

``{"format": 1, "suite": "...", "cells": [...]}``, a cell a line. It is checked when it is read and when it is written,
so that nothing behind it meets a number that is none.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

from interngv.checkpoint.files import replaced
from interngv.errors import UserError
from interngv.gvb.tasks import KINDS

FORMAT = 1
NAME = "results.json"
PERCENT = ("accuracy", "per_class", "voc_map", "wider_ap", "mr2", "coco_ap", "miou")  # metrics within 0 and 100


class ListStatistics(TypedDict):
    """Size of a cell's training list: all its samples, and least, mean and most of them a class."""

    samples: int
    min: float | None
    mean: float | None
    max: float | None


class Cell(TypedDict):
    """One cell; a failed one has None where a finished one has its result.

    ``shots`` is a percentage (``'10'``), samples a class (``'k=2'``) or ``'all'``; ``score`` is the headline number of
    ``scores``; ``per_class`` has None for a class without a value; ``details`` is the protocol's own (``chosen``
    hyper-parameters, which of them are ``at_edge`` of the ``grid``, counts). The hashes of test list and settings, and
    the image size, may be left out.
    """

    task: str
    kind: str | None
    trunk: str
    protocol: str
    shots: str
    attempt: int
    seed: int | None
    list_sha256: str | None
    weights_sha256: str | None
    versions: dict[str, str] | None
    metric: str | None
    higher_is_better: bool | None
    score: float | None
    scores: dict[str, float] | None
    per_class: dict[str, float | None] | None
    list: ListStatistics | None
    details: dict[str, Any] | None
    seconds: float | None
    status: str
    error: str | None
    test_sha256: str | None
    settings_sha256: str | None
    image_size: int | None


@dataclass(frozen=True)
class Results:
    """A suite's name and its cells, in the file's order."""

    suite: str
    cells: Sequence[Cell]


_NAMES = {"task": str, "trunk": str, "protocol": str, "shots": str, "attempt": int, "status": str}
_OUTCOME = {"kind": str, "metric": str, "higher_is_better": bool, "versions": dict, "score": float, "scores": dict}
_OPTIONAL = {
    "seed": int,
    "list_sha256": str,
    "weights_sha256": str,
    "per_class": dict,
    "list": dict,
    "details": dict,
    "seconds": float,
    "error": str,
}  # the key must be there, its value may be null


def read(path: str | Path) -> Results:
    """The results in a file, or in a folder's ``results.json``.

    Raises:
        UserError: the file cannot be read, is of another format, or a cell lacks a key, holds a value of a wrong type,
            a score that is not finite or not a percentage where its metric is one, or stands there twice.
    """
    file = Path(path) / NAME if Path(path).is_dir() else Path(path)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): expected results of a benchmark") from error
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}): expected results of a benchmark") from error
    if not isinstance(found, dict) or not isinstance(found.get("cells"), list):
        raise UserError(f"{file}: expected an object with 'format', 'suite' and a list 'cells'")
    if found.get("format") != FORMAT:
        raise UserError(f"{file} has format {found.get('format')!r}; this version of interngv reads format {FORMAT}")
    return Results(str(found.get("suite", "")), checked(found["cells"], str(file)))


def write(folder: str | Path, suite: str, cells: Sequence[Mapping[str, Any]]) -> Path:
    """Write ``results.json`` into a folder, whole or not at all; returns its path.

    Raises:
        UserError: a cell is not what :func:`read` accepts; the file is as it was.
        OSError: the disk is full, the folder read-only, ...; the file is as it was.
    """
    file = Path(folder) / NAME
    rows = [json.dumps(cell, allow_nan=False) for cell in checked(cells, str(file))]
    file.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(rows)
    text = f'{{"format": {FORMAT}, "suite": {json.dumps(suite)}, "cells": [\n{body}\n]}}\n'
    with replaced(file) as target:
        target.write(text.encode())
    return file


def checked(cells: Sequence[Any], source: str) -> list[Cell]:
    """The cells, every key in place, NaN of a class as None; raises UserError that names ``source`` and the cell."""
    found = []
    for number, cell in enumerate(cells):
        wrong = next(_wrong(cell), None)
        if wrong:
            raise UserError(f"{source}: {_describe(number, cell)}: {wrong}")
        classes = {name: None if value != value else value for name, value in (cell.get("per_class") or {}).items()}
        found.append(cast(Cell, {**dict.fromkeys(Cell.__annotations__), **cell, "per_class": classes or None}))
    _alike(found, source)
    return found


def _wrong(cell: Any) -> Iterator[str]:
    """What is wrong with a cell, in the order in which it should be mended."""
    if not isinstance(cell, Mapping):
        yield f"expected an object, got {type(cell).__name__}"
        return
    yield from _mistyped(cell, _NAMES)
    if cell["status"] not in ("done", "failed"):
        yield f"'status' must be 'done' or 'failed', got {cell['status']!r}"
    if cell["status"] == "failed":
        yield from _mistyped(cell, {"error": str})
    else:
        yield from _mistyped(cell, _OUTCOME)
        yield from _mistyped(cell, _OPTIONAL, nullable=True)
        yield from _not_numbers(cell)
    kind = cell.get("kind")
    if kind is not None and kind not in KINDS:
        yield f"'kind' must be one of {', '.join(KINDS)}, got {kind!r}"


def _mistyped(cell: Mapping[str, Any], wanted: Mapping[str, type], nullable: bool = False) -> Iterator[str]:
    for key, kind in wanted.items():
        if key not in cell:
            yield f"the key '{key}' is missing"
        elif cell[key] is None and nullable:
            continue
        elif not _is(cell[key], kind):
            yield f"'{key}' must be {'a number' if kind is float else kind.__name__}, got {cell[key]!r}"


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _not_numbers(cell: Mapping[str, Any]) -> Iterator[str]:
    """Scores, sizes and times of a finished cell that cannot be: not finite, or no percentage."""
    if not cell["scores"]:
        yield "'scores' is empty"
    named = {"'score'": cell["score"]} | {f"'scores' of {key!r}": value for key, value in cell["scores"].items()}
    per_class = {f"'per_class' of {key!r}": value for key, value in (cell["per_class"] or {}).items()}
    sizes = {f"'{key}' of the list": (cell["list"] or {}).get(key) for key in ListStatistics.__annotations__}
    optional = {**per_class, **sizes, "'seconds'": cell["seconds"]}
    given = ((name, value) for name, value in optional.items() if value is not None)
    for name, value in [*named.items(), *given]:
        is_class_without_value = name in per_class and value != value
        if not _is(value, float) or not (math.isfinite(value) or is_class_without_value):
            yield f"{name} must be a finite number, got {value!r}"
    if cell["metric"] in PERCENT and not -1e-6 <= cell["score"] <= 100 + 1e-6:
        yield f"'score' of the metric {cell['metric']} must be a percentage, got {cell['score']!r}"


def _alike(cells: Sequence[Cell], source: str) -> None:
    """Raises UserError for a cell that stands there twice and for a task that is measured in two ways."""
    keys = ("task", "trunk", "weights_sha256", "protocol", "shots", "attempt")
    seen = Counter(tuple(cell[key] for key in keys) for cell in cells)  # type: ignore[literal-required]
    twice = next((key for key, count in seen.items() if count > 1), None)
    if twice:
        raise UserError(f"{source}: the cell {' '.join(map(str, twice))} stands there {seen[twice]} times")
    ways: dict[str, tuple] = {}
    for number, cell in enumerate(cells):
        way = (cell["kind"], cell["metric"], cell["higher_is_better"])
        if cell["status"] == "done" and ways.setdefault(cell["task"], way) != way:
            was = ways[cell["task"]]
            raise UserError(f"{source}: {_describe(number, cell)}: measured as {way}, other cells of the task as {was}")


def _describe(number: int, cell: Any) -> str:
    """A cell in a message: its number in the file and what it is of."""
    keys = ("task", "trunk", "protocol", "shots", "attempt")
    names = [str(cell[key]) for key in keys if key in cell] if isinstance(cell, Mapping) else []
    return f"cell {number} ({' '.join(names)})" if names else f"cell {number}"
