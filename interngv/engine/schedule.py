"""A config's schedule and batch, in words and numbers, for the dry run."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

# The settings that shape a schedule, of all of mmengine's.
_SHOWN = ("start_factor", "end_factor", "eta_min", "eta_min_ratio", "gamma", "milestones", "power", "step_size")


def batch_lines(loader: Mapping, world: int, accumulative_counts: int = 1) -> list[str]:
    """Number of processes, pictures a process and step, and pictures an optimizer step."""
    per_rank = _per_rank(loader)
    if per_rank is None:
        return [f"world size: {world}", "per-rank batch: set by a batch sampler"]
    total = per_rank * world * accumulative_counts
    words = f"{per_rank} x {world} processes" + (f" x {accumulative_counts} steps" if accumulative_counts > 1 else "")
    return [f"world size: {world}", f"per-rank batch: {per_rank}", f"total batch: {total} ({words})"]


def schedule_lines(cfg: Config, world: int, samples: int | None) -> list[str]:
    """Length of training, learning rate and steps; ``samples`` is the training set's size where the data is there."""
    train = cfg.train_cfg
    checks = "no validation" if cfg.get("val_cfg") is None else "validation every {}"
    iterations = train.get("max_iters")
    if iterations is not None:
        length = f"{iterations} iterations, {checks.format(train.get('val_interval', 1000))}"
        steps = str(iterations)
    else:
        epochs = train.get("max_epochs")
        length = f"{epochs} epochs, {checks.format(train.get('val_interval', 1))}"
        each = _steps_an_epoch(cfg.train_dataloader, world, samples)
        steps = f"{each * epochs} ({each} an epoch of {samples} samples)" if each else "unknown (no training data here)"
    optimizer = cfg.optim_wrapper.get("optimizer", {})
    rate = f"{optimizer.get('type')} at lr {optimizer.get('lr')}; {scheduler_words(cfg.get('param_scheduler'))}"
    return [f"schedule: {length}", f"learning rate: {rate}", f"steps: {steps}"]


def scheduler_words(schedulers: Any) -> str:
    """One phrase a scheduler: its type, the numbers that shape it, and from where to where it acts."""
    if not schedulers:
        return "constant"
    several = [schedulers] if isinstance(schedulers, Mapping) else schedulers
    return "; ".join(_phrase(one) for one in several)


def _phrase(scheduler: Mapping) -> str:
    unit = "epoch" if scheduler.get("by_epoch", True) else "iteration"
    numbers = ", ".join(f"{key} {scheduler[key]}" for key in _SHOWN if key in scheduler)
    end = scheduler.get("end", scheduler.get("T_max"))
    span = f"from {unit} {scheduler.get('begin', 0)} to {'the end' if end is None else end}"
    return f"{scheduler['type']}{f' ({numbers})' if numbers else ''} {span}"


def _per_rank(loader: Mapping) -> int | None:
    if loader.get("batch_size") is not None:
        return loader["batch_size"]
    return (loader.get("batch_sampler") or {}).get("batch_size")


def _steps_an_epoch(loader: Mapping, world: int, samples: int | None) -> int | None:
    per_rank = _per_rank(loader)
    if samples is None or per_rank is None:
        return None
    mine = -(-samples // world)
    return mine // per_rank if loader.get("drop_last") else -(-mine // per_rank)
