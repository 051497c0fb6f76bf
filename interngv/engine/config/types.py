"""Looking up a config's ``type`` in mmengine's registries, by name or class, without building anything."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mmengine.registry
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry
from mmengine.utils import get_object_from_string

from interngv.errors import nearest

_ROOT_MODULES = (
    "dataset", "evaluator", "hooks", "model", "optim", "runner", "visualization",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """One thing that a ``type`` may mean, and the root registry that holds it (None for a class given directly)."""

    target: Callable[..., Any]
    registry: str | None


@lru_cache(maxsize=64)
def scope_error(scope: str) -> str | None:
    """Import all that a scope registers; the reason in words where that fails, else None."""
    if scope == "mmengine":
        for name in _ROOT_MODULES:
            import_module(f"mmengine.{name}")
        return None
    try:
        import_module(f"{scope}.registry")
        for registry in _registries(scope):
            registry.import_from_location()
    except Exception as error:  # whatever a package raises when it is imported is the reason we report
        return f"importing {scope} fails: {type(error).__name__}: {error}"
    return None


def _registries(scope: str) -> Iterator[Registry]:
    """The registries of one scope: children of mmengine's roots and roots of its own."""
    module = mmengine.registry if scope == "mmengine" else import_module(f"{scope}.registry")
    for value in vars(module).values():
        if isinstance(value, Registry) and value.scope == scope:
            yield value


def _root_name(registry: Registry) -> str:
    return registry.root.name


@lru_cache(maxsize=8192)
def find(name: str, scope: str) -> tuple[Found, ...]:
    """All that ``name`` may mean in the default scope ``scope``; empty where nothing is registered under it.

    The name may carry a ``scope.`` prefix or be a full import path, as mmengine allows.
    """
    prefix, _, bare = name.partition(".")
    if bare and not is_scope(prefix):
        target = _from_import_path(name)
        return (Found(target, None),) if target is not None else ()
    where, bare = (prefix, bare) if bare else (scope, name)
    if scope_error("mmengine") or scope_error(where):
        return ()
    found = [
        Found(registry.module_dict[bare], _root_name(registry))
        for registry in _with_parents(where)
        if bare in registry.module_dict
    ]
    if not found and bare != name:
        target = _from_import_path(name)
        found = [Found(target, None)] if target is not None else []
    return tuple(dict.fromkeys(found)) or _operator(name)


def _operator(name: str) -> tuple[Found, ...]:
    """mmcv's operators (``nms``, ``RoIAlign``), which detectors name by type although no registry holds them."""
    try:
        target = getattr(import_module("mmcv.ops"), name, None)
    except ImportError:
        return ()
    if inspect.isclass(target):
        return (Found(target, None),)
    return (Found(_any_keys, None),) if callable(target) else ()


def _any_keys(**kwargs: Any) -> None:
    """Stands for an operator that is a function: its caller adds, and takes out, keys of its own."""


def _with_parents(scope: str) -> list[Registry]:
    chain: dict[int, Registry] = {}
    for registry in [*_registries(scope), *_registries("mmengine")]:
        chain[id(registry)] = registry
    return list(chain.values())


@lru_cache(maxsize=64)
def is_scope(name: str) -> bool:
    """Whether a prefix names a registry scope (a package with a ``registry`` module), not an import path."""
    if name in MODULE2PACKAGE or name == "mmengine":
        return True
    if any(name in root.children for root in vars(mmengine.registry).values() if isinstance(root, Registry)):
        return True
    try:
        module = import_module(f"{name}.registry")
    except Exception:  # not a scope; what it is instead, the caller finds out
        return False
    return any(isinstance(value, Registry) for value in vars(module).values())


def scope_of(config: Any) -> str | None:
    """The scope that prefixes a config's type, in which the parts of a task and of its data set are looked up too."""
    given = config.get("type") if isinstance(config, Mapping) else None
    prefix = given.partition(".")[0] if isinstance(given, str) and "." in given else ""
    return prefix if prefix and is_scope(prefix) else None


def _from_import_path(name: str) -> Callable[..., Any] | None:
    try:
        target = get_object_from_string(name)
    except Exception:  # any failure to import means that the path names nothing
        return None
    return target if callable(target) else None


def nearest_type(name: str, scope: str, registry: str | None = None) -> str | None:
    """The registered name most like ``name``; of one root registry (``registry``) where that is known.

    Where the very name is registered in another loaded scope, that is offered with its prefix.
    """
    prefix, _, bare = name.rpartition(".")
    where = prefix if prefix and is_scope(prefix) else scope
    for other in _loaded_scopes():
        if other not in (where, "mmengine") and any(bare in one.module_dict for one in _registries(other)):
            return f"{other}.{bare}"
    if scope_error(where):
        return None
    names = {known for one in _with_parents(where) if registry in (None, _root_name(one)) for known in one.module_dict}
    close = nearest(bare, names)
    return (f"{prefix}.{close[0]}" if prefix else close[0]) if close else None


@lru_cache(maxsize=256)
def source_of(name: str, scope: str) -> str | None:
    """The file of a scope's package that defines a class which nevertheless is not registered."""
    bare = name.rpartition(".")[2]
    spec = find_spec(scope)
    pattern = re.compile(rf"^class {re.escape(bare)}\b", re.MULTILINE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).rglob("*.py")):
            if ".mim" not in file.parts and pattern.search(file.read_text(encoding="utf-8", errors="replace")):
                return str(file.relative_to(Path(folder).parent))
    return None


def _loaded_scopes() -> list[str]:
    roots = [root for root in vars(mmengine.registry).values() if isinstance(root, Registry)]
    return sorted({scope for root in roots for scope in root.children})
