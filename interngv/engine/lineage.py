"""Where a checkpoint comes from: config, data, code, licences and the checkpoints before it, as plain JSON.

``of_run`` describes a run once, at its start, and the description stands in the ``meta.json`` of every checkpoint that
the run writes. What identifies a thing is a sha256; names and paths only help to find it.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.hooks import Hook

from interngv.checkpoint import directory
from interngv.engine.config import shipped_configs_dir
from interngv.engine.fingerprint import config_sha256, file_sha256, leaves, samples_sha256
from interngv.errors import UserError
from interngv.gvd import layouts
from interngv.gvd.packs import PACKS, Pack
from interngv.version import __version__

_SHOWN = 12  # hexadecimal digits of a sha256 in the tree


def of_run(cfg: Config, datasets: Mapping[str, Any], parents: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Describe a run; plain JSON.

    Hashing costs about as much as reading the data sets' lists once, see :mod:`interngv.engine.fingerprint`.

    Args:
        cfg: the run's resolved config; its key ``licences`` (``{name: licence}``) adds to what is known.
        datasets: the built data sets by split or ``split/source``, see :func:`datasets_of`.
        parents: what the run starts from, see :func:`origin`; files that an ``init_cfg`` names are added.

    Raises:
        UserError: ``licences`` is not a dict of texts.
    """
    named = [origin(path) for path in _initial_weights(cfg.get("model"))]
    return {
        "config": _config_name(cfg),
        "config_sha256": config_sha256(cfg),
        "data": {name: samples_sha256(dataset) for name, dataset in datasets.items()},
        "code": _code(),
        "licences": _licences(cfg, datasets),
        "parents": [*map(dict, parents), *named],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]).replace(str(Path.home()), "~"),
    }


