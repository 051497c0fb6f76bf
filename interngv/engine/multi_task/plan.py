"""Which samples a rank reads at a step: the schedules of the meta loader."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np

from interngv.engine.multi_task.order import Mix, apportioned, samples, weighted
from interngv.engine.multi_task.reader import Request
from interngv.engine.multi_task.sources import Source
from interngv.errors import UserError, did_you_mean

_SCHEDULES = ("interleave", "joint", "rank")
_AHEAD = 32  # draws of a source whose samples are worked out at a time


class Plan:
    """The requests of one rank, step after step, as a pure function of the step and of where the plan was started.

    Args:
        sources: by name.
        schedule, weighting, seed, rank, world_size: as of :class:`~interngv.engine.multi_task.MetaDataLoader`.

    Attributes:
        step: the first step that is not consumed; iterating begins there.

    Raises:
        UserError: a wrong schedule or weighting, weights that have no effect or are all zero; fewer ranks than sources.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        schedule: str,
        weighting: str | Mapping[str, Any],
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        weights = _weights(sources, schedule, weighting)
        self._sources, self._schedule, self._seed = sources, schedule, seed
        self._mix = Mix(weights, seed)
        self._ranks = dict.fromkeys(sources, world_size)  # how many draw from the source at a step,
        self._place = rank  # and this one's place among them
        if schedule == "rank":
            self._ranks = apportioned(world_size, weights)
            owners = [name for name, ranks in self._ranks.items() for _ in range(ranks)]
            self._own = owners[rank]
            self._place = rank - owners.index(self._own)
        self.start(0, dict.fromkeys(sources, 0))

    def start(self, step: int, consumed: Mapping[str, int]) -> None:
        """Go on at a step, each source behind the samples of it that all ranks have consumed together."""
        self.step = step
        self._before = dict(consumed)
        self._draws_before = self._counts(step)
        self._blocks: dict[str, tuple[int, np.ndarray, np.ndarray]] = {}  # number, epochs and indices, by source

    def __iter__(self) -> Iterator[Request]:
        return map(self.request, count(self.step))

    def request(self, step: int) -> Request:
        """Epochs and indices of the samples that this rank reads at a step, by source."""
        return {name: self._samples(name, nth) for name, nth in self._draws(step).items()}

    def consumed(self, step: int) -> dict[str, int]:
        """Samples of each source that all ranks together consume before a step."""
        return {name: self._position(name, nth) for name, nth in self._counts(step).items()}

    def _draws(self, step: int) -> dict[str, int]:
        """The sources that this rank draws at a step, with the number of their earlier draws."""
        if self._schedule == "interleave":
            return dict([self._mix.at(step)])
        return dict.fromkeys([self._own] if self._schedule == "rank" else self._sources, step)

    def _counts(self, step: int) -> dict[str, int]:
        """The draws of every source before a step."""
        if self._schedule == "interleave":
            return self._mix.counts(step)
        return {name: step if ranks else 0 for name, ranks in self._ranks.items()}

    def _position(self, name: str, nth: int) -> int:
        """Samples of a source that all ranks consume before its nth draw."""
        draws = nth - self._draws_before[name]
        return self._before[name] + draws * self._ranks[name] * self._sources[name].batch_size

    def _samples(self, name: str, nth: int) -> tuple[list[int], list[int]]:
        block, place = divmod(nth - self._draws_before[name], _AHEAD)
        if name not in self._blocks or self._blocks[name][0] != block:
            self._blocks[name] = block, *self._work_out(name, nth - place)
        _, epochs, indices = self._blocks[name]
        return epochs[place].tolist(), indices[place].tolist()

    def _work_out(self, name: str, nth: int) -> tuple[np.ndarray, np.ndarray]:
        """(draws, batch) epochs and indices of this rank's samples at a source's nth draw and those behind it."""
        source = self._sources[name]
        starts = [self._position(name, nth + ahead) for ahead in range(_AHEAD)]
        first = np.array(starts)[:, None] + self._place * source.batch_size
        return samples(first + np.arange(source.batch_size), source.size, self._seed, name)


def _weights(sources: Mapping[str, Source], schedule: str, weighting: str | Mapping[str, Any]) -> dict[str, float]:
    if schedule not in _SCHEDULES:
        raise UserError(
            f"schedule {schedule!r} is not known{did_you_mean(str(schedule), _SCHEDULES)}; "
            f"expected one of {', '.join(_SCHEDULES)}"
        )
    given = {name: source.weight for name, source in sources.items()}
    if schedule == "joint" and (weighting != "fixed" or set(given.values()) != {1.0}):
        raise UserError(
            "schedule 'joint' takes a batch of each source at every step, so weight and weighting have no effect; "
            "leave them out, and use batch_size or the model's loss_weights"
        )
    weights = weighted(weighting, given, {name: source.size for name, source in sources.items()})
    if not any(weights.values()):
        raise UserError(f"all sources have weight 0: {', '.join(weights)}; give one a weight above 0")
    return weights
