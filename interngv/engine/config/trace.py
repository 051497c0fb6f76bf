"""Which line of which file wrote each key of a config, read from the source alone (``ast``; nothing is executed).

A config file becomes a tree of :class:`Slot`: one slot is one key, or one list element, that one line wrote. Files
are merged as mmengine merges them, and a slot that takes another's place keeps it as ``earlier``, so that the history
of a key stays readable. What cannot be read without executing it (loops, function calls) becomes a leaf.
"""

import ast
import os
import re
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from interngv.engine.config.loading import base_path

COMMAND_LINE = "command line"
_BASE_VARIABLE = re.compile(r"\{\{\s*(_base_\.[\w.]+)\s*\}\}")
_ENVIRONMENT = re.compile(r"\{\{['\"]?\s*\$\w+\s*:\s*\S*?\s*['\"]?\}\}")


@dataclass(frozen=True)
class Place:
    """A line of a file; line 0 where only the file is known."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        inside = os.path.isabs(self.file) and Path(self.file).is_relative_to(Path.cwd())
        file = os.path.relpath(self.file) if inside else self.file
        return f"{file}:{self.line}" if self.line else file


@dataclass
class Value:
    """What a line wrote: a dict or list whose items are known, or a leaf (``items`` is None)."""

    items: "dict[str, Slot] | list[Slot] | None" = None
    replaces: bool = False  # carries _delete_=True


@dataclass
class Slot:
    """A key that one line wrote, what stands there, the variable it came through and what it overrode."""

    place: Place
    value: Value
    variable: tuple[str, Place] | None = None
    earlier: "Slot | None" = None


@dataclass
class Source:
    """One file of the chain: its bases, what it sets at the top level and which names it reads."""

    path: str
    bases: "list[Source]" = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)  # after merging with the bases
    sets: dict[str, Place] = field(default_factory=dict)  # by this file alone
    reads: dict[str, Place] = field(default_factory=dict)
    reads_of_base: set[str] = field(default_factory=set)
    tree: ast.Module | None = None

    def chain(self) -> "Iterator[Source]":
        """This file and all its bases, depth first."""
        yield self
        for base in self.bases:
            yield from base.chain()


def trace(path: str, options: dict[str, Any] | None = None) -> Source:
    """Read a config file and its bases; ``options`` are merged last, as ``--cfg-options`` are."""
    source = _trace_py(path) if path.endswith(".py") else _trace_yaml(path)
    for key, value in (options or {}).items():
        place = Place(COMMAND_LINE)
        *parents, last = key.split(".")
        slot = Slot(place, _from_object(value, place))
        for parent in reversed(parents):
            slot, last = Slot(place, Value({last: slot})), parent
        source.slots = _merge({last: slot}, source.slots)
    return source


def follow(slots: dict[str, Slot], key: str) -> list[Slot]:
    """The slots along a dotted key, as far as they are known; shorter than the key where the source computes."""
    found: list[Slot] = []
    items: Any = slots
    for part in key.split("."):
        slot = _item(items, part)
        if slot is None:
            break
        found.append(slot)
        items = slot.value.items
    return found


def history(slots: dict[str, Slot] | list[Slot], key: str) -> list[Slot]:
    """Every slot that the chain wrote at ``key``, the last (which won) first."""
    part, _, rest = key.partition(".")
    slot, found = _item(slots, part), []
    while slot is not None:
        if not rest:
            found.append(slot)
        elif slot.value.items is not None:
            found += history(slot.value.items, rest)
        slot = slot.earlier
    unique = {id(one): one for one in found}
    return list(unique.values())


def _item(items: dict[str, Slot] | list[Slot] | None, part: str) -> Slot | None:
    if isinstance(items, dict):
        return items.get(part)
    if isinstance(items, list) and part.lstrip("-").isdigit() and -len(items) <= int(part) < len(items):
        return items[int(part)]
    return None


def _merge(new: dict[str, Slot], old: dict[str, Slot]) -> dict[str, Slot]:
    merged = dict(old)
    for key, slot in new.items():
        before = old.get(key)
        slot = copy(slot)
        slot.earlier = before
        if before is not None and isinstance(slot.value.items, dict) and not slot.value.replaces:
            old_items, new_items = before.value.items, slot.value.items
            if isinstance(old_items, dict):
                slot.value = Value(_merge(new_items, old_items), before.value.replaces)
            elif isinstance(old_items, list):
                slot.value = Value(_merge_list(new_items, old_items))
        merged[key] = slot
    return merged


def _merge_list(new: dict[str, Slot], old: list[Slot]) -> list[Slot]:
    numbered = _merge(new, {str(index): slot for index, slot in enumerate(old)})
    return [numbered[str(index)] for index in range(len(old))]


def _from_object(value: Any, place: Place) -> Value:
    if isinstance(value, dict):
        return Value({str(key): Slot(place, _from_object(item, place)) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return Value([Slot(place, _from_object(item, place)) for item in value])
    return Value()


def _trace_yaml(path: str) -> Source:
    """YAML and JSON (which is YAML): positions from the parser's nodes; no tag is constructed."""
    source = Source(path)
    root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    slots = _yaml_value(root, path).items
    assert isinstance(slots, dict), f"{path} holds no mapping"
    slots.pop("_base_", None)
    for name in Config._get_base_files(path):
        source.bases.append(trace(_base_file(name, path)))
    source.sets = {key: slot.place for key, slot in slots.items()}
    source.slots = _merge(slots, joined(source.bases))
    return source


