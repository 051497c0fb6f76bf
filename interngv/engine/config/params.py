"""Which keys a class or function accepts, read from its signature and, behind ``**kwargs``, from its source.

A constructor that takes ``**kwargs`` and hands them on accepts what the receiver accepts: ``super().__init__``, a
base's ``__init__`` called by name, another class, a function. One that keeps them, or hands them to something that
cannot be found, accepts any key.
"""

import ast
import builtins
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

_KEYED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Parameters:
    """Names that may be given, names that must be given, and what becomes of any other name.

    ``open``: it is taken and may be used. ``swallows``: it is taken and thrown away without a word.
    """

    names: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    open: bool = False
    swallows: bool = False

    def without(self, names: set[str]) -> "Parameters":
        """The same without ``names``."""
        return replace(self, names=self.names - names, required=self.required - names)

    def __or__(self, other: "Parameters") -> "Parameters":
        return Parameters(
            self.names | other.names,
            self.required | other.required,
            self.open or other.open,
            self.swallows or other.swallows,
        )


ANYTHING = Parameters(open=True)


@lru_cache(maxsize=4096)
def parameters(target: Callable[..., Any]) -> Parameters:
    """Parameters of a class' constructor or of a function, as a config dict may name them."""
    if isinstance(target, partial):
        return parameters(target.func).without(set(target.keywords))
    if not inspect.isclass(target):
        return _Followed(target, ()).parameters(skip=0)
    for name in ("__init__", "__new__"):
        for index, owner in enumerate(target.__mro__[:-1]):
            if name in owner.__dict__:
                return _of_method(target.__mro__, index, name)
    return Parameters()


def _of_method(mro: tuple[type, ...], start: int, name: str) -> Parameters:
    """Parameters of ``name`` as found in ``mro`` from ``start`` on."""
    for index in range(start, len(mro)):
        if name in mro[index].__dict__:
            if mro[index] is object:
                return Parameters()
            return _Followed(getattr(mro[index], name), mro[index:]).parameters(skip=1)
    return ANYTHING


class _Followed:
    """One function, the classes from its owner upwards, and where its ``**kwargs`` go."""

    def __init__(self, function: Callable[..., Any], mro: tuple[type, ...]) -> None:
        self.renamed = _renamed(function)
        self.function, self.mro = inspect.unwrap(function), mro

    def parameters(self, skip: int) -> Parameters:
        try:
            declared = list(inspect.signature(self.function).parameters.values())[skip:]
        except (TypeError, ValueError):
            return ANYTHING
        keyed = [one for one in declared if one.kind in _KEYED]
        own = Parameters(
            frozenset(one.name for one in keyed),
            frozenset(one.name for one in keyed if one.default is inspect.Parameter.empty),
        )
        own = replace(own, names=own.names | self.renamed)
        rest = next((one.name for one in declared if one.kind is inspect.Parameter.VAR_KEYWORD), None)
        return own if rest is None else own | self._behind(rest).without(set(own.names))

    def _behind(self, rest: str) -> Parameters:
        """What the uses of ``**rest`` in the source accept."""
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(self.function)))
        except (OSError, TypeError, SyntaxError):
            return ANYTHING
        parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == rest]
        found = Parameters()
        for use in uses:
            found |= self._one_use(use, parents)
        if not uses:
            return Parameters(open=not self.mro, swallows=bool(self.mro))
        return found

    def _one_use(self, use: ast.Name, parents: Mapping[ast.AST, ast.AST]) -> Parameters:
        parent = parents[use]
        grand = parents.get(parent)
        if isinstance(parent, ast.keyword) and isinstance(grand, ast.Call):
            return self._receiver(grand)
        if isinstance(parent, ast.Attribute) and isinstance(grand, ast.Call) and _takes_key(parent, grand):
            return Parameters(frozenset([str(getattr(grand.args[0], "value", ""))]))
        if isinstance(parent, ast.Subscript) and isinstance(parent.slice, ast.Constant):
            stored = isinstance(parent.ctx, ast.Store)
            return Parameters() if stored else Parameters(frozenset([str(parent.slice.value)]))
        if isinstance(parent, ast.Compare) and isinstance(parent.left, ast.Constant):
            return Parameters(frozenset([str(parent.left.value)]))
        if isinstance(parent, ast.If | ast.BoolOp | ast.UnaryOp | ast.FormattedValue):
            return Parameters()
        return ANYTHING

    def _receiver(self, call: ast.Call) -> Parameters:
        """Parameters of what ``call`` calls, less those that the call gives itself."""
        found, positional = self._resolve(call.func)
        if found is None:
            return ANYTHING
        given = {keyword.arg for keyword in call.keywords if keyword.arg}
        starred = [index for index, argument in enumerate(call.args) if isinstance(argument, ast.Starred)]
        return found.without(given | set(positional[: starred[0] if starred else len(call.args)]))

    def _resolve(self, func: ast.expr) -> tuple[Parameters | None, list[str]]:
        if isinstance(func, ast.Attribute) and _is_super(func.value):
            return self._method(func.attr, self._after(func.value))
        if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "self":
            return self._method(func.attr, 0)
        target = self._global(func)
        if target is None or getattr(builtins, getattr(target, "__name__", ""), None) is target:
            return None, []
        if isinstance(func, ast.Attribute) and func.attr == "__init__":
            inner = _Followed(target, getattr(self._global(func.value), "__mro__", ()))
            return inner.parameters(skip=1), ["self", *inner.parameters(skip=1).names][:1]
        return parameters(target), _positional(target)

    def _after(self, call: ast.expr) -> int:
        """Where in the MRO ``super()`` or ``super(Owner, self)`` begins to look."""
        owner = self._global(call.args[0]) if isinstance(call, ast.Call) and call.args else None
        return self.mro.index(owner) + 1 if owner in self.mro else 1

    def _method(self, name: str, start: int) -> tuple[Parameters | None, list[str]]:
        for index in range(start, len(self.mro)):
            if name in self.mro[index].__dict__:
                method = getattr(self.mro[index], name)
                return _of_method(self.mro, index, name), _positional(method)[1:]
        return None, []

    def _global(self, expression: ast.expr) -> Any:
        if isinstance(expression, ast.Name):
            scope = inspect.getclosurevars(self.function).nonlocals if self.function.__closure__ else {}
            return scope.get(expression.id, self.function.__globals__.get(expression.id))
        if isinstance(expression, ast.Attribute):
            return getattr(self._global(expression.value), expression.attr, None)
        return None