class LineageHook(Hook):
    """Puts the run's lineage into the ``meta`` of every checkpoint that it writes.

    Args:
        parents: what a run that is not resumed starts from, see :func:`origin`.
    """

    def __init__(self, parents: Iterable[Mapping[str, Any]] = ()) -> None:
        self._parents = list(parents)
        self._lineage: dict[str, Any] = {}

    @master_only
    def before_train(self, runner: Any) -> None:
        """Describe the run once its data sets stand."""
        parents = self._parents
        if runner._resume:
            parents = (read(runner._load_from) or {}).get("parents", [])
        self._lineage = of_run(runner.cfg, datasets_of({"train": runner.train_loop.dataloader}), parents)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Add the description."""
        checkpoint["meta"]["lineage"] = self._lineage


def datasets_of(loaders: Mapping[str, Any]) -> dict[str, Any]:
    """The data sets of a run, by split or ``split/source``, as :func:`of_run` takes them.

    Args:
        loaders: by split: a data loader, several by name, or one over several sources (``MetaDataLoader``).
    """
    found: dict[str, Any] = {}
    for split, loader in loaders.items():
        if isinstance(loader, Mapping):
            found |= datasets_of({f"{split}/{name}": one for name, one in loader.items()})
        elif hasattr(loader, "sources"):
            found |= {f"{split}/{name}": dataset for name, dataset in loader.sources.items()}
        else:
            found[split] = loader.dataset
    return found


def origin(path: str | Path, licence: str | None = None) -> dict[str, Any]:
    """An entry for weights that a run starts from: ``{sha256, path, lineage}`` of a checkpoint folder or a file.

    ``sha256`` is None for a name that is no local file, ``lineage`` for all that is not in a checkpoint folder.

    Args:
        licence: of the weights, where it is known.

    Raises:
        UserError: see :func:`read`.
    """
    there = Path(path).expanduser()
    sha256 = file_sha256(there) if there.is_file() else directory.weights_sha256(there) if there.is_dir() else None
    entry: dict[str, Any] = {"sha256": sha256, "path": _short(path)}
    return entry | ({"licence": licence} if licence else {}) | {"lineage": read(path)}


def read(path: str | Path) -> dict[str, Any] | None:
    """The lineage in the ``meta.json`` of a checkpoint's folder, or of its weights' folder; None where there is none.

    Raises:
        UserError: the folder is no checkpoint, or its ``meta.json`` is damaged.
    """
    path = Path(path).expanduser()
    if path.name == directory.WEIGHTS and (path.parent / directory.META).is_file():
        path = path.parent
    found = directory.read_meta(path).get("lineage") if path.is_dir() else None
    if not isinstance(found, dict | None):
        raise UserError(f"{path / directory.META}: lineage is a {type(found).__name__}, expected an object")
    return found


def of_checkpoint(path: str | Path) -> dict[str, Any]:
    """:func:`origin` of a checkpoint that must be there.

    Raises:
        UserError: there is no such file or folder, or see :func:`read`.
    """
    if not Path(path).expanduser().exists():
        raise UserError(f"checkpoint {path} does not exist")
    return origin(path)


def tree(found: Mapping[str, Any]) -> str:
    """What :func:`origin` gives as indented text: the checkpoint first, what it came from below it."""
    lines: list[str] = []
    waiting: list[tuple[int, Mapping[str, Any]]] = [(0, found)]
    while waiting:  # not by recursion: a file decides on the depth
        depth, one = waiting.pop()
        start = "  " * depth
        lines.append(f"{start}{'from ' if depth else ''}{_text(one.get('path'))}  weights {_text(one.get('sha256'))}")
        if one.get("licence"):
            lines.append(f"{start}  licence  {_text(one['licence'])}")
        lineage = one.get("lineage")
        if not isinstance(lineage, dict):
            lines.append(f"{start}  no lineage: only a checkpoint folder holds one")
            continue
        lines += [f"{start}  {line}" for line in _facts(lineage)]
        parents = lineage.get("parents")
        above = [one for one in parents if isinstance(one, dict)] if isinstance(parents, list) else []
        waiting += [(depth + 1, one) for one in reversed(above)]
    return "\n".join(lines)


def _config_name(cfg: Config) -> str | None:
    if cfg.filename is None:
        return None
    path, shipped = Path(cfg.filename), shipped_configs_dir()
    return str(path.relative_to(shipped.parent)) if path.is_relative_to(shipped) else path.name


def _short(path: str | Path) -> str:
    """A path that helps to find a checkpoint and tells nothing of the machine: below here, else its last two parts."""
    if "://" in str(path):
        return str(path)
    full, here = Path(path).expanduser().absolute(), Path.cwd()
    return str(full.relative_to(here)) if full.is_relative_to(here) else "/".join(full.parts[-2:])


def _code() -> dict[str, Any]:
    """The installed version and, where it runs from a git checkout, the commit and whether files differ from it."""
    root = Path(__file__).resolve().parents[2]
    code: dict[str, Any] = {"version": __version__}
    if (root / ".git").exists():
        commit, changed = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--untracked-files=no")
        if commit is not None and changed is not None:
            code |= {"commit": commit.strip(), "dirty": bool(changed.strip())}
    return code


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _licences(cfg: Config, datasets: Mapping[str, Any]) -> dict[str, str]:
    given = cfg.get("licences") or {}
    if not isinstance(given, Mapping) or not all(isinstance(text, str) for text in given.values()):
        raise UserError(f"licences={given!r}: expected a dict from what is licensed to the licence's name")
    packs = {name: [_pack(leaf) for leaf in leaves(dataset)] for name, dataset in datasets.items()}
    known = {name: sorted({pack.licence for pack in found if pack}) for name, found in packs.items()}
    return {name: ", ".join(licences) for name, licences in known.items() if licences} | dict(given)


def _pack(dataset: Any) -> Pack | None:
    """The open pack that a data set's folder was laid out from."""
    root = getattr(dataset, "data_root", None)
    stamp = Path(root) / layouts.STAMP if isinstance(root, str) and root else None
    return PACKS.get(stamp.read_text().split(" ")[0]) if stamp and stamp.is_file() else None


def _initial_weights(config: Any) -> Iterator[str]:
    """The checkpoints that a model's ``init_cfg``s name, wherever in it."""
    if isinstance(config, list | tuple):
        for one in config:
            yield from _initial_weights(one)
    if not isinstance(config, Mapping):
        return
    for key, value in config.items():
        if key == "init_cfg":
            for init in value if isinstance(value, list | tuple) else [value]:
                if isinstance(init, Mapping) and isinstance(init.get("checkpoint"), str):
                    yield init["checkpoint"]
        else:
            yield from _initial_weights(value)


def _facts(lineage: Mapping[str, Any]) -> Iterator[str]:
    yield f"config   {_text(lineage.get('config'))}  {_text(lineage.get('config_sha256'))}"
    for what in ("data", "licences"):
        named = lineage.get(what)
        for name, value in named.items() if isinstance(named, dict) else ():
            yield f"{what:<8} {_text(name)}  {_text(value)}"
    code = lineage.get("code")
    if isinstance(code, dict):
        commit = f"  {_text(code['commit'])}{' with changes' if code.get('dirty') else ''}" if "commit" in code else ""
        yield f"code     interngv {_text(code.get('version'))}{commit}"
    made = f"  by {_text(lineage['command'])}" if lineage.get("command") else ""
    yield f"created  {_text(lineage.get('created'))}{made}"


def _text(value: Any) -> str:
    """A value from a file for the terminal: a sha256 cut short, and nothing that steers the terminal."""
    text = "unknown" if value is None else str(value)
    if re.fullmatch(r"[0-9a-f]{40,64}", text):
        return text[:_SHOWN]
    return "".join(letter if letter.isprintable() else "?" for letter in text)