def _yaml_value(node: yaml.Node, path: str) -> Value:
    def slot(key: yaml.Node, value: yaml.Node) -> Slot:
        return Slot(Place(path, key.start_mark.line + 1), _yaml_value(value, path))

    if isinstance(node, yaml.MappingNode):
        return Value({key.value: slot(key, value) for key, value in node.value})
    if isinstance(node, yaml.SequenceNode):
        return Value([slot(value, value) for value in node.value])
    return Value()


def joined(bases: list[Source]) -> dict[str, Slot]:
    """The slots of several bases together, free to be changed."""
    return {key: _own(slot) for base in bases for key, slot in base.slots.items()}


def _own(slot: Slot) -> Slot:
    """A copy that shares nothing: mmengine hands a base's values on as copies, so a variable and a key part here."""
    slot, items = copy(slot), slot.value.items
    if isinstance(items, dict):
        slot.value = Value({key: _own(inner) for key, inner in items.items()}, slot.value.replaces)
    elif isinstance(items, list):
        slot.value = Value([_own(inner) for inner in items])
    return slot


def _base_file(name: str, path: str) -> str:
    return os.path.abspath(base_path(name, path)[0])


def _readable(path: str) -> str:
    """The source with mmengine's ``{{ }}`` templates turned into Python, line by line."""
    file = Path(path)
    templates = {
        "fileDirname": str(file.parent),
        "fileBasename": file.name,
        "fileBasenameNoExtension": file.stem,
        "fileExtname": file.suffix,
    }
    text = file.read_text(encoding="utf-8")
    for name, value in templates.items():
        value = value.replace("\\", "/")
        text = value.join(re.split(r"\{\{\s*" + name + r"\s*\}\}", text))
    return _ENVIRONMENT.sub("0", _BASE_VARIABLE.sub(r"\1", text))


def _trace_py(path: str) -> Source:
    from interngv.engine.config.reader import Reader

    source = Source(path, tree=ast.parse(_readable(path), path))
    for name in _base_names(source.tree, path):
        source.bases.append(trace(_base_file(name, path)))
    reader = Reader(source, joined(source.bases))
    reader.run()
    source.slots = _merge(reader.names, joined(source.bases))
    return source


def _base_names(tree: ast.Module | None, path: str) -> list[str]:
    for statement in tree.body if tree else []:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "_base_":
            try:
                names = ast.literal_eval(statement.value)
            except ValueError:
                names = Config._get_base_files(path)
            return names if isinstance(names, list) else [names]
    return []
