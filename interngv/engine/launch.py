"""What tools/train.py and tools/test.py do: read the config, look before leaping, start the processes, run."""

import json
import multiprocessing
import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS, init_default_scope
from mmengine.runner import Runner
from torch import nn

from interngv.checkpoint import read_checkpoint
from interngv.checkpoint.files import replaced
from interngv.engine import handoff, preflight
from interngv.engine.checkpoints.latest import latest_checkpoint
from interngv.engine.checkpoints.loading import require_some, require_state, require_whole, safe_loading
from interngv.engine.checkpoints.lock import work_dir_lock
from interngv.engine.checkpoints.runner import KeepsCheckpoints
from interngv.engine.checkpoints.signals import Interrupted, interruption
from interngv.engine.command import run_tool
from interngv.engine.config import check_config, load_config
from interngv.engine.distributed import fit_to_cpu, place, processes, unwrapped
from interngv.engine.dry_run import Shape, meta_model, report
from interngv.engine.lineage import LineageHook, origin
from interngv.engine.low_precision import operators_in_float32, predictions_in_float32
from interngv.engine.optim_wrapper import amp_dtype
from interngv.engine.pictures import NamesPictures
from interngv.engine.speed import keep_freed_memory, prefer_fused_optimizer
from interngv.engine.strategies import Shards, is_of_mmengine, train_by_mmengine
from interngv.errors import UserError

_TRAIN = ("train_dataloader", "val_dataloader")
_TEST = ("test_dataloader",)


def train(
    config: str,
    *,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    launcher: str = "none",
    options: Mapping[str, Any] | None = None,
    seed: int | None = None,
    upstream: str | None = None,
    with_upstream: bool = False,
    dry_run: bool = False,
    shape: Shape | None = None,
) -> bool:
    """Train a config, or print what it would do.

    A run that torchrun or SLURM has started again goes on from the work dir's last checkpoint. Asked to stop by a
    signal (SIGTERM, SIGUSR1, SIGINT), a run finishes its step, saves, says so and ends well.

    Args:
        config: path or name of a config.
        work_dir: where logs and checkpoints go; the config's own, else ``work_dirs/NAME``, where left out.
        resume: ``'auto'`` for the work dir's last checkpoint, or a checkpoint file.
        amp: mixed precision, see :class:`interngv.engine.AmpOptimWrapper`.
        launcher: ``none``, ``pytorch`` (torchrun), ``slurm`` or ``mpi``.
        options: dotted keys that override the config.
        seed: replaces the config's ``randomness.seed``.
        upstream: checkpoint to start from, in place of what the config's ``upstream`` means.
        with_upstream: first train the stages that this config starts from, as far as they are not done.
        dry_run: print the plan; train nothing, write nothing.
        shape: channels, height and width for the dry run's count of multiply-adds.

    Returns:
        Whether the end was reached; False where the run was asked to stop before.

    Raises:
        UserError, ConfigError: something given is wrong; nothing was written.
    """
    rank, world = place(launcher)
    cfg = _config(config, options, work_dir, launcher)
    _require(cfg, ("train_dataloader", "train_cfg", "optim_wrapper"), config, "trains")
    if seed is not None:
        cfg.randomness = {**(cfg.get("randomness") or {}), "seed": seed}
    if amp:
        _train_in_mixed_precision(cfg)
    if with_upstream and not dry_run:
        _train_stages(handoff.chain(cfg), launcher)
    _look(cfg, _TRAIN, dry_run)
    model = _model(cfg, world)
    if _was_restarted() and (resume is None or latest_checkpoint(cfg.work_dir)):
        resume = "auto"
    own_work_dir = work_dir_lock(cfg.work_dir) if rank == 0 else nullcontext()
    if is_of_mmengine(cfg) and not dry_run:
        with own_work_dir, processes(launcher, _dist_cfg(cfg)), safe_loading():
            train_by_mmengine(cfg, resume)
        return True
    _save_safely(cfg)
    lines, ready = _check_resume(cfg, resume, model)
    source = None if cfg.get("resume") else handoff.resolve(cfg, upstream)
    if source:
        lines.append(f"upstream: {source.path} ({source.how}): {handoff.check(model, source)}")
    elif not cfg.get("resume"):
        lines += _check_start(cfg, model, ready)
    _print(lines, rank)
    if dry_run:
        _print([*report(cfg, model, "train_dataloader", world, shape), f"checkpoints: {cfg.work_dir}"], rank)
        return True
    with own_work_dir, processes(launcher, _dist_cfg(cfg)), safe_loading(ready), interruption:
        return _train(cfg, world, rank, source)


