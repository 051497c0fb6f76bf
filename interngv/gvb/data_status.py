"""Which sets of a suite are there, whether they are what their rows say, and what a script can do about it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from interngv.errors import UserError
from interngv.gvb import layouts, tasks
from interngv.gvb.layouts.faults import Fault, Findings, Kind
from interngv.gvb.tasks import Task
from interngv.gvd import layouts as open_packs
from interngv.gvd.open_data import pack_facts

STATES = ("verified", "wrong", "absent")


@dataclass(frozen=True)
class Status:
    """What was found of one task.

    Attributes:
        name: the task.
        state: 'verified' (all samples of all splits, no fault that makes numbers wrong), 'wrong', or 'absent'.
        root: folder of its files.
        splits: samples found of each split.
        faults: by split (``all`` for what concerns several), errors and warnings.
        advice: what to do: where the files come from and how they lie, or the command that converts them.
    """

    name: str
    state: str
    root: Path
    splits: Mapping[str, int] = field(default_factory=dict)
    faults: Mapping[str, list[Fault]] = field(default_factory=dict)
    advice: str = ""


def status(task: Task, data_root: str | Path = "data", deep: bool = False) -> Status:
    """Look at one task's files; ``deep`` opens every picture and compares archives' checksums."""
    root = task.root(data_root)
    if not _has_files(task, root):
        return Status(task.name, "absent", root, advice=_where(task, root))
    layout = layouts.of(task, root)
    splits = list(layout.task.splits) or ["train", "test"]
    faults = {split: layout.faults(split, deep) for split in splits}
    names: dict[str, list[str]] = {}
    for split in splits:
        try:
            names[split] = layout.read(split).names
        except UserError:  # counted by faults
            continue
        faults[split] += _other_size(task, split, len(names[split]))
    faults["all"] = _leaks(names) + (_wrong_archives(task, root) if deep else [])
    found = {split: sorted(some, key=lambda fault: not fault.is_error) for split, some in faults.items() if some}
    is_wrong = any(fault.is_error for some in found.values() for fault in some)
    sizes = {split: len(some) for split, some in names.items()}
    return Status(task.name, "wrong" if is_wrong else "verified", root, sizes, found, _advice(task, root, found))


def suite_status(suite: str = "gvb", data_root: str | Path = "data", deep: bool = False) -> list[Status]:
    """The status of every task of a shipped suite; UserError for an unknown suite."""
    return [status(task, data_root, deep) for task in tasks.suite(suite).values()]


def prepare(name: str, data_root: str | Path = "data") -> str:
    """Do what a script can for a task: fetch its pack of open data, or convert official files that lie in its folder.

    Returns what was done. Raises UserError for an unknown task, a pack that cannot be fetched, or official files that
    are absent or damaged.
    """
    from interngv.gvb.layouts.conversions import prepare as convert

    task = tasks.task(name)
    root = task.root(data_root)
    if task.pack:
        return f"{name}: {open_packs.prepare(task.pack, root)}"
    if task.prepare is None:
        return f"{name}: nothing to convert. {_where(task, root)}"
    if not root.is_dir():
        raise UserError(f"{name} is not there. {_where(task, root)}")
    written = convert(task.prepare, root)
    return f"{name}: wrote {', '.join(str(path) for path in written)}"


def table(found: Iterable[Status]) -> str:
    """The statuses as text: a line a task, and below it what is wrong and what to do."""
    lines = []
    for one in found:
        sizes = ", ".join(f"{split} {size:,}".replace(",", " ") for split, size in one.splits.items())
        lines.append(f"{one.name:14} {one.state:9} {sizes or one.root}")
        for split, faults in one.faults.items():
            lines += [f"  {'error' if fault.is_error else 'warning'}: {split}: {fault}" for fault in faults]
        if one.advice:
            lines.append(f"  {one.advice}")
    return "\n".join(lines)


def as_json(found: Iterable[Status]) -> str:
    """The statuses as JSON: a list of objects with the fields of :class:`Status`."""
    return json.dumps([{**asdict(one), "root": str(one.root), "faults": _plain(one.faults)} for one in found], indent=2)


def _plain(faults: Mapping[str, list[Fault]]) -> dict[str, list[dict[str, Any]]]:
    return {
        split: [
            dict(
                kind=fault.kind.name.lower(),
                text=fault.kind.text,
                is_error=fault.is_error,
                count=fault.count,
                examples=list(fault.examples),
            )
            for fault in some
        ]
        for split, some in faults.items()
    }


def _has_files(task: Task, root: Path) -> bool:
    """Whether anything of the task lies in the folder; VOC's two tasks share one, so theirs is looked at closely."""
    if not root.is_dir() or not any(root.iterdir()):
        return False
    parts = task.settings.get("parts")
    if task.folder == task.name or not isinstance(parts, Mapping):
        return True
    first = next(iter(parts.values()))[0]
    place = first["images"] if isinstance(first, Mapping) else first[0]
    return (root / place).is_dir()


def _where(task: Task, root: Path) -> str:
    if task.pack:
        pack = pack_facts(task.pack)
        return f"`interngv data prepare {task.name}` fetches it, from {pack.registry}'s package {pack.package}"
    convert = f", then `interngv data prepare {task.name}`" if task.prepare else ""
    return f"Get it from {task.source or 'its owner'} and lay it out in {root}: {task.place}{convert}"


def _advice(task: Task, root: Path, faults: Mapping[str, list[Fault]]) -> str:
    kinds = {fault.kind for some in faults.values() for fault in some}
    if task.prepare and kinds & {Kind.UNREADABLE_LIST, Kind.MISSING_PICTURE}:
        return f"If the official files are there: `interngv data prepare {task.name}`. {_where(task, root)}"
    return _where(task, root) if kinds & {Kind.UNREADABLE_LIST, Kind.MISSING_PICTURE, Kind.EMPTY} else ""


def _other_size(task: Task, split: str, size: int) -> list[Fault]:
    expected = task.splits.get(split)
    if expected is None or size == expected:
        return []
    kind = Kind.SIZE_UNCERTAIN if f"splits.{split}" in task.confidence else Kind.SIZE
    return [Fault(kind, abs(size - expected), (f"{size} found, {expected} expected",))]


def _leaks(names: Mapping[str, list[str]]) -> list[Fault]:
    found = Findings()
    found.add_all(Kind.LEAK, sorted(set(names.get("train", ())) & set(names.get("test", ()))))
    return found.faults()


def _wrong_archives(task: Task, root: Path) -> list[Fault]:
    found = Findings()
    for name, md5 in task.archives.items():
        if (root / name).is_file():
            with (root / name).open("rb") as file:
                if hashlib.file_digest(file, "md5").hexdigest() != md5:
                    found.add(Kind.CHECKSUM, name)
    return found.faults()
