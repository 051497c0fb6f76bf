"""The training loop over several data sets and tasks."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import barrier
from mmengine.optim import OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, LogProcessor
from torch import nn

from interngv.engine.checkpoints.latest import latest_checkpoint
from interngv.engine.multi_task.checks import check_runner, check_tasks
from interngv.engine.multi_task.faults import Guard, naming_dead_peers
from interngv.engine.multi_task.loader import MetaBatch, MetaDataLoader
from interngv.engine.multi_task.logs import CONFLICT, TaskLogProcessor, remember_little
from interngv.engine.multi_task.step import StepReport, TaskStep
from interngv.errors import UserError
from interngv.registry import LOOPS


@LOOPS.register_module()
class MetaTrainLoop(IterBasedTrainLoop):
    """Training over several data sets and tasks, step by step, as ``train_cfg=dict(type='interngv.MetaTrainLoop')``.

    A step gives what a :class:`~interngv.engine.multi_task.MetaDataLoader` yields to a
    :class:`~interngv.engine.multi_task.step.TaskStep`; hooks are called as by ``IterBasedTrainLoop`` and get a
    ``MetaBatch``. Logged by source, as ``SOURCE/NAME``, and in the text in one row each: loss and its terms, gradient
    norm on the trunk, samples and epochs seen, seconds that the step waited for data, gradients left out, unreadable
    samples.

    Gradients that are not finite and loss spikes are left out, see :class:`~interngv.engine.multi_task.faults.Guard`.
    Where too many are, everything but the position in the data goes back to the last checkpoint from before them.

    The state, which belongs into a checkpoint, is the loader's, the guard's, and what was counted. A run that goes on
    from a checkpoint that was saved before a validation begins with it.

    Args:
        runner: mmengine's, or one like it.
        dataloader: a :class:`~interngv.engine.multi_task.MetaDataLoader` or its config; it gets the runner's seed.
        max_iters: number of steps.
        val_begin, val_interval, dynamic_intervals: as in ``IterBasedTrainLoop``, in steps.
        clip, conflict_every, norm_every: see :class:`~interngv.engine.multi_task.step.TaskStep`.
        guard: arguments of :class:`~interngv.engine.multi_task.faults.Guard`.

    Raises:
        UserError: another loader, a task that the model or the loader lacks, a wrapper that cannot train several tasks;
            later, a fault that going back does not cure, a dead worker or another process that died.
    """

    dataloader: MetaDataLoader

    def __init__(
        self,
        runner: Any,
        dataloader: MetaDataLoader | Mapping[str, Any],
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        clip: Mapping[str, Any] | None = None,
        conflict_every: int = 0,
        norm_every: int = 10,
        guard: Mapping[str, Any] | None = None,
    ) -> None:
        loader = dataloader if isinstance(dataloader, MetaDataLoader) else _build_loader(dataloader, _seed(runner))
        super().__init__(runner, loader, max_iters, val_begin, val_interval, dynamic_intervals)
        self._config = dataloader
        loader.length = self._max_iters
        check_tasks(runner.model, loader, clip or {})
        check_runner(runner, loader)
        self._guard = Guard.from_config(guard)
        rank_tasks = loader.tasks if loader.schedule == "rank" else None
        self._step = TaskStep(clip, conflict_every, self._guard, rank_tasks, norm_every)
        self._sizes = {name: len(dataset) for name, dataset in loader.sources.items()}
        self._samples: Counter[str] = Counter()
        self._unreadable: Counter[str] = Counter()
        self._waited = 0.0
        self._has_position = False
        if type(runner.log_processor) is LogProcessor:
            runner.log_processor = TaskLogProcessor.like(runner.log_processor, self._sizes)

    def run(self) -> nn.Module:
        """Train."""
        if isinstance(self.runner.optim_wrapper, OptimWrapperDict):
            raise UserError("a MetaTrainLoop takes one optimizer; use paramwise_cfg for rates of their own")
        if self._iter and not self._has_position:
            self.runner.logger.warning("the checkpoint has no position in the data: all sources begin anew")
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        with naming_dead_peers():
            self._validate_where_due()
            self._train()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _train(self) -> None:
        batches = iter(self.dataloader)
        self.runner.model.train()  # also where it says it is: norm_eval and the like take effect here
        while self._iter < self._max_iters and not self.stop_training:
            if not self.runner.model.training:  # the walk over all modules takes about a millisecond
                self.runner.model.train()
            with self.dataloader.naming_dead_workers():
                start = time.perf_counter()
                batch = next(batches)
                self._waited = time.perf_counter() - start
                self.run_iter(batch)
            if self._guard.culprit is None:
                self._validate_where_due()
            else:
                self._roll_back(self._guard.culprit)
                batches = iter(self.dataloader)

    def run_iter(self, data_batch: MetaBatch) -> None:
        """Train on one step's batches."""
        runner = self.runner
        runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        report = self._step.step(runner.model, data_batch.parts, runner.optim_wrapper)
        self._warn(data_batch, report)
        outputs = self._outputs(report)
        runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=outputs)
        self._iter += 1

    def _validate_where_due(self) -> None:
        self._decide_current_val_interval()
        is_due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        if self.runner.val_loop is not None and is_due and self._iter >= max(self.val_begin, 1):
            self.runner.val_loop.run()

    def _outputs(self, report: StepReport) -> dict[str, Any]:
        """What the hooks get, and through them the logs."""
        outputs: dict[str, Any] = {} if report.loss is None else {"loss": torch.tensor(report.loss)}
        for name, one in report.sources.items():
            self._samples[name] += one.size
            self._unreadable[name] += one.unreadable
            found = {"loss": one.loss, "grad_norm": one.grad_norm, **one.terms} if one.skipped is None else {}
            row: dict[str, float | None] = found | {
                "samples": self._samples[name],
                "epochs": self._samples[name] / self._sizes[name],
                "data_time": self._waited,
                "skipped": self._guard.skipped[name],
                "unreadable": self._unreadable[name],
            }
            outputs |= {f"{name}/{key}": value for key, value in row.items() if value is not None}
        outputs |= {f"{CONFLICT}/{pair}": value for pair, value in report.conflicts.items()}
        remember_little(self.runner.message_hub, (name for name in outputs if "/" in name))
        return outputs

    def _warn(self, batch: MetaBatch, report: StepReport) -> None:
        for name, part in batch.parts.items():
            for fault in part.unreadable:
                self.runner.logger.warning(f"source '{name}': {fault}; another sample is in its place")
        for name, one in report.sources.items():
            if one.skipped not in (None, "overflow"):
                self.runner.logger.warning(
                    f"step {self._iter + 1}: the gradient of source '{name}' is left out ({one.skipped}, "
                    f"loss {one.loss:.4g}), {self._guard.skipped[name]} so far"
                )

    def _roll_back(self, culprit: str) -> None:
        """Make everything but the position in the data, and what was counted, what the last sound checkpoint holds."""
        runner, failed = self.runner, self._iter
        self._guard.allow_rollback(failed)
        barrier()  # the first process may still be removing checkpoints
        say, folder = runner.logger.warning, runner.work_dir
        path = latest_checkpoint(folder, say, until=self._guard.sound_until) or latest_checkpoint(folder, say)
        if path is None:
            raise UserError(
                f"source '{culprit}': its gradients were left out too often, last at step {failed}, and there is no "
                "checkpoint to go back to; look at its data and loss, or lower the learning rate"
            )
        counted = self.state_dict()
        runner.resume(str(path))
        remembered = self._guard.state_dict()
        self.load_state_dict(counted)
        self._guard.after_rollback(remembered)
        runner.optim_wrapper.zero_grad()
        runner.optim_wrapper.initialize_count_status(runner.model, self._iter, self._max_iters)
        say(
            f"source '{culprit}': too many gradients were left out; training went back from step {failed} to step "
            f"{self._iter} ({path}), its data go on behind those of step {failed}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Position in the data, counters and the guard's memory, in plain values."""
        return {
            "loader": self.dataloader.state_dict(),
            "guard": self._guard.state_dict(),
            "samples": dict(self._samples),
            "unreadable": dict(self._unreadable),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            UserError: the data are not those of the state, see ``MetaDataLoader.load_state_dict``.
        """
        self._take_seed()
        self.dataloader.load_state_dict(state["loader"])
        self._guard.load_state_dict(state["guard"])
        self._samples, self._unreadable = Counter(state["samples"]), Counter(state["unreadable"])
        self._has_position = True

    def _take_seed(self) -> None:
        """Build the loader anew where the runner has taken over a checkpoint's seed."""
        seed = _seed(self.runner)
        if isinstance(self._config, Mapping) and seed != self.dataloader.state_dict()["seed"]:
            self.dataloader = _build_loader(self._config, seed)
            self.dataloader.length = self._max_iters


def _build_loader(config: Mapping[str, Any], seed: int) -> MetaDataLoader:
    given = dict(config)
    kind = given.pop("type", None)
    if kind not in ("MetaDataLoader", "interngv.MetaDataLoader", MetaDataLoader):
        raise UserError(
            f"train_dataloader.type is {kind!r}: a MetaTrainLoop takes "
            "dict(type='interngv.MetaDataLoader', sources=dict(NAME=dict(dataset=..., batch_size=...)))"
        )
    return MetaDataLoader(**given, seed=seed)


def _seed(runner: Any) -> int:
    """The seed that all processes share: mmengine adds the rank where each is to have its own."""
    return runner.seed - (runner.rank if runner._randomness_cfg.get("diff_rank_seed") else 0)