def test(
    config: str,
    checkpoint: str,
    *,
    work_dir: str | None = None,
    amp: bool = False,
    launcher: str = "none",
    options: Mapping[str, Any] | None = None,
    out: str | None = None,
    dry_run: bool = False,
    shape: Shape | None = None,
) -> dict[str, float]:
    """Measure a checkpoint on a config's test set and return the metrics; arguments as in :func:`train`.

    Args:
        checkpoint: file of a model trained with this config; it must hold a value for every tensor of the model.
        out: JSON file for the metrics; written whole or not at all.

    Raises:
        UserError, ConfigError: something given is wrong; nothing was written.
    """
    rank, world = place(launcher)
    cfg = _config(config, options, work_dir, launcher)
    _require(cfg, ("test_dataloader", "test_cfg", "test_evaluator"), config, "tests")
    cfg.load_from, cfg.resume = checkpoint, False
    if amp:
        cfg.test_cfg.fp16 = True
    if out and not dry_run:
        _check_out(out)
    _look(cfg, _TEST, dry_run)
    model = _model(cfg, world)
    ready = {checkpoint: read_checkpoint(checkpoint)}
    found = require_whole(model, ready[checkpoint], checkpoint)
    if dry_run:
        _print([*report(cfg, model, "test_dataloader", world, shape), f"checkpoint: {checkpoint} ({found})"], rank)
        return {}
    with processes(launcher, _dist_cfg(cfg)), safe_loading(ready):
        metrics = _test(_without_training(cfg), world)
    if out and rank == 0:
        _write_json(Path(out), metrics)
    return metrics


# In functions of their own: when `processes` ends, the runner is gone.


def _train(cfg: Config, world: int, rank: int, upstream: handoff.Upstream | None) -> bool:
    runner = build_runner(cfg, world)
    runner.upstream = upstream
    runner.register_hook(LineageHook(_parents(cfg, upstream)))
    try:
        runner.train()
    except Interrupted as word:
        _print([str(word)], rank)
        if rank == 0 and (mark := os.environ.get("INTERNGV_STOPPED")):  # of tools/slurm_train.sh
            Path(mark).touch()
        return False
    return True


def _test(cfg: Config, world: int) -> dict[str, float]:
    runner = build_runner(cfg, world)
    if _amp_dtype(cfg) == torch.bfloat16:
        predictions_in_float32(runner.model)
    return {name: _plain(value) for name, value in runner.test().items()}


def _config(config: str, options: Mapping[str, Any] | None, work_dir: str | None, launcher: str) -> Config:
    cfg = load_config(config, dict(options or {}))
    check_config(cfg)
    cfg.launcher = launcher
    cfg.work_dir = os.path.abspath(os.path.expanduser(work_dir or handoff.work_dir(cfg)))
    init_default_scope(cfg.get("default_scope") or "mmengine")
    return cfg


def _require(cfg: Config, keys: tuple[str, ...], name: str, verb: str) -> None:
    missing = [key for key in ("model", *keys) if cfg.get(key) is None]
    if missing:
        raise UserError(f"config {name} lacks {', '.join(missing)}: a config that {verb} defines them")


def _look(cfg: Config, splits: tuple[str, ...], dry_run: bool) -> None:
    preflight.check_sizes(cfg, splits)
    if dry_run:
        return
    preflight.check_writable(cfg.work_dir, "work dir")
    preflight.check_data(cfg, splits)


def _amp_dtype(cfg: Config) -> torch.dtype | None:
    """The number format of the run's autocast, None where it computes in float32."""
    wrapper = cfg.get("optim_wrapper") or {}
    if wrapper.get("type") == "interngv.AmpOptimWrapper":
        return amp_dtype(wrapper.get("dtype"))
    return amp_dtype(None) if (cfg.get("test_cfg") or {}).get("fp16") else None


def _train_in_mixed_precision(cfg: Config) -> None:
    wrapper = cfg.optim_wrapper
    kind = wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper", "interngv.AmpOptimWrapper"):
        raise UserError(f"--amp replaces optim_wrapper.type 'OptimWrapper', this config has {kind!r}; leave --amp out")
    amp_dtype(wrapper.get("dtype"))
    wrapper["type"] = "interngv.AmpOptimWrapper"


def _save_safely(cfg: Config) -> None:
    """Take :class:`~interngv.engine.checkpoints.CheckpointHook` where a host's config has, or implies, mmengine's."""
    hooks = cfg.get("default_hooks") or {}
    hook = hooks.get("checkpoint", dict(type="CheckpointHook", interval=1))
    if hook and hook.get("type") in ("CheckpointHook", "mmengine.CheckpointHook"):
        cfg.default_hooks = {**hooks, "checkpoint": {**hook, "type": "interngv.CheckpointHook"}}


def _model(cfg: Config, world: int) -> nn.Module:
    model = meta_model(cfg)
    preflight.check_batch_norm(model, world, get_device())
    return model


def _parents(cfg: Config, upstream: handoff.Upstream | None) -> list[dict[str, Any]]:
    """What a run that is not resumed starts from, for its lineage."""
    if upstream:
        return [origin(upstream.path, upstream.licence)]
    return [origin(cfg.load_from)] if cfg.get("load_from") and not cfg.get("resume") else []


