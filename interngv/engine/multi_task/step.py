"""One training step of several tasks: a backward for each, looked at before it counts, and one optimizer step."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.amp import GradScaler

from interngv.engine.distributed import unwrapped
from interngv.engine.multi_task.faults import Guard, Statistics
from interngv.engine.multi_task.gradients import Conflicts, Gradients, Grads, added, scale
from interngv.engine.multi_task.loader import SourceBatch
from interngv.errors import UserError


@dataclass(frozen=True)
class TaskReport:
    """What a step found for one source.

    Attributes:
        task: the task that the source feeds.
        loss: its loss before the task's weight, mean of the processes that had it.
        grad_norm: L2 norm of the weighted loss's gradient on the trunk, before any clipping; None where not measured.
        size: samples, of all processes.
        unreadable: samples that could not be read and were replaced, of all processes.
        skipped: why the gradient was left out (``'non-finite'``, ``'spike'``, ``'overflow'``); None where it counted.
        terms: this process's loss terms and other variables, as the host names them; empty where it had no part.
    """

    task: str
    loss: float
    grad_norm: float | None
    size: int
    unreadable: int
    skipped: str | None
    terms: dict[str, float]


@dataclass
class StepReport:
    """What a step did.

    Attributes:
        sources: what was found, by source.
        loss: the weighted sum whose gradient was used; None where nothing counted.
        conflicts: cosine of the trunk gradients by pair of sources, where measured.
    """

    sources: dict[str, TaskReport] = field(default_factory=dict)
    loss: float | None = None
    conflicts: dict[str, float] = field(default_factory=dict)


class TaskStep:
    """Forward, backward, checks and clipping for every part of a step, then one step of the optimizer.

    Each part's gradient is computed on its own. A sound one is added to the others'; another is left out, together
    with what its forward pass did to batch-norm statistics. All processes decide alike, after one small exchange of
    numbers a part. With one sound part the result is bitwise that of the model's own ``train_step``.

    Over several processes the parts' gradients are averaged by DDP in each backward pass, also where the optimizer
    wrapper accumulates steps: what is checked and clipped is the whole batch's gradient.

    Args:
        clip: ``dict(max_norm=1.0)`` limits the norm of every part's whole gradient, ``dict(TASK=dict(max_norm=1.0))``
            that of some tasks. The optimizer wrapper's ``clip_grad`` then limits the sum.
        conflict_every: every so many steps the cosines between the sources' gradients on the trunk are measured:
            among those of the step, or, where a step has one part, against the last gradient of every other source,
            for which a copy of each source's is kept (the size of the trunk).
        norm_every: of so many steps the first that draws a source measures its gradient's norm; where a clip limits it,
            every step does.
        guard: decides what is sound; one with its defaults where left out.
        rank_tasks: where every process has its own part (schedule ``'rank'``), the task of every source of the run.
            Gradients are then checked in their process and averaged after it, so that a fault stays with its source.

    Raises:
        UserError: a clip without a positive norm; a ``norm_every`` below 1; conflicts asked for where processes have
            different parts.
    """

    def __init__(
        self,
        clip: Mapping[str, Any] | None = None,
        conflict_every: int = 0,
        guard: Guard | None = None,
        rank_tasks: Mapping[str, str] | None = None,
        norm_every: int = 10,
    ) -> None:
        if norm_every < 1:
            raise UserError(f"norm_every={norm_every}: expected a number of steps, 1 or more")
        if conflict_every and rank_tasks:
            raise UserError("conflict_every compares gradients within a process; with schedule 'rank' each has one")
        self._max_norms = _max_norms(clip or {})
        self._conflicts = Conflicts(conflict_every)
        self._guard = guard or Guard()
        self._rank_tasks = rank_tasks
        self._norm_every = norm_every
        self._measured: dict[str, int] = {}  # the last stretch of norm_every steps in which a source's norm was
        self._model: Any = None
        self._overflowed = False

    def step(self, model: nn.Module, parts: Mapping[str, SourceBatch], optim_wrapper: OptimWrapper) -> StepReport:
        """Train on one batch of each given source.

        Args:
            model: a :class:`~interngv.engine.multi_task.MultiTaskModel`, or a host model for one task; as it is or
                wrapped for several processes.
            parts: the batches by source.
            optim_wrapper: the model's; the whole step is one of its iterations.
        """
        self._bind(model, optim_wrapper)
        step, is_alone = optim_wrapper.inner_count, len(parts) == 1
        total, report, stays = self._earlier(), StepReport(), False
        for name, part in parts.items():
            optim_wrapper._inner_count = step
            self._statistics.keep()
            loss, terms = self._backward(part)
            grads = self._gradients.there()
            is_faulty = self._gradients.faulty(grads)
            norms = self._measure(name, part.task, grads, step)
            self._judge(report, step, self._exchange(name, part, loss, is_faulty, norms, terms))
            skipped = report.sources[name].skipped
            if skipped is None:
                if norms is not None:
                    self._measured[name] = step // self._norm_every
                self._conflicts.note(self._gradients, name, grads, step, is_alone)
                total = grads if total is None else added(total, grads)
            elif skipped != "overflow":
                self._statistics.put_back()
            stays = is_alone and total is grads
            if not stays:
                self._gradients.clear()
        optim_wrapper._inner_count = step + 1
        self._update(total, stays)
        report.conflicts = self._conflicts.measured(self._gradients, step, is_alone)
        return report

    def _bind(self, model: nn.Module, optim_wrapper: OptimWrapper) -> None:
        """Find the model's parameters and buffers, the first time it is given."""
        if self._model is model:
            return
        self._model, self._optim_wrapper = model, optim_wrapper
        inner: Any = unwrapped(model)
        self._inner, self._hosts = inner, getattr(inner, "tasks", None)
        params = [param for group in optim_wrapper.optimizer.param_groups for param in group["params"]]
        trunk = getattr(inner, "trunk", getattr(inner, "backbone", inner))
        self._gradients, self._statistics = Gradients(params, trunk.parameters()), Statistics(inner)

    def _earlier(self) -> Grads | None:
        """The gradients of earlier steps, taken away, where the optimizer wrapper accumulates; else there are none."""
        if self._optim_wrapper._accumulative_counts == 1:
            return None
        grads = self._gradients.there()
        self._gradients.clear()
        return grads

    def _backward(self, part: SourceBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Write one part's gradient; returns its loss before the task's weight, and the host's other log variables."""
        host = self._inner if self._hosts is None else self._hosts[part.task]
        named = {} if self._hosts is None else {"task": part.task}
        # Given the inner model, the context leaves DDP's averaging on, also in steps that only accumulate.
        with self._optim_wrapper.optim_context(self._inner), self._apart():
            losses = _call(self._model, host.data_preprocessor(part.data, True), mode="loss", **named)
        loss, variables = host.parse_losses(losses)
        weight = self._weight(part.task)
        self._optim_wrapper.backward(self._optim_wrapper.scale_loss(loss if weight == 1 else loss * weight))
        return loss.detach(), {name: value for name, value in variables.items() if name != "loss"}

    def _apart(self) -> AbstractContextManager:
        """Where processes have parts of their own, DDP does not average."""
        return self._model.no_sync() if self._rank_tasks and hasattr(self._model, "no_sync") else nullcontext()

    def _weight(self, task: str) -> float:
        return 1.0 if self._hosts is None else self._inner.loss_weights[task]

    def _unit(self) -> Tensor:
        """() factor that the optimizer wrapper will put on the next gradient, for accumulation and for float16."""
        one = self._optim_wrapper.scale_loss(torch.ones((), device=self._gradients.device))
        scaler = getattr(self._optim_wrapper, "loss_scaler", None)
        return one if scaler is None else scaler.scale(one)

    def _measure(self, name: str, task: str, grads: Grads, step: int) -> Tensor | None:
        """(2,) norms of the gradient, whose whole is then limited; None where they are neither due nor needed."""
        max_norm = self._max_norms.get(task, self._max_norms.get(""))
        if max_norm is None and self._measured.get(name) == step // self._norm_every:
            return None
        self._optim_wrapper._inner_count = step  # the backward pass has counted it, and its scale is asked for
        norms = self._gradients.norms(grads) / self._unit()
        if max_norm is not None:
            scale(grads, (max_norm / (norms[1] + 1e-6)).clamp(max=1.0))
        return norms

    def _exchange(
        self,
        name: str,
        part: SourceBatch,
        loss: Tensor,
        is_faulty: Tensor,
        norms: Tensor | None,
        terms: Mapping[str, Tensor],
    ) -> list["_Found"]:
        """What the processes found together, for each source that any of them had."""
        norm = is_faulty.new_zeros(())
        if norms is not None:
            norm, is_faulty = norms[0].to(is_faulty), is_faulty.maximum(~norms[1].isfinite())
        found = torch.stack([loss.to(is_faulty), is_faulty, norm])
        counts = [float(norms is not None), float(part.size), float(len(part.unreadable)), 1.0]
        own = [value.detach().to(found).flatten() for value in terms.values()]
        if get_world_size() == 1:
            numbers = torch.cat([found, *own]).tolist()  # the one time that the host waits for the device
            sums = _Sums(*numbers[:3], *counts)
            return [_Found(name, part.task, sums, dict(zip(terms, numbers[3:], strict=True)))]
        tasks = self._rank_tasks or {name: part.task}
        table = found.new_zeros(len(tasks), len(_Sums._fields))
        table[list(tasks).index(name)] = torch.cat([found, found.new_tensor(counts)])
        all_reduce(table)
        numbers = torch.cat([table.flatten(), *own]).tolist()
        variables = dict(zip(terms, numbers[table.numel() :], strict=True))
        rows = [_Sums(*numbers[start : start + table.shape[1]]) for start in range(0, table.numel(), table.shape[1])]
        return [
            _Found(source, task, sums, variables if source == name else {})
            for (source, task), sums in zip(tasks.items(), rows, strict=True)
            if sums.processes
        ]

    def _judge(self, report: StepReport, step: int, found: list["_Found"]) -> None:
        """Add what was found, with the verdicts, to the report."""
        for source, task, sums, terms in found:
            loss = sums.loss / sums.processes
            norm = sums.grad_norm / sums.measured if sums.measured else None
            if sums.faults and math.isfinite(loss) and self._scale_is_too_high():
                skipped: str | None = "overflow"
                self._overflowed = True
            else:
                skipped = self._guard.judge(source, loss, not sums.faults and math.isfinite(loss), step)
            size, unreadable = int(sums.size), int(sums.unreadable)
            report.sources[source] = TaskReport(task, loss, norm, size, unreadable, skipped, terms)
            if skipped is None:
                share = sums.processes / get_world_size() if self._rank_tasks else 1.0
                report.loss = (report.loss or 0.0) + self._weight(task) * loss * share

    def _scale_is_too_high(self) -> bool:
        """Whether gradients that are not finite may be the doing of a loss scale that adapts."""
        scaler = getattr(self._optim_wrapper, "loss_scaler", None)
        if scaler is None or not scaler.is_enabled() or getattr(self._optim_wrapper, "_scale_update_param", None):
            return False
        return scaler.get_scale() > 1

    def _update(self, total: Grads | None, stays: bool) -> None:
        """Give the parameters the sum, where it does not stay in them; step where an accumulation is complete."""
        should_step = self._optim_wrapper.should_update()
        if self._rank_tasks and should_step:
            total, stays = self._gradients.mean_over_ranks(total), False
        if total is not None and not stays:
            self._gradients.put(total)
        if not should_step:
            return
        if total is not None and any(grad is not None for grad in total):
            self._optim_wrapper.step()
        if self._overflowed:
            _lower_scale(self._optim_wrapper.loss_scaler)
            self._overflowed = False
        self._optim_wrapper.zero_grad()


class _Sums(NamedTuple):
    """Sums over the processes that had a part of one source."""

    loss: float
    faults: float
    grad_norm: float
    measured: float  # processes that measured the norm
    size: float
    unreadable: float
    processes: float


class _Found(NamedTuple):
    """What the processes found for one source; ``terms`` are this process's own log variables."""

    source: str
    task: str
    sums: _Sums
    terms: dict[str, float]


def _max_norms(clip: Mapping[str, Any]) -> dict[str, float]:
    """The norm to which each task's gradient is limited; under the empty name, that of all tasks."""
    clips = {"": clip} if "max_norm" in clip else clip
    for name, one in clips.items():
        where = f"clip.{name}" if name else "clip"
        if not isinstance(one, Mapping) or set(one) != {"max_norm"} or not one["max_norm"] > 0:
            raise UserError(f"{where}={one!r}: expected dict(max_norm=NUMBER), above 0; or such a dict by task")
    return {name: float(one["max_norm"]) for name, one in clips.items()}


def _call(model: nn.Module, data: Any, **others: Any) -> Any:
    """Run a model on what a preprocessor gives."""
    return model(**data, **others) if isinstance(data, Mapping) else model(*data, **others)


def _lower_scale(scaler: GradScaler) -> None:
    """What the scaler does itself when a step of the optimizer meets gradients that are not finite."""
    state = scaler.state_dict()
    scaler.load_state_dict(state | {"scale": state["scale"] * state["backoff_factor"], "_growth_tracker": 0})
