"""One loader over several data sets, whose order is a pure function of (seed, step, rank)."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from torch.utils.data import DataLoader

from interngv.engine.multi_task.order import is_number
from interngv.engine.multi_task.plan import Plan
from interngv.engine.multi_task.reader import Read, Reader
from interngv.engine.multi_task.sources import build_sources
from interngv.errors import UserError, did_you_mean

_JUDGED_FROM = 100  # samples of a source that say something about its share of unreadable ones
_DEAD_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)", re.DOTALL)


@dataclass(frozen=True)
class SourceBatch:
    """One batch of one source.

    Attributes:
        task: name of the task that learns from it.
        data: what the source's collate function makes of the samples.
        size: number of samples.
        ids: their indices in the data set.
        unreadable: what could not be read, and was replaced by other samples, while this batch was read.
    """

    task: str
    data: Any
    size: int
    ids: list[int]
    unreadable: list[str]


@dataclass(frozen=True)
class MetaBatch:
    """What one rank trains on in one step: batches by the source's name."""

    step: int
    parts: dict[str, SourceBatch]


class MetaDataLoader:
    """Endless batches from several data sets, each with its host's registry, pipeline and collate function.

    A source is one endless stream of samples, epoch after epoch, each epoch in an order of its own; a step takes the
    next ``batch_size`` x processes samples of each source that it draws. So a short source never ends, batches are
    always full, and no epoch leaves a sample out. Random transforms see python's, numpy's and torch's generators
    seeded for every batch of a source, from (seed, source, epoch, the batch's first sample), so that workers, other
    sources and call order do not matter; the process's own random states stay untouched. A data set that keeps random
    state or samples of its own between calls (a mosaic's cache) is outside of this promise.

    Args:
        sources: by name: ``dict(dataset=..., batch_size=..., weight=1.0, task=NAME, collate_fn=...)``; the batch
            size is a process's, the task is the source's name and the collate function mmengine's
            ``pseudo_collate`` unless given. Types are looked up in the scope that prefixes the data set's type.
        schedule: ``'interleave'``: a step draws one source, the same on all ranks; ``'joint'``: a batch of each;
            ``'rank'``: every rank draws from one source, and ranks are split among sources.
        weighting: what the weights are multiplied by, see :func:`~interngv.engine.multi_task.order.weighted`.
        max_unreadable: the share of a source's samples above which the loader stops, judged from 100 samples on.
        num_workers, prefetch_factor, persistent_workers, pin_memory: as in torch's ``DataLoader``.
        seed: decides all orders and all random transforms.
        rank, world_size: of this process; those of the run where left out.

    Raises:
        UserError: an unknown or wrong value, an empty data set; fewer ranks than sources of ``'rank'``.
    """

    def __init__(
        self,
        sources: Mapping[str, Mapping[str, Any]],
        schedule: str = "interleave",
        weighting: str | Mapping[str, Any] = "fixed",
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory: bool = False,
        max_unreadable: float = 0.01,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if not is_number(max_unreadable) or not 0 <= max_unreadable <= 1:
            raise UserError(f"max_unreadable is a share from 0 to 1, got {max_unreadable!r}")
        self._sources = build_sources(sources)
        self._seed, self._max_unreadable = seed, max_unreadable
        self.schedule = schedule
        self.length: int | None = None
        rank = get_rank() if rank is None else rank
        world_size = get_world_size() if world_size is None else world_size
        self._plan = Plan(self._sources, schedule, weighting, seed, rank, world_size)
        self._seen = dict.fromkeys(self._sources, 0)
        self._unreadable = dict.fromkeys(self._sources, 0)
        self.dataset = Reader(self._sources, seed, num_workers)
        try:
            self._loader = DataLoader(
                self.dataset,
                batch_size=None,
                sampler=self._plan,
                collate_fn=_as_it_is,
                num_workers=num_workers,
                prefetch_factor=prefetch_factor,
                persistent_workers=persistent_workers,
                pin_memory=pin_memory,
                generator=torch.Generator(),  # torch draws from it, else from the global one, for every iterator
            )
        except ValueError as error:
            raise UserError(f"data loader: {error}") from error

    @property
    def sources(self) -> dict[str, Any]:
        """The data sets by the source's name."""
        return {name: source.dataset for name, source in self._sources.items()}

    @property
    def tasks(self) -> dict[str, str]:
        """The task that each source feeds, by the source's name."""
        return {name: source.task for name, source in self._sources.items()}

    def __len__(self) -> int:
        """Steps of the run, for which mmengine's hooks ask, where its loop has set ``length``."""
        if self.length is None:
            raise TypeError("the batches of a MetaDataLoader do not end; a training loop sets its length")
        return self.length

    def __iter__(self) -> Iterator[MetaBatch]:
        """Batches from the current step on, for ever; a batch is consumed once it is handed out."""
        batches = iter(self._loader)
        while True:
            with self.naming_dead_workers():
                read = next(batches)
            parts = {name: self._part(name, one) for name, one in read.items()}
            self._plan.step += 1
            yield MetaBatch(self._plan.step - 1, parts)

    @contextmanager
    def naming_dead_workers(self) -> Iterator[None]:
        """Turn torch's error for a dead worker process into one that names source and sample.

        torch raises it from a signal handler, wherever the main process is: training belongs into this context too.

        Raises:
            UserError: a worker process died.
        """
        try:
            yield
        except RuntimeError as error:
            died = _DEAD_WORKER.match(str(error))
            if died is None:
                raise
            reading = self.dataset.where([int(pid) for pid in died[1].split(",")])
            raise UserError(
                f"data loader: worker process {died[1]} {died[2].strip(' .')}; it was reading "
                f"{reading or 'nothing; the sources are ' + ', '.join(self._sources)}. "
                "Where memory ran out, lower num_workers or prefetch_factor"
            ) from error

    def state_dict(self) -> dict[str, Any]:
        """The consumed position in plain numbers; what workers have read ahead is not in it."""
        consumed = self._plan.consumed(self._plan.step)
        return {
            "step": self._plan.step,
            "seed": self._seed,
            "sources": {
                name: {
                    "size": source.size,
                    "consumed": consumed[name],
                    "seen": self._seen[name],
                    "unreadable": self._unreadable[name],
                }
                for name, source in self._sources.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the state was taken: the next iterator starts there, at the same cost at any step.

        Another number of workers changes nothing. Another world size, batch size, weight or schedule changes which
        step gets which samples; every source still goes on behind its last consumed sample. A source that the state
        does not know starts at its first sample.

        Raises:
            UserError: another seed, a source that is not in the config, or one whose number of samples changed.
        """
        if state["seed"] != self._seed:
            raise UserError(
                f"the checkpoint's data order has seed {state['seed']}, this run {self._seed}; use the same"
            )
        self._check_sources(state["sources"])
        fresh = {"consumed": 0, "seen": 0, "unreadable": 0}
        known = {name: state["sources"].get(name, fresh) for name in self._sources}
        self._plan.start(state["step"], {name: one["consumed"] for name, one in known.items()})
        self._seen = {name: one["seen"] for name, one in known.items()}
        self._unreadable = {name: one["unreadable"] for name, one in known.items()}

    def _part(self, name: str, read: Read) -> SourceBatch:
        self._seen[name] += len(read.ids) + len(read.unreadable)
        self._unreadable[name] += len(read.unreadable)
        self._judge(name, read)
        return SourceBatch(self._sources[name].task, read.data, len(read.ids), read.ids, read.unreadable)

    def _judge(self, name: str, read: Read) -> None:
        if not read.unreadable:
            return
        seen, unreadable = self._seen[name], self._unreadable[name]
        limit = seen >= _JUDGED_FROM and unreadable / seen > self._max_unreadable
        if limit or len(read.ids) < self._sources[name].batch_size:
            raise UserError(
                f"source '{name}': {unreadable} of {seen} samples ({unreadable / seen:.1%}) cannot be read, "
                f"max_unreadable is {self._max_unreadable:.1%}; the last one: {read.unreadable[-1]}"
            )

    def _check_sources(self, known: Mapping[str, Mapping[str, int]]) -> None:
        new = [name for name in self._sources if name not in known]
        for name, before in known.items():
            if name not in self._sources:
                raise UserError(
                    f"the checkpoint has consumed {before['consumed']} samples of source '{name}', which this config "
                    f"lacks{did_you_mean(name, new)}; keep it, with weight=0 to train without it"
                )
            if before["size"] != self._sources[name].size:
                raise UserError(
                    f"source '{name}' had {before['size']} samples and now has {self._sources[name].size}: its order "
                    "cannot go on; restore the data, or start a new run from the weights (load_from)"
                )
        for name in new:
            print_log(f"source '{name}' is new: it starts at its first sample", logger="current")


def _as_it_is(read: Any) -> Any:
    return read
