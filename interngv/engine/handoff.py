"""Stage hand-off: which checkpoint a stage starts from, what of it goes where, and which stages must run before.

A stage's config names its upstream::

    upstream = dict(config="configs/up_a/stage.py", select="trunk", coverage=0.99)

``select`` is ``'trunk'``, ``'all'`` (what fits by name) or ``{prefix in the checkpoint: module of this model}``;
``coverage`` is the share of the filled modules' tensors that must be in the checkpoint. Instead of ``config`` a file or
checkpoint folder may be given as ``checkpoint``.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor, nn

from interngv.checkpoint import directory, read_checkpoint, state_dict_of
from interngv.engine import model_zoo
from interngv.engine.checkpoints.latest import latest_checkpoint
from interngv.engine.config import load_config, resolve_config, shipped_configs_dir
from interngv.engine.distributed import unwrapped
from interngv.errors import ConfigError, UserError, did_you_mean
from interngv.gva import MetaNet, weights
from interngv.load_report import LoadReport, StateDict, WeightsError, compare

TRUNKS = ("trunk", "backbone", "image.trunk")  # of a multi-task model, of a host model, of an image-text model
_KEYS = ("config", "checkpoint", "select", "coverage")


@dataclass(frozen=True)
class Upstream:
    """A checkpoint that a stage starts from: where it is, how it was found, what of it is handed over."""

    path: Path
    how: str
    select: str | Mapping[str, str] = "trunk"
    coverage: float = 1.0
    licence: str | None = None  # of the weights, where the model zoo says it

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """The checkpoint's weights, read once; names without a wrapper's ``module.``."""
        file = self.path
        if file.is_dir():
            directory.verify(file)
            file = file / directory.WEIGHTS  # without the optimizer's state
        return {name.removeprefix("module."): one for name, one in state_dict_of(read_checkpoint(file)).items()}


def resolve(cfg: Config, given: str | None = None) -> Upstream | None:
    """Find what a stage starts from; None where its config has no ``upstream`` and none is given.

    Not asked for a run that is resumed: its checkpoint has these weights. Looked at are, in this order, the path
    ``given``; the config's ``upstream.checkpoint``; the last good checkpoint in the work dir of
    ``upstream.config``; the model zoo's weights for that config.

    Raises:
        UserError: nothing is found (the message names the command that makes it), or ``upstream`` is not as it should
            be; weights of the model zoo whose sha256 is not the stated one.
    """
    spec = _spec(cfg)
    if (given or spec) and cfg.get("load_from"):
        raise ConfigError(f"load_from={cfg.load_from!r} would replace what comes from upstream: leave one of them out")
    handed = {key: spec[key] for key in ("select", "coverage") if key in spec}
    if path := given or spec.get("checkpoint"):
        return Upstream(_existing(path), "given by --upstream" if given else "upstream.checkpoint", **handed)
    if not spec:
        return None
    stage = load_config(str(_upstream_config(spec, cfg)))
    remedy = f"run `python tools/train.py {_name(stage)}`, add --with-upstream, or give --upstream FILE"
    try:
        checkpoint = latest_checkpoint(work_dir(stage))
    except UserError as error:
        raise UserError(f"no checkpoint of {_name(stage)} in {work_dir(stage)} is whole; {remedy}") from error
    if checkpoint:
        missing = _unfinished(checkpoint, stage)
        how = f"last of {_name(stage)}" + (f", which stopped at {missing}" if missing else "")
        return Upstream(checkpoint, how, **handed)
    if published := model_zoo.find(_file(stage)):
        try:
            return Upstream(published.verified(), f"model zoo's {published.name}", licence=published.licence, **handed)
        except UserError as error:
            raise UserError(f"{error}; {remedy}") from error
    raise UserError(
        f"{_name(cfg)} starts from {_name(stage)}, which has no checkpoint in {work_dir(stage)} and no weights in the "
        f"model zoo; {remedy}"
    )


def check(model: nn.Module, upstream: Upstream) -> LoadReport:
    """What :func:`load` would do to a model, which may stand on the meta device; raises the same."""
    return _fit(model, upstream)[1]


def load(model: nn.Module, upstream: Upstream) -> LoadReport:
    """Fill a model from its upstream and print one line; the model is untouched where it raises.

    Raises:
        UserError: the checkpoint cannot be read, ``select`` names what is not there, or less than ``coverage`` fits;
            the message names tensors and shapes.
    """
    values, report = _fit(model, upstream)
    vars(upstream).pop("state", None)  # a second copy of all weights, else kept as long as the run
    unwrapped(model).load_state_dict(values, strict=False)
    print_log(f"upstream {upstream.path} ({upstream.how}): {report}", logger="current")
    return report


def chain(config: str | Config) -> list[Path]:
    """The stages before a config that must run, the first to run first; one with a checkpoint is to be resumed.

    A stage need not run when its last checkpoint has reached its config's end, or the model zoo has its weights; then
    none before it needs to.

    Raises:
        UserError: the upstreams go round in a circle, or one is not as it should be.
    """
    cfg = config if isinstance(config, Config) else load_config(config)
    seen, waiting = [_file(cfg)], []
    while (spec := _spec(cfg)).get("config"):
        path = _upstream_config(spec, cfg)
        if path in seen:
            raise UserError(f"upstream goes round in a circle: {' -> '.join(map(str, [*seen, path]))}")
        seen.append(path)
        cfg = load_config(str(path))
        if _is_done(cfg):
            break
        waiting.append(path)
    return waiting[::-1]


def work_dir(cfg: Config) -> Path:
    """Where a config's run writes, unless the command line says otherwise: its own ``work_dir``, or work_dirs/NAME."""
    return Path(cfg.get("work_dir") or Path("work_dirs") / _file(cfg).stem).expanduser().absolute()


