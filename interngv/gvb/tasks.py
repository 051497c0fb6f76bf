"""The tasks of GV-B as rows of facts: what they are, what their files are and how they lie.

The 26 rows of the benchmark stand in ``facts/gvb.yml``, those of the mini suite in ``facts/mini.yml``, and those of
sets that registry packages carry in ``facts/open.yml``; class names and prompt templates in two JSON files beside them.
A user's own set joins by one row with the same keys::

    rows = tasks.with_rows({"birds": dict(title="Birds", kind="classification", num_classes=20, metric="accuracy",
                                          layout="folders", settings=dict(folders=dict(train="train", test="val")))})
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from interngv.errors import UserError, did_you_mean
from interngv.gvb.layouts import LAYOUTS

FACTS = Path(__file__).parent / "facts"
SUITES = ("gvb", "mini", "open")
KINDS = ("classification", "detection", "segmentation", "depth")
METRICS = {
    "classification": ("accuracy", "per_class"),
    "detection": ("voc_map", "wider_ap", "mr2", "coco_ap"),
    "segmentation": ("miou",),
    "depth": ("rmse",),
}
SPLITS = ("train", "val", "test")
MARKS = ("general", "inferred")  # general knowledge that no stored source confirms; inference


@dataclass(frozen=True)
class Task:
    """Facts about one task.

    Attributes:
        name: the row's key; its results carry it.
        title: the set's name as its authors write it.
        kind: one of ``KINDS``.
        metric: the number that is reported (INTERN's configs; see ``confidence`` where it is inferred).
        layout: how the files lie, one of ``layouts.LAYOUTS``, with its ``settings``.
        num_classes: with the background for segmentation; None for depth.
        splits: number of samples of each split; a split without a number is not counted.
        folder: where the files lie below the data root; the row's name where it gives none.
        licence, source: as the set's authors state it; where it comes from.
        place: how to lay the official files out, in words.
        prepare: the conversion that `interngv data prepare` runs (``layouts.archives``), None where none is needed.
        pack: the pack of open data (:mod:`interngv.gvd.open_data`) that the set is; `interngv data prepare` fetches it
            and states its licence and source.
        archives: md5 of official archives.
        class_names: in the order of the labels; None where only the files know them. A row may name a shipped task
            whose names they are: ``class_names='imagenet1k'``.
        prompts: templates for zero-shot classification, ``{c}`` standing for the class name.
        confidence: 'general' or 'inferred' for the facts (``splits.test``, ``metric``, ...) that no source confirms.
        note: what else one should know.
    """

    name: str
    title: str
    kind: str
    metric: str
    layout: str
    settings: Mapping[str, Any]
    num_classes: int | None = None
    splits: Mapping[str, int | None] = field(default_factory=dict)
    folder: str = ""
    licence: str = "none stated"
    source: str = ""
    place: str = ""
    prepare: str | None = None
    pack: str | None = None
    archives: Mapping[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    prompts: tuple[str, ...] = ()
    confidence: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def from_row(cls, name: str, row: Mapping[str, Any]) -> "Task":
        """A task from a row's keys; raises UserError for a key, value or setting that cannot be."""
        if isinstance(same := row.get("class_names"), str):
            row = {**row, "class_names": _names_of(name, same)}
        _check_row(name, row)
        lists = {key: tuple(row[key]) for key in ("class_names", "prompts") if row.get(key) is not None}
        maps = {key: dict(row[key]) for key in _MAPPINGS if key in row}
        return cls(name=name, **{"folder": name, **row, **maps, **lists})

    def root(self, data_root: str | Path = "data") -> Path:
        """The folder of the task's files."""
        return Path(data_root) / self.folder


_MAPPINGS = ("settings", "splits", "archives", "confidence")
_TYPES = {
    **dict.fromkeys(_MAPPINGS, Mapping),
    **dict.fromkeys(("class_names", "prompts"), list | tuple),
    **dict.fromkeys(("title", "kind", "metric", "layout", "folder", "licence", "source", "place", "note"), str),
    "num_classes": int,
    **dict.fromkeys(("prepare", "pack"), str),
}
_REQUIRED = ("title", "kind", "metric", "layout", "settings")


def _check_row(name: str, row: Mapping[str, Any]) -> None:
    known = {one.name for one in fields(Task)} - {"name"}
    for key, value in row.items():
        if key not in known:
            raise UserError(
                f"task {name}: unknown key '{key}'{did_you_mean(key, known)}; valid: {', '.join(sorted(known))}"
            )
        if value is not None and (not isinstance(value, _TYPES[key]) or isinstance(value, bool)):
            raise UserError(f"task {name}: {key}={value!r} is of another type than expected")
    missing = [key for key in _REQUIRED if row.get(key) is None]
    if missing:
        raise UserError(f"task {name}: the row lacks {', '.join(missing)}")
    _check_choice(name, "kind", row["kind"], KINDS)
    _check_choice(name, "metric", row["metric"], METRICS[row["kind"]])
    _check_choice(name, "layout", row["layout"], LAYOUTS)
    _check_classes(name, row)
    for split, size in row.get("splits", {}).items():
        _check_choice(name, "split", split, SPLITS)
        if size is not None and (not isinstance(size, int) or size < 1):
            raise UserError(f"task {name}: splits.{split}={size!r}; expected a number of samples")
    for fact, mark in row.get("confidence", {}).items():
        _check_choice(name, f"confidence.{fact}", mark, MARKS)
    _check_settings(name, row["settings"], LAYOUTS[row["layout"]].SETTINGS)


def _check_choice(name: str, key: str, value: Any, valid: Any) -> None:
    if value not in valid:
        raise UserError(
            f"task {name}: {key} {value!r} is not known{did_you_mean(str(value), valid)}; valid: {', '.join(valid)}"
        )


def _check_classes(name: str, row: Mapping[str, Any]) -> None:
    count, names = row.get("num_classes"), row.get("class_names")
    if row["kind"] != "depth" and (count is None or count < 1):
        raise UserError(f"task {name}: num_classes={count!r}; a {row['kind']} task needs at least one class")
    if names is not None and len(names) != count:
        raise UserError(f"task {name}: {len(names)} class names for num_classes={count}")
    for prompt in row.get("prompts") or ():
        if "{c}" not in prompt:
            raise UserError(f"task {name}: the prompt {prompt!r} has no {{c}} for the class name")


def _check_settings(name: str, settings: Mapping[str, Any], valid: Mapping[str, bool]) -> None:
    for key in settings:
        _check_choice(name, "setting", key, valid)
    missing = [key for key, is_required in valid.items() if is_required and key not in settings]
    if missing:
        raise UserError(f"task {name}: its layout needs the settings {', '.join(missing)}")


def _names_of(name: str, other: str) -> list[str]:
    """The class names of a shipped task."""
    known = json.loads((FACTS / "class_names.json").read_text())
    del known["source"]
    if other not in known:
        raise UserError(f"task {name}: no class names of '{other}' are known{did_you_mean(other, known)}")
    return known[other]


def _rows(suite_name: str) -> dict[str, Task]:
    """The rows of a shipped suite, with their class names and prompts."""
    names, prompts = (json.loads((FACTS / f"{one}.json").read_text()) for one in ("class_names", "prompts"))
    rows = yaml.safe_load((FACTS / f"{suite_name}.yml").read_text())
    found = {}
    for name, row in rows.items():
        known = {"class_names": names.get(name), "prompts": prompts.get(name)}
        found[name] = Task.from_row(name, {**{key: value for key, value in known.items() if value}, **row})
    return found


_BY_SUITE = {name: _rows(name) for name in SUITES}
TASKS: dict[str, Task] = _BY_SUITE["gvb"]


def suite(name: str) -> dict[str, Task]:
    """The tasks of a shipped suite, by name and in its order; UserError for an unknown suite."""
    if name not in _BY_SUITE:
        raise UserError(f"no suite is called '{name}'{did_you_mean(name, SUITES)}; known: {', '.join(SUITES)}")
    return dict(_BY_SUITE[name])


def task(name: str) -> Task:
    """The task of this name in any shipped suite; UserError with the nearest name for an unknown one."""
    known = {key: one for tasks in _BY_SUITE.values() for key, one in tasks.items()}
    if name not in known:
        raise UserError(f"no task is called '{name}'{did_you_mean(name, known)}; known: {', '.join(known)}")
    return known[name]


def with_rows(rows: Mapping[str, Mapping[str, Any]], suite_name: str | None = "gvb") -> dict[str, Task]:
    """A suite's tasks (None: of no suite) and a user's own; UserError where a row cannot be or has a shipped name."""
    tasks = suite(suite_name) if suite_name else {}
    for name, row in rows.items():
        if name in tasks:
            raise UserError(f"task {name}: the suite '{suite_name}' has a task of this name; choose another")
        tasks[name] = Task.from_row(name, row)
    return tasks
