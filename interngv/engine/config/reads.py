"""Top-level keys that nobody reads, and the trap of setting a variable that only a base file reads.

A base file is executed before its child: ``train_cfg = dict(max_epochs=max_epochs)`` in the base has taken the base's
``max_epochs`` when the child sets another, and the child's line changes nothing.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from interngv.engine.config.loading import cfg_options
from interngv.engine.config.places import runner_keys
from interngv.engine.config.source import Origins
from interngv.engine.config.trace import COMMAND_LINE, Place, Source
from interngv.errors import nearest


def unread_keys(cfg: Config, origins: Origins, used: Iterable[type]) -> list[tuple[str, Place | None, str]]:
    """Key, place and explanation of every top-level setting without effect.

    Args:
        cfg: the loaded config.
        origins: its traced chain.
        used: the classes that the config names; a key that their modules read by ``cfg.key`` counts as read.
    """
    if origins.source is None:
        keys = [key for key in cfg if key not in runner_keys()]
        return [(key, None, _nobody(key, [])) for key in keys if not _read_by(key, used)]
    problems: list[tuple[str, Place | None, str]] = []
    for key, place, source in _settings(cfg, origins.source):
        reader = _reader(key, source, origins.source)
        if not reader and not _read_by(key, used):
            problems.append((key, place, _explain(key, source, origins.source)))
    return problems


def _settings(cfg: Config, top: Source) -> Iterable[tuple[str, Place, Source | None]]:
    """Every top-level line that is not a runner's key: by the command line (no source), by each file."""
    keys = [key for key in cfg if key not in runner_keys() and key not in getattr(cfg, "_imported_names", ())]
    for key in keys:
        if key in {option.partition(".")[0] for option in cfg_options(cfg)}:
            yield key, Place(COMMAND_LINE), None
        for source in {one.path: one for one in top.chain()}.values():
            if key in source.sets and not in_host(source.path):
                yield key, source.sets[key], source


def _reader(key: str, source: Source | None, top: Source) -> bool:
    """Whether this file reads the name that it sets, or a file above it reads it from its base."""
    if source is None:
        return False
    if key in source.reads:
        return True
    above = [one for one in top.chain() if one is not source and any(base.path == source.path for base in one.chain())]
    return any(key in one.reads_of_base or (_new_style(one) and key in one.reads) for one in above)


def _new_style(source: Source) -> bool:
    return "read_base" in source.reads


def _explain(key: str, source: Source | None, top: Source) -> str:
    below = [one for one in (source or top).chain() if one is not source and key in one.reads]
    if not below:
        return _nobody(key, [name for one in top.chain() for name in one.reads])
    reader = below[0]
    keys = _keys_made_of(key, reader)
    instead = f"; set {' and '.join(keys)} instead" if keys else ""
    return (
        f"has no effect: only {reader.reads[key]} reads this variable, and that base is done before this is set"
        f"{instead}"
    )


def _nobody(key: str, names: Iterable[str]) -> str:
    close = nearest(key, {*runner_keys(), *names})
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"nobody reads this top-level key (neither the runner and tools nor a file of the chain){hint}"


def _keys_made_of(name: str, source: Source) -> list[str]:
    """Dotted keys in which a file uses a variable, at most three."""
    found: list[str] = []

    def search(node: ast.AST, path: list[str]) -> None:
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
            found.append(".".join(path))
        if isinstance(node, ast.keyword) and node.arg:
            path = [*path, node.arg]
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                search(value, [*path, str(getattr(key, "value", "?"))])
            return
        if isinstance(node, ast.List | ast.Tuple):
            for index, element in enumerate(node.elts):
                search(element, [*path, str(index)])
            return
        for child in ast.iter_child_nodes(node):
            search(child, path)

    for statement in source.tree.body if source.tree else []:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            search(statement.value, [statement.targets[0].id])
    direct = [key for key in found if key.partition(".")[0] in runner_keys()]
    through = [inner for key in found if key not in direct for inner in _keys_made_of(key.partition(".")[0], source)]
    return list(dict.fromkeys(direct + through))[:3]


def _read_by(key: str, used: Iterable[type]) -> bool:
    pattern = re.compile(rf"\bcfg(?:\.{key}\b|\.get\(\s*['\"]{key}['\"]|\[['\"]{key}['\"]\])")
    for name in {getattr(one, "__module__", "") for one in used}:
        try:
            if name in sys.modules and pattern.search(inspect.getsource(sys.modules[name])):
                return True
        except (OSError, TypeError):
            continue
    return False


def in_host(path: str) -> bool:
    """Whether a config ships with an installed host library; its unread leftovers are not the user's to mend."""
    parts = Path(path).parts
    hosts = [part for part in parts if part in MODULE2PACKAGE]
    return any(
        spec.origin is not None and Path(path).is_relative_to(Path(spec.origin).parent)
        for spec in (find_spec(host) for host in hosts)
        if spec is not None
    )
