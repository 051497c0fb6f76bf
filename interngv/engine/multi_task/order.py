"""The order of training data as pure functions: which source a step draws, which samples stand at a position.

Nothing here has a history: step 10**6 costs what step 10 costs, and a source of 10**9 samples what one of 10 does.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from interngv.errors import UserError, did_you_mean

_BLOCK = 1024  # steps whose sources are worked out at a time
_ROUNDS = 16  # fewer show in the orders of five or six samples
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_WEIGHTINGS = {"size": "power", "temperature": "temperature"}


def key(*parts: int | str) -> int:
    """A 64-bit number for these parts: the same on every machine, unrelated for other parts."""
    return int.from_bytes(hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest(), "little")


def permuted(positions: np.ndarray, n: int, keys: int | np.ndarray) -> np.ndarray:
    """The elements at these positions of pseudo-random permutations of ``range(n)``, one permutation a key.

    A Feistel network on the smallest grid of rows and columns that holds n elements, with cycle walking (Black and
    Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002); memory does not depend on n.

    Args:
        positions: (B,) integers from 0 to n - 1.
        n: size of the permutations, up to 2**62.
        keys: one 64-bit key, or (B,) of them.

    Returns:
        (B,) int64.
    """
    rows = math.isqrt(n - 1) + 1
    columns = -(-n // rows)
    rounds = np.arange(1, _ROUNDS + 1, dtype=np.uint64)[:, None] * _GOLDEN
    round_keys = _scrambled(np.asarray(keys, np.uint64).reshape(1, -1) + rounds)
    round_keys = np.broadcast_to(round_keys, (_ROUNDS, len(positions)))
    elements = _feistel(np.asarray(positions, np.uint64), rows, columns, round_keys)
    while (outside := np.flatnonzero(elements >= n)).size:
        elements[outside] = _feistel(elements[outside], rows, columns, round_keys[:, outside])
    return elements.astype(np.int64)


def samples(positions: np.ndarray, n: int, seed: int, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and sample indices at positions of the endless stream of a source of n samples, in their shape.

    Position p belongs to epoch p // n, and every epoch holds each sample once, in an order of its own.
    """
    epochs, offsets = np.divmod(np.asarray(positions, np.int64), n)
    distinct, which = np.unique(epochs, return_inverse=True)
    keys = np.array([key(seed, source, int(epoch)) for epoch in distinct], np.uint64)
    indices = permuted(offsets.ravel(), n, keys[which.ravel()])
    return epochs, indices.reshape(epochs.shape)


class Mix:
    """A random sequence of sources with given shares.

    On a time axis draw j of a source with share s stands at (j + u) / s with its own random u in [0, 1), and the
    draws of all sources, sorted by time, are the steps (stratified sampling in time). So counts follow from
    the time alone; after n steps a source's count is within 1 + s K of n s for K sources, and the wait for its next
    draw is bounded, however small its share.

    Args:
        weights: weight of every source, zero for one that is never drawn.
        seed: another seed, another sequence with the same shares.
    """

    def __init__(self, weights: Mapping[str, float], seed: int) -> None:
        self._names = [name for name, weight in weights.items() if weight > 0]
        self._never = dict.fromkeys(weights, 0)
        positive = np.array([weights[name] for name in self._names], np.float64)
        self._shares = positive / positive.sum()
        self._keys = np.array([key(seed, "mix", name) for name in self._names], np.uint64)
        self._start = -1

    def at(self, step: int) -> tuple[str, int]:
        """The source of a step and how many earlier steps drew it."""
        place = self._find(step)
        return self._names[self._sources[place]], int(self._nths[place])

    def counts(self, step: int) -> dict[str, int]:
        """How many of the steps before this one drew each source."""
        place = self._find(step)
        counts = self._before + np.bincount(self._sources[:place], minlength=len(self._names))
        return self._never | dict(zip(self._names, counts.tolist(), strict=True))

    def _find(self, step: int) -> int:
        """The step's place in its block, which is worked out where it is not the last one used."""
        place = step % _BLOCK
        if self._start != step - place:
            self._work_out(step - place)
        return place

    def _work_out(self, start: int) -> None:
        # Before time t a source has floor(t s) draws or one more, so all sources have t +- K of them.
        k = len(self._names)
        first = np.maximum(np.floor((start - k) * self._shares) - 1, 0).astype(np.int64)
        stop = np.floor((start + _BLOCK + k) * self._shares).astype(np.int64) + 2
        numbers = stop - first
        sources = np.repeat(np.arange(k), numbers)
        nths = np.arange(len(sources)) + np.repeat(first - np.cumsum(numbers) + numbers, numbers)
        times = (nths + _uniform(self._keys[sources] + nths.astype(np.uint64) * _GOLDEN)) / self._shares[sources]
        order = np.lexsort((sources, times))
        skipped = start - int(first.sum())
        block = order[skipped : skipped + _BLOCK]
        self._before = first + np.bincount(sources[order[:skipped]], minlength=k)
        self._sources, self._nths, self._start = sources[block], nths[block], start


