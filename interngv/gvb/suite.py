"""What a suite's config says: which tasks, where their data are, and how each kind of task is judged."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from interngv.engine.config import load_config, resolve_config
from interngv.engine.config.places import runner_keys
from interngv.engine.config.reads import unread_keys
from interngv.engine.config.source import Origins
from interngv.errors import ConfigError, did_you_mean
from interngv.gvb.tasks import KINDS

PROBES = ("sgd", "logistic", "ridge", "knn", "zero_shot")
_READ = ("custom_imports", "default_scope")  # of a suite's top-level keys, beside ``suite``
_KEYS = ("name", "rows", "tasks", "trunks", "data_root", "image_size", "num_workers", "protocols", "default")


@dataclass(frozen=True)
class Protocol:
    """One way of judging a trunk on tasks of one kind.

    Attributes:
        probe: the method on cached features (one of ``PROBES``), with its ``settings``; or
        config: the host config that is filled in, trained and tested (:mod:`interngv.gvb.templates`), and in ``tasks``
            the configs of single tasks.
    """

    name: str
    kind: str
    probe: str | None
    settings: Mapping[str, Any]
    config: Path | None
    tasks: Mapping[str, Path]

    def template(self, task: str) -> Path | None:
        """The host config for a task, None for a probe on cached features."""
        return self.tasks.get(task, self.config)

    def sha256(self, task: str) -> str:
        """Of everything that the protocol says about a task."""
        path = self.template(task)
        said = load_config(str(path)).pretty_text if path else json.dumps([self.probe, self.settings], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True)
class Suite:
    """A benchmark: rows of tasks, and the protocols by name.

    Attributes:
        rows: the named set of rows (``'gvb'``, ``'mini'``, ``'open'``); None for the user's own alone.
        tasks: the user's own rows, by name, beside those.
        trunks: the user's own trunks, by name (:mod:`interngv.gvb.trunks.words`).
        data_root: folder that holds a folder a task.
        image_size: pixels of the square that a classifier sees.
        num_workers: processes that read pictures for cached features.
        default: the protocol of each kind.
        imports: modules of the user's own that register what the suite names.
    """

    name: str
    rows: str | None
    tasks: Mapping[str, Mapping[str, Any]]
    trunks: Mapping[str, Mapping[str, Any]]
    data_root: Path
    image_size: int
    num_workers: int
    protocols: Mapping[str, Protocol]
    default: Mapping[str, str]
    imports: tuple[str, ...]

    def chosen(self, wanted: Sequence[str]) -> dict[str, str]:
        """The protocol of each kind where these are asked for and the default serves the other kinds.

        Raises:
            ConfigError: an unknown protocol, or two for one kind.
        """
        chosen: dict[str, str] = {}
        for name in wanted:
            if name not in self.protocols:
                hint = did_you_mean(name, self.protocols)
                raise ConfigError(f"unknown protocol '{name}'{hint}; the suite has {', '.join(self.protocols)}")
            kind = self.protocols[name].kind
            if kind in chosen:
                raise ConfigError(f"protocols '{chosen[kind]}' and '{name}' are both for {kind}: choose one a run")
            chosen[kind] = name
        return {**self.default, **chosen}


def is_suite(config: str) -> bool:
    """Whether a config describes a benchmark: it has a top-level ``suite``."""
    return "suite" in load_config(config)


def read_suite(config: str, options: Mapping[str, Any] | None = None) -> Suite:
    """Read a suite's config.

    The configs of protocols are named as paths beside its file, or as ``tools/train.py`` takes them; ``data_root`` is
    relative to the working folder.

    Raises:
        ConfigError: the config cannot be read, has an unknown key, or something in it is wrong.
    """
    path = resolve_config(config)
    cfg = load_config(config, dict(options or {}))
    said = cfg.get("suite")
    if not isinstance(said, Mapping):
        raise ConfigError(f"{path} is no suite: it lacks suite=dict(name=..., protocols=...)")
    _refuse_unread(cfg, path)
    _refuse_unknown(said, _KEYS, f"{path}: suite")
    if missing := [key for key in ("name", "protocols", "default") if key not in said]:
        raise ConfigError(f"{path}: suite lacks {', '.join(missing)}; _base_ = ['interngv::gvb/suite.py'] has them")
    protocols = {name: _protocol(name, row, path) for name, row in said["protocols"].items()}
    suite = Suite(
        name=said["name"],
        rows=said.get("rows", "gvb"),
        tasks=said.get("tasks", {}),
        trunks=said.get("trunks", {}),
        data_root=Path(said.get("data_root", "data")).expanduser(),
        image_size=said.get("image_size", 224),
        num_workers=said.get("num_workers", 4),
        protocols=protocols,
        default=dict(said["default"]),
        imports=tuple((cfg.get("custom_imports") or {}).get("imports", ())),
    )
    for kind, name in suite.default.items():
        if kind not in KINDS or name not in protocols or protocols[name].kind != kind:
            raise ConfigError(f"{path}: suite.default says {kind}={name!r}: no protocol of that kind and name")
    return suite


def _refuse_unread(cfg: Config, path: Path) -> None:
    """A top-level key that nobody reads has no effect, nor has one of a run's."""
    for key, place, reason in unread_keys(cfg, Origins.of(cfg), ()):
        if key != "suite":
            raise ConfigError(f"{place or path}: {key}: {reason}")
    for key in cfg:
        if key in runner_keys() and key not in _READ:
            raise ConfigError(f"{path}: a suite does not take '{key}': put it into the config of a protocol")


def _protocol(name: str, row: Mapping[str, Any], path: Path) -> Protocol:
    where = f"{path}: suite.protocols.{name}"
    _refuse_unknown(row, ("kind", "probe", "settings", "config", "tasks"), where)
    if row.get("kind") not in KINDS:
        raise ConfigError(f"{where}.kind is {row.get('kind')!r}; expected one of {', '.join(KINDS)}")
    probe, config = row.get("probe"), row.get("config")
    if (probe is None) == (config is None):
        raise ConfigError(f"{where} needs either probe (one of {', '.join(PROBES)}) or config (a host config)")
    if probe is not None and (probe not in PROBES or row["kind"] != "classification"):
        hint = did_you_mean(str(probe), PROBES)
        raise ConfigError(f"{where}.probe is {probe!r}{hint}; classification takes one of {', '.join(PROBES)}")
    tasks = {task: _beside(path, one, where) for task, one in row.get("tasks", {}).items()}
    return Protocol(
        name, row["kind"], probe, dict(row.get("settings", {})), config and _beside(path, config, where), tasks
    )


def _beside(path: Path, name: str, where: str) -> Path:
    found = path.parent / name
    try:
        return found.resolve() if found.is_file() else resolve_config(name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _refuse_unknown(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f"{where} has no key '{key}'{did_you_mean(key, known)}; it has {', '.join(known)}")