def _takes_key(method: ast.Attribute, call: ast.Call) -> bool:
    """``kwargs.get('key')`` and the like."""
    return method.attr in ("get", "pop", "setdefault") and isinstance(call.args[0], ast.Constant)


def _renamed(function: Callable[..., Any]) -> frozenset[str]:
    """Old names of arguments that mmengine's ``deprecated_api_warning`` still takes."""
    found: set[str] = set()
    while hasattr(function, "__wrapped__"):
        names = inspect.getclosurevars(function).nonlocals.get("name_dict")
        found |= set(names) if isinstance(names, dict) else set()
        function = function.__wrapped__
    return frozenset(found)


def _is_super(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name) and expression.func.id == "super"


def _positional(target: Callable[..., Any]) -> list[str]:
    try:
        declared = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one.name for one in declared if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]


@lru_cache(maxsize=1024)
def is_placeholder(target: Callable[..., Any]) -> bool:
    """Whether a function stands in for a class whose packages are missing: it does nothing but raise ImportError."""
    if not inspect.isfunction(target):
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(target)))
    except (OSError, SyntaxError):
        return False
    last = tree.body[0].body[-1] if isinstance(tree.body[0], ast.FunctionDef) else None
    raised = last.exc.func if isinstance(last, ast.Raise) and isinstance(last.exc, ast.Call) else None
    return getattr(raised, "id", None) == "ImportError"


@lru_cache(maxsize=1024)
def keys_read(function: Callable[..., Any], variable: str) -> frozenset[str]:
    """Keys that a function's source reads from a dict variable: ``v['k']``, ``v.get('k')``, ``'k' in v`` and so on."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return frozenset()
    found: set[Any] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and _named(node.value, variable):
            found.add(getattr(node.slice, "value", None))
        elif isinstance(node, ast.Compare) and _named(node.comparators[0], variable):
            found.add(getattr(node.left, "value", None))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _named(node.func.value, variable):
            found.update(getattr(argument, "value", None) for argument in node.args[:1])
    return frozenset(name for name in found if isinstance(name, str))


def keys_taken(owner: type, argument: str) -> frozenset[str]:
    """Keys that a class' methods read from the dict given as ``argument`` before they build from the rest."""
    methods = [method for base in owner.__mro__[:-1] for method in vars(base).values() if inspect.isfunction(method)]
    read = [keys_read(method, argument) for method in methods]
    return frozenset().union(*read)


def _named(expression: ast.expr, variable: str) -> bool:
    return getattr(expression, "id", getattr(expression, "attr", None)) == variable