def weighted(weighting: str | Mapping[str, Any], weights: Mapping[str, float], sizes: Mapping[str, int]) -> dict:
    """Weights of the sources, their sizes taken into account.

    Args:
        weighting: ``'fixed'``: the weights as they are; ``dict(type='size', power=p)``: times n**p for n samples;
            ``dict(type='temperature', temperature=T)``: times (n / total) ** (1 / T).

    Raises:
        UserError: another type, key or value.
    """
    kind, exponent = _weighting({"type": weighting} if isinstance(weighting, str) else dict(weighting))
    if kind == "temperature":
        exponent = 1 / exponent
    total = sum(sizes.values())
    return {name: weight * (sizes[name] / total) ** exponent for name, weight in weights.items()}


def apportioned(world_size: int, weights: Mapping[str, float]) -> dict[str, int]:
    """How many ranks each source gets: one, and of the others its share by largest remainder; none at weight 0.

    Raises:
        UserError: fewer ranks than sources.
    """
    drawn = {name: weight for name, weight in weights.items() if weight > 0}
    spare = world_size - len(drawn)
    if spare < 0:
        raise UserError(
            f"schedule 'rank' needs a process for each of the sources {', '.join(drawn)}: at least {len(drawn)}, "
            f"this run has {world_size}; start more or use schedule='interleave'"
        )
    total = sum(drawn.values())
    wanted = {name: max(world_size * weight / total - 1, 0) for name, weight in drawn.items()}
    scale = spare / (sum(wanted.values()) or 1)
    exact = {name: value * scale for name, value in wanted.items()}
    ranks = {name: 1 + math.floor(value) for name, value in exact.items()}
    by_remainder = sorted(drawn, key=lambda name: math.floor(exact[name]) - exact[name])
    for name in by_remainder[: world_size - sum(ranks.values())]:
        ranks[name] += 1
    return dict.fromkeys(weights, 0) | ranks


def is_number(value: Any) -> bool:
    """Whether a config's value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _weighting(given: dict[str, Any]) -> tuple[str, float]:
    kind = given.pop("type", None)
    if kind == "fixed" and not given:
        return kind, 0.0
    if kind not in _WEIGHTINGS:
        raise UserError(
            f"weighting {kind!r} is not known{did_you_mean(str(kind), ['fixed', *_WEIGHTINGS])}; expected 'fixed', "
            "dict(type='size', power=p) or dict(type='temperature', temperature=T)"
        )
    name = _WEIGHTINGS[kind]
    value = given.pop(name, None)
    if given or not is_number(value) or value < 0 or (value == 0 and kind == "temperature"):
        limit = "above 0" if kind == "temperature" else "of at least 0"
        got = f"{name}={value!r}" + "".join(f", {extra}={given[extra]!r}" for extra in given)
        raise UserError(f"weighting of type '{kind}' takes {name}, a number {limit}; got {got}")
    return kind, float(value)


def _feistel(elements: np.ndarray, rows: int, columns: int, round_keys: np.ndarray) -> np.ndarray:
    """A permutation of range(rows * columns): row and column move in turn, each by a hash of the other."""
    row, column = np.divmod(elements, np.uint64(columns))
    for even, odd in zip(round_keys[::2], round_keys[1::2], strict=True):
        row = (row + _scrambled(column + even) % np.uint64(rows)) % np.uint64(rows)
        column = (column + _scrambled(row + odd) % np.uint64(columns)) % np.uint64(columns)
    return row * np.uint64(columns) + column


def _scrambled(x: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014): a bijection of 64-bit numbers."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _uniform(x: np.ndarray) -> np.ndarray:
    """Pseudo-random numbers in [0, 1) from 64-bit numbers."""
    return (_scrambled(x) >> np.uint64(11)) * 2.0**-53
