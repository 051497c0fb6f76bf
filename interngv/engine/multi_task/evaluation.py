"""Validation and test on several data sets, each with its host's metrics."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import BaseLoop
from mmengine.runner.amp import autocast
from torch.utils.data import ConcatDataset, DataLoader

from interngv.engine.config.types import scope_of
from interngv.engine.distributed import unwrapped
from interngv.errors import UserError, did_you_mean
from interngv.registry import LOOPS

SCORE = "score"


@dataclass(frozen=True)
class DataSet:
    """A data set to measure on."""

    task: str
    loader: DataLoader
    evaluator: Evaluator

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.loader.dataset)  # type: ignore[arg-type]


class Loaders:
    """Several data loaders, as hooks see them: one after the other."""

    def __init__(self, loaders: Sequence[DataLoader]) -> None:
        self._loaders = loaders
        self.dataset: ConcatDataset = ConcatDataset([loader.dataset for loader in loaders])

    def __len__(self) -> int:
        return sum(map(len, self._loaders))


class _MetaLoop(BaseLoop):
    """What validation and test have in common; ``mode`` names their hooks."""

    mode: str

    def __init__(
        self,
        runner: Any,
        dataloader: Mapping[str, Mapping[str, Any]],
        evaluator: Mapping[str, Any],
        score: Mapping[str, float] | None = None,
        fp16: bool = False,
    ) -> None:
        _check_names(self.mode, dataloader, evaluator, score or {})
        self._sets = {name: _build(runner, name, dataloader[name], evaluator[name]) for name in dataloader}
        super().__init__(runner, Loaders([one.loader for one in self._sets.values()]))
        self._score, self._fp16 = dict(score or {}), fp16
        hosts: Any = getattr(unwrapped(runner.model), "tasks", None)
        for name, one in self._sets.items():
            if hosts is not None and one.task not in hosts:
                raise UserError(
                    f"{self.mode}_dataloader.{name} is of task '{one.task}'{did_you_mean(one.task, hosts) or ';'} "
                    f"the model's tasks are {', '.join(hosts)}"
                )

    @property
    def evaluator(self) -> dict[str, Evaluator]:
        """The data sets' evaluators by name."""
        return {name: one.evaluator for name, one in self._sets.items()}

    def run(self) -> dict[str, Any]:
        """Measure on every data set; returns the metrics, named ``SET/METRIC``, and the ``score`` where asked for."""
        runner = self.runner
        runner.call_hook(f"before_{self.mode}")
        runner.call_hook(f"before_{self.mode}_epoch")
        runner.model.eval()
        metrics: dict[str, Any] = {}
        numbers = count()
        for name, one in self._sets.items():
            runner.visualizer.dataset_meta = getattr(one.loader.dataset, "metainfo", None)
            with _naming_dead_workers(f"{self.mode}_dataloader.{name}"):
                for batch in one.loader:
                    self._measure(next(numbers), one, batch)
            found = one.evaluator.evaluate(one.size)
            metrics |= {f"{name}/{metric}": value for metric, value in found.items()}
        if self._score:
            metrics[SCORE] = _score(metrics, self._score)
        runner.logger.info("\n".join(self._table(metrics)))
        runner.call_hook(f"after_{self.mode}_epoch", metrics=metrics)
        runner.call_hook(f"after_{self.mode}")
        return metrics

    @torch.no_grad()
    def _measure(self, index: int, one: DataSet, batch: Any) -> None:
        runner, model = self.runner, self.runner.model
        runner.call_hook(f"before_{self.mode}_iter", batch_idx=index, data_batch=batch)
        given = {one.task: batch} if hasattr(unwrapped(model), "tasks") else batch
        with autocast(enabled=self._fp16):
            outputs = getattr(model, f"{self.mode}_step")(given)
        one.evaluator.process(data_samples=outputs, data_batch=batch)
        runner.call_hook(f"after_{self.mode}_iter", batch_idx=index, data_batch=batch, outputs=outputs)

    def _table(self, metrics: Mapping[str, Any]) -> Iterator[str]:
        """A row for each metric that is a number, under its data set."""
        rows = [(f"{self.mode} set", "task", "samples", "metric", "value")]
        for name, value in metrics.items():
            owner, _, metric = name.partition("/")
            one = self._sets.get(owner)
            about = (owner, one.task, str(one.size), metric) if one else ("", "", "", name)
            if isinstance(value, int | float | np.number):
                rows.append((*about, f"{value:.4f}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


@LOOPS.register_module()
class MetaValLoop(_MetaLoop):
    """Validation on several data sets, as ``val_cfg=dict(type='interngv.MetaValLoop')``.

    Hooks are called as by mmengine's ``ValLoop``: once for all sets together, and for every batch. All metrics reach
    them as ``SET/METRIC``, so ``CheckpointHook(save_best='SET/METRIC')`` keeps the best of any one of them, and
    ``CheckpointHook(save_best='score')`` that of the weighted mean.

    Args:
        runner: mmengine's, or one like it.
        dataloader: by name, an ordinary data loader's config and ``task``, the name where left out. Types without a
            scope are looked up in that of the data set's type.
        evaluator: by the same names, a metric's config, a list of them, or that of an evaluator; types likewise.
        score: weights by ``'SET/METRIC'``: the metrics' mean with these weights is the metric ``score``. A metric of
            which less is better takes a negative weight.
        fp16: predict in mixed precision.

    Raises:
        UserError: names that do not go together, a task that the model lacks; later, a metric in ``score`` that is
            not there, a worker process that died.
    """

    mode = "val"


@LOOPS.register_module()
class MetaTestLoop(_MetaLoop):
    """Test on several data sets, as ``test_cfg=dict(type='interngv.MetaTestLoop')``; see :class:`MetaValLoop`."""

    mode = "test"


def _check_names(mode: str, loaders: Any, evaluators: Any, score: Mapping[str, float]) -> None:
    for value, what in ((loaders, "dataloader"), (evaluators, "evaluator")):
        if not isinstance(value, Mapping) or not value or {"dataset", "type"} & set(value):
            raise UserError(f"{mode}_{what}: expected several by name, dict(NAME=dict(...))")
    for one, other, what in ((loaders, evaluators, "evaluator"), (evaluators, loaders, "dataloader")):
        for name in one:
            if name not in other:
                raise UserError(f"{mode}_{what} has no '{name}'{did_you_mean(name, set(other) - set(one))}")
    for name in loaders:
        if "/" in name or name == SCORE:
            raise UserError(f"{mode}_dataloader: a data set cannot be called '{name}'; take a name without '/'")
    for metric, weight in score.items():
        if metric.partition("/")[0] not in loaders or not isinstance(weight, int | float) or not weight:
            raise UserError(
                f"{mode}_cfg.score['{metric}']={weight!r}: expected weights by 'SET/METRIC' of {', '.join(loaders)}"
            )


def _build(runner: Any, name: str, loader: Mapping[str, Any], evaluator: Any) -> DataSet:
    config = dict(loader)
    task, scope = config.pop("task", name), scope_of(config["dataset"])
    if scope:
        config["dataset"] = {"_scope_": scope, **config["dataset"]}
    diff_rank_seed = runner._randomness_cfg.get("diff_rank_seed", False)
    built = runner.build_dataloader(config, seed=runner.seed, diff_rank_seed=diff_rank_seed)
    own = runner.build_evaluator(_in_scope(evaluator, scope))
    if hasattr(built.dataset, "metainfo"):
        own.dataset_meta = built.dataset.metainfo
    return DataSet(task, built, own)


def _in_scope(evaluator: Any, scope: str | None) -> Any:
    """The config of one or several metrics, with the scope in which each is looked up."""
    if isinstance(evaluator, Sequence):
        return [_in_scope(one, scope) for one in evaluator]
    if not isinstance(evaluator, Mapping):
        return evaluator
    if "metrics" in evaluator:
        return {**evaluator, "metrics": _in_scope(evaluator["metrics"], scope)}
    own = scope_of(evaluator) or scope
    return {"_scope_": own, **evaluator} if own else dict(evaluator)


def _score(metrics: Mapping[str, Any], weights: Mapping[str, float]) -> float:
    for name in weights:
        if name not in metrics:
            raise UserError(f"score: there is no metric '{name}'{did_you_mean(name, metrics)}: {', '.join(metrics)}")
    return sum(weight * metrics[name] for name, weight in weights.items()) / sum(map(abs, weights.values()))


@contextmanager
def _naming_dead_workers(where: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not re.match(r"DataLoader worker .*(killed|exited)", str(error), re.DOTALL):
            raise
        raise UserError(f"{where}: {str(error).splitlines()[0]}") from error
