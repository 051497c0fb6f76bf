"""Faults in training: gradients that are not finite, loss spikes, poisoned statistics, dead processes."""

import inspect
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.distributed import DistError

from interngv.errors import UserError, did_you_mean

# What gloo, NCCL and torch's store say when another process is gone; there is no common type.
_PEER_GONE = ("by peer", "Connection refused", "Broken pipe", "remote process exited", "Socket Timeout", "Timed out")


class SpikeMonitor:
    """Says whether a loss stands out from its source's last ones: a robust z-score above a threshold.

    The score is (loss - median) / s, where s is 1.4826 MAD, the standard deviation of normal noise, and at least 1 % of
    the median. All losses enter the window, also those that stand out, so that a lasting change of level is accepted
    once half the window has seen it. There is no judgement before half of the window is filled.

    Over 10 000 steps of a falling loss, the mean of 20 runs, there are no false alarms with normal noise of 5 or 20 %,
    0.05 with log-normal noise of 0.3, 0.25 with Student's noise (5 degrees of freedom, 10 %), 2.2 with log-normal noise
    of 0.5; a loss of ten times its level is always found at once.

    Args:
        window: losses that are remembered of each source.
        threshold: score above which a loss is a spike.

    Raises:
        UserError: a window below 8 or a threshold that is not positive.
    """

    def __init__(self, window: int = 200, threshold: float = 10.0) -> None:
        if window < 8 or threshold <= 0:
            raise UserError(f"guard.spike: window={window}, threshold={threshold}; expected 8 or more, and above 0")
        self._window, self._threshold = window, threshold
        self._losses: dict[str, deque[float]] = {}

    def stands_out(self, source: str, loss: float) -> bool:
        """Judge a finite loss and remember it."""
        losses = self._losses.setdefault(source, deque(maxlen=self._window))
        is_spike = 2 * len(losses) >= self._window and self._score(np.array(losses), loss) > self._threshold
        losses.append(loss)
        return is_spike

    @staticmethod
    def _score(losses: np.ndarray, loss: float) -> float:
        median = float(np.median(losses))
        spread = max(1.4826 * float(np.median(np.abs(losses - median))), 0.01 * abs(median))
        return (loss - median) / spread if spread else 0.0

    def state_dict(self) -> dict[str, list[float]]:
        """The remembered losses by source."""
        return {source: list(losses) for source, losses in self._losses.items()}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        """Remember these losses instead."""
        self._losses = {source: deque(losses, maxlen=self._window) for source, losses in state.items()}