# The config's entry


def _spec(cfg: Config) -> dict[str, Any]:
    """The config's ``upstream``, checked; empty where it has none."""
    spec = cfg.get("upstream")
    if spec is None:
        return {}
    if not isinstance(spec, Mapping):
        raise ConfigError(f"upstream={spec!r}: expected a dict such as dict(config='configs/...', select='trunk')")
    for key in spec:
        if key not in _KEYS:
            raise ConfigError(f"upstream.{key}: upstream takes {', '.join(_KEYS)} only{did_you_mean(str(key), _KEYS)}")
    given = [key for key in ("config", "checkpoint") if spec.get(key)]
    if len(given) != 1:
        raise ConfigError(f"upstream needs one of config and checkpoint, it has {' and '.join(given) or 'neither'}")
    select, coverage = spec.get("select", "trunk"), spec.get("coverage", 1.0)
    if select not in ("trunk", "all") and not _is_renaming(select):
        raise ConfigError(
            f"upstream.select={select!r}: expected 'trunk', 'all' or a dict {{prefix there: module here}}"
        )
    if isinstance(coverage, bool) or not isinstance(coverage, int | float) or not 0 < coverage <= 1:
        raise ConfigError(f"upstream.coverage={coverage!r}: expected a share above 0, at most 1")
    return dict(spec)


def _is_renaming(select: Any) -> bool:
    return isinstance(select, Mapping) and bool(select) and all(isinstance(name, str) for name in select.values())


def _upstream_config(spec: Mapping[str, Any], cfg: Config) -> Path:
    """The file of ``upstream.config``: beside the config that names it, from here, or a shipped one."""
    name, own = spec["config"], _file(cfg)
    places = (own.parent / name, Path(name), shipped_configs_dir().parent / name)
    found = next((path for path in places if path.is_file()), None) or resolve_config(name)
    found = Path(os.path.normpath(found.absolute()))
    if found == own:
        raise ConfigError(f"upstream.config={name!r} names the config itself")
    return found


def _file(cfg: Config) -> Path:
    return Path(os.path.normpath(Path(cfg.filename or "config").absolute()))


def _name(cfg: Config) -> str:
    """A config as a command takes it: its path from here where it is below, else the whole path."""
    path, here = _file(cfg), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"upstream checkpoint {path} does not exist{did_you_mean(path.name, near)}")
    return path


# What is there of a stage


