"""The statements of one config file, turned into slots (see :mod:`interngv.engine.config.trace`)."""

import ast
from copy import copy
from pathlib import Path
from typing import Any

from mmengine.utils import get_installed_path

from interngv.engine.config.trace import Place, Slot, Source, Value, _item, _merge, joined, trace

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Reader:
    """Walks a file's statements in order and keeps what each top-level name stands for in ``names``."""

    def __init__(self, source: Source, base: dict[str, Slot]) -> None:
        self.source, self.base = source, base
        self.names: dict[str, Slot] = {}
        self._dispatch = {
            ast.Assign: self._assign,
            ast.AnnAssign: self._assign,
            ast.AugAssign: self._augment,
            ast.Expr: self._call,
            ast.ImportFrom: self._import,
            ast.Delete: self._delete,
        }

    def run(self) -> None:
        """Read the whole file: statements, then the names that it loads."""
        tree = self.source.tree
        assert tree is not None
        self._body(tree.body)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self.source.reads.setdefault(node.id, self._place(node))
            if isinstance(node, ast.Attribute | ast.Subscript):
                path = _dotted(node)
                if path is not None and path[0] == "_base_" and len(path) > 1:
                    self.source.reads_of_base.add(path[1])

    def _place(self, node: ast.AST) -> Place:
        return Place(self.source.path, getattr(node, "lineno", 0))

    def _body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self._record(statement)
            handler = self._dispatch.get(type(statement))
            if handler is not None:
                handler(statement)  # type: ignore[operator]
            elif isinstance(statement, ast.For | ast.While | ast.If | ast.With | ast.Try):
                for name in ("body", "orelse", "finalbody"):
                    self._body(getattr(statement, name, []))
            if isinstance(statement, ast.If):
                self._blur(statement)

    def _blur(self, branch: ast.If) -> None:
        """Which branch ran is not known without executing: the whole ``if`` is the place of what it assigns."""
        for node in ast.walk(branch):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in self.names:
                self.names[node.id] = Slot(self._place(branch), Value())

    def _record(self, node: ast.AST) -> None:
        """Note every name that this statement stores at the top level, also in loops and tuple targets."""
        if isinstance(node, _SCOPES + _COMPREHENSIONS):
            return
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id != "_base_":
            self.source.sets[node.id] = self._place(node)
            self.names.setdefault(node.id, Slot(self._place(node), Value()))
        for child in ast.iter_child_nodes(node):
            self._record(child)

    def _assign(self, statement: ast.Assign | ast.AnnAssign) -> None:
        if statement.value is None:
            return
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id != "_base_":
                self.names[target.id] = self._slot(statement, statement.value)
            elif isinstance(target, ast.Subscript | ast.Attribute):
                self._set_inside(target, self._slot(statement, statement.value))

    def _set_inside(self, target: ast.Subscript | ast.Attribute, slot: Slot) -> None:
        """``name['key'] = ...`` and ``name.key = ...``"""
        path = _dotted(target)
        owner = self._find(path[:-1]) if path else None
        if owner is None or path is None:
            return
        items, key = owner.value.items, path[-1]
        slot.earlier = _item(items, key)
        if isinstance(items, dict):
            items[key] = slot
        elif isinstance(items, list) and slot.earlier is not None:
            items[int(key)] = slot

    def _augment(self, statement: ast.AugAssign) -> None:
        path = _dotted(statement.target)
        slot = self._find(path) if path else None
        if slot is None:
            return
        added = self._value(statement.value).items
        known = isinstance(slot.value.items, list) and isinstance(added, list)
        slot.value = Value([*slot.value.items, *added]) if known else Value()  # type: ignore[misc]
        slot.place = slot.place if known else self._place(statement)

    def _call(self, statement: ast.Expr) -> None:
        """``name.update(...)``, ``name.merge(...)``, ``name.append(...)``, ``name.pop('key')``"""
        call = statement.value
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            return
        path = _dotted(call.func.value)
        slot = self._find(path) if path else None
        if slot is None:
            return
        items, method = slot.value.items, call.func.attr
        if method in ("update", "merge") and isinstance(items, dict):
            items.update(_merge(self._arguments(call), items))
        elif method == "append" and isinstance(items, list):
            items.append(self._slot(call.args[0], call.args[0]))
        elif method == "pop" and isinstance(items, dict) and call.args and isinstance(call.args[0], ast.Constant):
            items.pop(str(call.args[0].value), None)
        elif isinstance(items, list):
            slot.value = Value()

    def _delete(self, statement: ast.Delete) -> None:
        for target in statement.targets:
            path = _dotted(target)
            owner = self._find(path[:-1]) if path and len(path) > 1 else None
            items = self.names if path and len(path) == 1 else owner.value.items if owner else None
            if isinstance(items, dict) and path:
                items.pop(path[-1], None)

    def _import(self, statement: ast.ImportFrom) -> None:
        """New-style bases (``with read_base(): from .base import *``); other imports are leaves."""
        file = _module_file(statement, self.source.path)
        base = trace(str(file)) if file is not None and file.is_file() else None
        if base is not None:
            self.source.bases.append(base)
        for alias in statement.names:
            if base is not None and alias.name == "*":
                self.names.update(joined([base]))
            elif base is not None and alias.name in base.slots:
                self.names[alias.asname or alias.name] = joined([base])[alias.name]

    def _slot(self, written: ast.AST, expression: ast.expr) -> Slot:
        path = _dotted(expression)
        found = self._find(path) if path else None
        if found is None or path is None:
            return Slot(self._place(written), self._value(expression))
        name = ".".join(path)
        return Slot(self._place(written), found.value, variable=(name, found.place))

    def _find(self, path: list[str] | None) -> Slot | None:
        if not path:
            return None
        from_base = path[0] == "_base_" and len(path) > 1
        if from_base:
            path = path[1:]
        slot = (self.base if from_base else self.names).get(path[0])
        for part in path[1:]:
            slot = _item(slot.value.items, part) if slot is not None else None
        return slot

    def _value(self, expression: ast.expr) -> Value:
        if isinstance(expression, ast.Dict):
            return _dict_value(self._pairs(expression))
        if isinstance(expression, ast.Call) and _dotted(expression.func) in (["dict"], ["ConfigDict"]):
            return _dict_value(self._arguments(expression))
        if isinstance(expression, ast.List | ast.Tuple):
            return self._list(expression.elts)
        if isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.Add):
            sides = [self._slot(side, side).value.items for side in (expression.left, expression.right)]
            if all(isinstance(side, list) for side in sides):
                return Value([slot for side in sides for slot in side])  # type: ignore[union-attr,misc]
        return Value()

    def _pairs(self, expression: ast.Dict) -> dict[str, Slot]:
        slots: dict[str, Slot] = {}
        for key, value in zip(expression.keys, expression.values, strict=True):
            if key is None:
                slots.update(self._spread(value))
            elif isinstance(key, ast.Constant):
                slots[str(key.value)] = self._slot(key, value)
        return slots

    def _arguments(self, call: ast.Call) -> dict[str, Slot]:
        slots: dict[str, Slot] = {}
        for argument in call.args:
            slots.update(self._spread(argument))
        for keyword in call.keywords:
            if keyword.arg is None:
                slots.update(self._spread(keyword.value))
            else:
                slots[keyword.arg] = self._slot(keyword, keyword.value)
        return slots

    def _spread(self, expression: ast.expr) -> dict[str, Slot]:
        items = self._slot(expression, expression).value.items
        return {key: copy(slot) for key, slot in items.items()} if isinstance(items, dict) else {}

    def _list(self, elements: list[ast.expr]) -> Value:
        slots: list[Slot] = []
        for element in elements:
            if not isinstance(element, ast.Starred):
                slots.append(self._slot(element, element))
                continue
            items = self._slot(element, element.value).value.items
            if not isinstance(items, list):
                return Value()
            slots += items
        return Value(slots)


def _dict_value(slots: dict[str, Slot]) -> Value:
    return Value({key: slot for key, slot in slots.items() if key != "_delete_"}, "_delete_" in slots)


def _dotted(expression: Any) -> list[str] | None:
    """``a.b['c'][0]`` as ``['a', 'b', 'c', '0']``; None for any other expression."""
    if isinstance(expression, ast.Name):
        return [expression.id]
    if isinstance(expression, ast.Attribute):
        owner, key = _dotted(expression.value), expression.attr
    elif isinstance(expression, ast.Subscript):
        try:
            owner, key = _dotted(expression.value), str(ast.literal_eval(expression.slice))
        except ValueError:
            return None
    else:
        return None
    return None if owner is None else [*owner, key]


def _module_file(statement: ast.ImportFrom, path: str) -> Path | None:
    """The config file that an import inside ``with read_base()`` names; None for imports of real modules."""
    parts = (statement.module or "").split(".")
    if statement.level:
        return Path(path).parents[statement.level - 1].joinpath(*parts[:-1], f"{parts[-1]}.py")
    if ".configs." not in f"{statement.module}.":
        return None
    return Path(get_installed_path(parts[0])).joinpath(*parts[1:-1], f"{parts[-1]}.py")