class Guard:
    """Decides which gradients count, and when training goes back to its last checkpoint.

    A gradient is left out where it or its loss is not finite, or where its loss is a spike. After ``max_skipped`` in a
    row of one source training goes back, and its data go on behind those that did the harm.

    Args:
        max_skipped: gradients of one source left out in a row that make training go back.
        max_rollbacks: how often it may go back without coming further than the step that it went back from.
        spike: arguments of :class:`SpikeMonitor` and ``action``: ``'skip'`` leaves the gradient out (the default),
            ``'roll_back'`` goes back at once. None: losses are not watched.

    Attributes:
        skipped: gradients left out so far, by source.
        culprit: the source for which training has to go back, None where it goes on.

    Raises:
        UserError: a number below 1 or an unknown action.
    """

    def __init__(self, max_skipped: int = 10, max_rollbacks: int = 3, spike: dict[str, Any] | None = None) -> None:
        if max_skipped < 1 or max_rollbacks < 1:
            raise UserError(f"guard: max_skipped={max_skipped}, max_rollbacks={max_rollbacks}; expected 1 or more")
        given = dict(spike or {})
        action = given.pop("action", "skip")
        if action not in ("skip", "roll_back"):
            raise UserError(f"guard.spike.action {action!r} is not known; expected 'skip' or 'roll_back'")
        _check_options("guard.spike", given, SpikeMonitor)
        self._max_skipped, self._max_rollbacks = max_skipped, max_rollbacks
        self._spikes = None if spike is None else SpikeMonitor(**given)
        self._goes_back_at_once = action == "roll_back"
        self.skipped: Counter[str] = Counter()
        self.culprit: str | None = None
        self._rows: dict[str, tuple[int, int]] = {}  # first step and length of the faults in a row, by source
        self._rollbacks, self._furthest = 0, -1

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> "Guard":
        """Build from ``train_cfg.guard``; an unknown option is a UserError."""
        _check_options("guard", config or {}, cls)
        return cls(**(config or {}))

    def judge(self, source: str, loss: float, is_finite: bool, step: int) -> str | None:
        """Why a gradient is left out (``'non-finite'``, ``'spike'``), None where it counts.

        Args:
            source: whose loss and gradient these are.
            loss: its value, not used where something is not finite.
            is_finite: whether loss and gradient are.
            step: the training step.
        """
        fault = None if is_finite else "non-finite"
        if is_finite and self._spikes and self._spikes.stands_out(source, loss):
            fault = "spike"
        if fault is None:
            self._rows.pop(source, None)
            return None
        first, length = self._rows.get(source, (step, 0))
        self._rows[source] = first, length + 1
        self.skipped[source] += 1
        if length + 1 >= self._max_skipped or (fault == "spike" and self._goes_back_at_once):
            self.culprit = self.culprit or source
        return fault

    @property
    def sound_until(self) -> int:
        """The first step of the culprit's faults: what was saved later may be spoilt."""
        return self._rows[self.culprit][0] if self.culprit else -1

    def allow_rollback(self, iteration: int) -> None:
        """Count a return from an iteration.

        Raises:
            UserError: it is one too many.
        """
        self._rollbacks = 1 if iteration > self._furthest else self._rollbacks + 1
        self._furthest = max(self._furthest, iteration)
        if self._rollbacks > self._max_rollbacks:
            raise UserError(
                f"source '{self.culprit}': training does not get past iteration {self._furthest}, it went back "
                f"{self._max_rollbacks} times; look at the data and the loss, or lower the learning rate"
            )

    def after_rollback(self, state: dict[str, Any]) -> None:
        """Take the losses that a checkpoint remembers; what was counted since stays counted."""
        if self._spikes and state.get("losses") is not None:
            self._spikes.load_state_dict(state["losses"])
        self.culprit = None
        self._rows.clear()

    def state_dict(self) -> dict[str, Any]:
        """All counters and the remembered losses, in plain numbers."""
        return dict(
            skipped=dict(self.skipped),
            rows={source: list(row) for source, row in self._rows.items()},
            rollbacks=self._rollbacks,
            furthest=self._furthest,
            losses=self._spikes.state_dict() if self._spikes else None,
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.after_rollback(state)
        self.skipped = Counter(state["skipped"])
        self._rows = {source: (first, length) for source, (first, length) in state["rows"].items()}
        self._rollbacks, self._furthest = state["rollbacks"], state["furthest"]


def _check_options(where: str, given: Mapping[str, Any], owner: type) -> None:
    known = inspect.signature(owner).parameters
    for name in given:
        if name not in known:
            raise UserError(f"{where} has no option '{name}'{did_you_mean(name, known)}")


class Statistics:
    """What forward passes in training change in a model's buffers, so that the last one can be undone.

    A copy of every buffer is kept and renewed where the buffer changed. Kernels write batch-norm statistics without
    raising a tensor's version; everything else (counters, queues) raises it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._buffers = [_Buffer(module, name) for module in model.modules() for name in module._buffers]

    def keep(self) -> None:
        """Remember the buffers as they are now."""
        changed = [one for one in self._buffers if one.may_have_changed()]
        for one in changed:
            one.follow()
        _copy([(one.copy, one.tensor) for one in changed])

    def put_back(self) -> None:
        """Make the buffers what they were at the last :meth:`keep`."""
        changed = [one for one in self._buffers if one.may_have_changed()]
        for one in changed:
            one.module._buffers[one.name] = one.tensor
        _copy([(one.tensor, one.copy) for one in changed])
        for one in changed:
            one.follow()


class _Buffer:
    """A buffer's place in a module, the tensor that was there when it was copied, and the copy."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module, self.name = module, name
        self.tensor: Tensor | None = None
        self.copy: Tensor | None = None
        self._version = 0
        self._is_statistic = name.startswith("running_")

    def may_have_changed(self) -> bool:
        """Whether it has to be copied again."""
        now = self.module._buffers[self.name]
        if now is None or now is not self.tensor:
            return now is not self.tensor
        return now._version != self._version or (self._is_statistic and self.module.training)

    def follow(self) -> None:
        """Take the module's present tensor for the one that the copy is of."""
        self.tensor = self.module._buffers[self.name]
        if self.tensor is None:
            return
        self._version = self.tensor._version
        if self.copy is None or (self.copy.shape, self.copy.dtype) != (self.tensor.shape, self.tensor.dtype):
            self.copy = torch.empty_like(self.tensor)


def _copy(pairs: list[tuple[Tensor | None, Tensor | None]]) -> None:
    there = [(to, what) for to, what in pairs if to is not None and what is not None]
    if there:
        to, what = zip(*there, strict=True)
        torch._foreach_copy_(to, what)


@contextmanager
def naming_dead_peers() -> Iterator[None]:
    """Turn the many errors of a broken exchange into one that says where to look.

    Raises:
        UserError: another process of this run is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if get_world_size() == 1 or not (
            isinstance(error, DistError) or any(sign in str(error) for sign in _PEER_GONE)
        ):
            raise
        raise UserError("another process of this run ended: see its output above") from error