def _unfinished(checkpoint: Path, cfg: Config) -> str | None:
    """How far a checkpoint is from its config's end, such as ``iter 500 of 1000``; None at the end."""
    is_folder = checkpoint.is_dir()
    meta = directory.read_meta(checkpoint) if is_folder else read_checkpoint(checkpoint).get("meta") or {}
    for unit in ("iter", "epoch"):
        goal = (cfg.get("train_cfg") or {}).get(f"max_{unit}s")
        if goal is not None:
            done = meta.get(unit, 0)
            return None if done >= goal else f"{unit} {done} of {goal}"
    return None


def _is_done(cfg: Config) -> bool:
    checkpoint = latest_checkpoint(work_dir(cfg))
    if checkpoint is not None:
        return _unfinished(checkpoint, cfg) is None
    published = model_zoo.find(_file(cfg))
    return published is not None and published.file is not None and published.verified().is_file()


# From the checkpoint into the model


def _fit(model: nn.Module, upstream: Upstream) -> tuple[dict[str, Tensor], LoadReport]:
    """The model's new values by name, and the report; the dropped go by the names that they would have here."""
    model = unwrapped(model)
    wanted: dict[str, Tensor] = {}
    given: dict[str, Tensor] = {}
    pairs: dict[str, str] = {}
    by_order: list[str] = []
    for name, module, source in _parts(model, upstream):
        start = f"{name}." if name else ""
        own = module.state_dict()
        # Names inside a released trunk's blocks differ from ours; elsewhere a name says what a tensor is.
        by_structure = isinstance(module, MetaNet) and weights.keeps_order(upstream.path)
        found, ordered = weights.match(source, own, by_structure)
        wanted |= {start + key: value for key, value in own.items()}
        given |= {start + key: value for key, value in source.items()}
        pairs |= {start + ours: start + theirs for ours, theirs in found.items()}
        by_order += [start + key for key in ordered]
    report = compare(wanted, given, pairs, by_order)
    report.require(upstream.coverage, f"upstream {upstream.path} ({upstream.how})")
    return {ours: given[theirs] for ours, theirs in pairs.items()}, report


def _parts(model: nn.Module, upstream: Upstream) -> Iterator[tuple[str, nn.Module, StateDict]]:
    """Which module of the model, by its name, gets which tensors of the checkpoint."""
    if upstream.select == "all":
        yield "", model, upstream.state
    elif upstream.select == "trunk":
        modules = dict(model.named_modules())
        names = [name for name in TRUNKS if name in modules]
        if not names:
            raise WeightsError(
                f"upstream.select='trunk': {type(model).__name__} has none of {', '.join(TRUNKS)}; "
                "say what goes where: select={'PREFIX IN THE CHECKPOINT': 'MODULE OF THE MODEL'}"
            )
        yield names[0], model.get_submodule(names[0]), _trunk_of(upstream)
    else:
        assert isinstance(upstream.select, Mapping)
        modules = dict(model.named_modules())
        for prefix, name in upstream.select.items():
            if name not in modules:
                hint = did_you_mean(name, modules)
                raise WeightsError(f"upstream.select: {type(model).__name__} has no module '{name}'{hint}")
            yield name, modules[name], _below(upstream, prefix)


def _trunk_of(upstream: Upstream) -> StateDict:
    """The trunk in a checkpoint of a multi-task model, a host model, a released file, or of nothing but a trunk."""
    for name in TRUNKS:
        if any(key.startswith(f"{name}.") for key in upstream.state):
            return _below(upstream, name)
    if not any("stem" in key.split(".") for key in upstream.state):
        return upstream.state
    try:
        return weights.select_trunk(upstream.state)
    except WeightsError as error:
        raise WeightsError(f"{upstream.path}: {error}; upstream.select={{'PREFIX': 'trunk'}} picks one") from error


def _below(upstream: Upstream, prefix: str) -> StateDict:
    start = f"{prefix}." if prefix else ""
    found = {key.removeprefix(start): value for key, value in upstream.state.items() if key.startswith(start)}
    if not found:
        parts = [key.split(".") for key in upstream.state]
        prefixes = {".".join(names[:depth]) for names in parts for depth in range(1, len(names))}
        hint = did_you_mean(prefix, prefixes) or f" (it has {', '.join(sorted({names[0] for names in parts}))})"
        raise WeightsError(f"upstream.select: {upstream.path} has no tensor below '{prefix}'{hint}")
    return found