def _train_stages(stages: list[Path], launcher: str) -> None:
    """Train configs one after the other, each in a process of its own: mmengine keeps state in its process."""
    if stages and launcher != "none":
        names = ", ".join(map(str, stages))
        raise UserError(f"--with-upstream goes with --launcher none; train first, with this launcher: {names}")
    for stage in stages:
        print(f"upstream stage: {stage}", flush=True)
        process = multiprocessing.get_context("spawn").Process(target=_train_stage, args=(str(stage),))
        process.start()
        process.join()
        if process.exitcode:
            raise UserError(f"upstream stage {stage} ended with status {process.exitcode}: see its output above")


def _train_stage(config: str) -> None:
    def run() -> None:
        if not train(config, resume="auto"):
            raise UserError("stopped before its end; the same command goes on with it")

    raise SystemExit(run_tool(run))


def _was_restarted() -> bool:
    """Whether torchrun or SLURM has started this run before."""
    return any(int(os.environ.get(f"{who}_RESTART_COUNT") or 0) for who in ("TORCHELASTIC", "SLURM"))


def _check_resume(cfg: Config, resume: str | None, model: nn.Module) -> tuple[list[str], dict[str, dict]]:
    """Settle what the run goes on from and see that it fits the model.

    Returns the lines that say so, and the checkpoint that was read, by its file's name.
    """
    if resume is None and not cfg.get("resume"):
        return [], {}
    lines: list[str] = []
    given = {None: cfg.get("load_from"), "auto": None}.get(resume, resume)
    file = given or latest_checkpoint(cfg.work_dir, lines.append)
    cfg.resume = file is not None
    if file is None:
        return [*lines, f"nothing to resume: no checkpoint in {cfg.work_dir}; training starts from the beginning"], {}
    cfg.load_from = str(file)
    checkpoint = read_checkpoint(file)
    require_state(checkpoint, file)
    randomness = cfg.get("randomness") or {}
    if randomness.get("seed") is None:  # samplers are built with it before the runner takes it over
        cfg.randomness = {**randomness, "seed": checkpoint["meta"].get("seed")}
    found = require_whole(model, checkpoint, file)
    return [*lines, f"resuming from {file}: {found}"], {str(file): checkpoint}


def _check_start(cfg: Config, model: nn.Module, ready: dict[str, dict]) -> list[str]:
    """See that ``load_from`` fits the model; what was read is added to ``ready``."""
    path = cfg.get("load_from")
    if not path:
        return []
    if "://" in path:
        return [f"starting from {path}: fetched when the run begins"]
    ready[path] = read_checkpoint(path)
    return [f"starting from {path}: {require_some(model, ready[path], path)}"]


class _TakesUpstream:
    """Mix-in for mmengine's runners: a run that is not resumed takes its upstream's weights after initialisation."""

    upstream: handoff.Upstream | None = None

    def load_or_resume(self) -> None:
        super().load_or_resume()  # type: ignore[misc]
        if self.upstream and not self._resume:  # type: ignore[attr-defined]
            handoff.load(self.model, self.upstream)  # type: ignore[attr-defined]
            # EMAHook takes the weights for its copy from here.
            state = unwrapped(self.model).state_dict()  # type: ignore[attr-defined]
            self.call_hook("after_load_checkpoint", checkpoint={"state_dict": state})  # type: ignore[attr-defined]


def build_runner(cfg: Config, world: int) -> Any:
    """The config's runner, with interngv's checkpoints, hand-off and naming of pictures."""
    if world > 1 and "tasks" in cfg.model:
        cfg.setdefault("find_unused_parameters", True)  # those of the tasks that a step has not
    if get_device() == "cpu":
        keep_freed_memory()
        if world > 1 and not cfg.get("strategy"):
            fit_to_cpu(cfg)
    prefer_fused_optimizer(cfg)
    if _amp_dtype(cfg) == torch.bfloat16:
        operators_in_float32()
    base: Any = RUNNERS.get(cfg.get("runner_type", "Runner")) or Runner
    runner: Any = type(base.__name__, (NamesPictures, _TakesUpstream, KeepsCheckpoints, Shards, base), {})
    return runner.from_cfg(cfg)


def _without_training(cfg: Config) -> Config:
    """A copy that a test builds: without data, optimizer and schedule of training, which may not be on this machine."""
    cfg = cfg.copy()
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        cfg[key] = None
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    if is_of_mmengine(cfg):
        cfg.strategy = None
    return cfg


def _dist_cfg(cfg: Config) -> Mapping:
    return (cfg.get("env_cfg") or {}).get("dist_cfg") or {}


def _check_out(out: str) -> None:
    preflight.check_writable(Path(out).expanduser().absolute().parent, "folder of --out")
    if Path(out).is_dir():
        raise UserError(f"--out {out} is a folder; give a file such as {Path(out) / 'metrics.json'}")


def _write_json(path: Path, metrics: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as file:
        file.write(f"{json.dumps(metrics, indent=2)}\n".encode())


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _print(lines: list[str], rank: int) -> None:
    if rank == 0 and lines:
        print("\n".join(lines), flush=True)
