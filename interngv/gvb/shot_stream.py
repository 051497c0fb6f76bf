"""Percentage-shot of labels that are read in blocks: exact sizes, in memory that hardly grows with their number.

As in :mod:`interngv.gvb.shots` a class keeps its samples of lowest rank. Here the rank is made of the sample's
*position*, by a bijection of 32-bit numbers that the seed keys. So ranks are never equal, and a selection is one number
a class, the highest rank that it keeps: any block of labels can be asked for its part.

    labels = np.load("labels.npy", mmap_mode="r")  # 10**8 of uint16
    selection = StreamedShots(labels, Shots.parse("10"), classes=1000, seed=0)
    for indices in selection.indices(labels): ...

Labels are read three times: to count them, to find the highest ranks, and to select. Ranks are spread evenly, so the
k-th lowest of n lies near the share k / n of all; the second reading keeps only those that lie near it: about
``10 * sqrt(k)`` a class, eight bytes each.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from interngv.gvb.class_counts import SamplesError, Statistics, checked_labels
from interngv.gvb.shots import Shots

Labels = np.ndarray | Callable[[], Iterable[np.ndarray]]
BLOCK = 2**14  # labels at a time: what is made of them stays in a processor's cache
RANKS = 2**32
MARGINS = (5, 50)  # standard deviations; the first fails for one selection in thousands, which then reads once more


class StreamedShots:
    """A selection among labels that are read in blocks.

    ``counts`` and ``sizes``, (C,) int64, are the samples of every class in the whole and in the selection, and
    ``highest``, (C,) uint32, is the rank up to which a class keeps them.

    Args:
        labels: (N,) integers, in memory or mapped from a file; or a function, called for every reading, that returns
            an iterator of such arrays of any length (a generator function).
        shots: how many of every class.
        classes: number of classes.
        seed: another seed, another selection.

    Raises:
        SamplesError: no labels or more than 2**32, a label outside the classes, or a later reading with other labels;
            the methods raise it too.
    """

    def __init__(self, labels: Labels, shots: Shots, classes: int, seed: int = 0) -> None:
        self.shots, self.seed = shots, seed
        self.counts = np.zeros(classes, np.int64)
        for _, block in _blocks(labels, classes):
            self.counts += np.bincount(block, minlength=classes)
        if not 0 < self.counts.sum() <= RANKS:
            raise SamplesError(f"a selection needs from 1 to {RANKS} labels, got {self.counts.sum()}")
        self.sizes = shots.sizes(self.counts)
        self.highest = self._highest(labels)

    @property
    def statistics(self) -> Statistics:
        """Samples a class before and after."""
        return Statistics.of(self.counts, self.sizes, self.shots.k)

    def indices(self, labels: Labels) -> Iterator[np.ndarray]:
        """Reads the labels again and yields the indices of the samples that are kept, ascending arrays of int64."""
        for start, keep in self._keep(labels):
            yield np.flatnonzero(keep) + start

    def mask(self, labels: Labels) -> np.ndarray:
        """Reads the labels again; (ceil(N / 8),) uint8, a bit for every sample in the order of ``np.unpackbits``."""
        bits = np.zeros(-(-self.counts.sum() // 8), np.uint8)
        for start, keep in self._keep(labels):
            first, shift = divmod(start, 8)
            packed = np.packbits(np.concatenate([np.zeros(shift, bool), keep]) if shift else keep)
            bits[first : first + len(packed)] |= packed
        return bits

    def _keep(self, labels: Labels) -> Iterator[tuple[int, np.ndarray]]:
        """Position of a block and which of its samples are kept, (B,) bool."""
        total = kept = 0
        for start, block in _blocks(labels, len(self.counts)):
            keep = position_ranks(start, len(block), self.seed) <= self.highest.take(block)
            total, kept = total + len(block), kept + np.count_nonzero(keep)
            if total > self.counts.sum():
                raise _other_labels()
            yield start, keep
        if (total, kept) != (self.counts.sum(), self.sizes.sum()):
            raise _other_labels()

    def _highest(self, labels: Labels) -> np.ndarray:
        """The rank of the last sample that a class keeps, (C,) uint32; the highest there is where it keeps all."""
        highest = np.full(len(self.counts), RANKS - 1, np.uint32)
        part = np.flatnonzero(self.sizes < self.counts)
        if not len(part):
            return highest
        for margin in MARGINS:
            below, near = self._near(labels, *_brackets(self.counts, self.sizes, margin))
            first, end = np.searchsorted(near, np.array([part, part + 1], np.uint64) << np.uint64(32))
            last = first + (self.sizes - below)[part] - 1
            if np.all((first <= last) & (last < end)):
                highest[part] = near[last].astype(np.uint32)  # the lower half
                return highest
        raise _other_labels()

    def _near(self, labels: Labels, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples of every class with a rank below ``low``, and those from there to below ``high``.

        The latter as sorted (M,) uint64, the class in the upper half and the rank in the lower one.
        """
        width, below, near = high - low, np.zeros(len(low), np.int64), []
        for start, block in _blocks(labels, len(low)):
            ranks, lows = position_ranks(start, len(block), self.seed), low.take(block)
            below += np.bincount(block.take(np.flatnonzero(ranks < lows)), minlength=len(low))
            inside = np.flatnonzero(ranks - lows < width.take(block))  # a difference below 0 wraps to a large one
            near.append(block[inside].astype(np.uint64) << np.uint64(32) | ranks[inside])
        together = np.concatenate(near)
        together.sort()
        return below, together


def position_ranks(start: int, count: int, seed: int) -> np.ndarray:
    """Ranks of the samples from position ``start`` on, (count,) uint32: a pseudo-random bijection of 32-bit numbers.

    The finalizer of MurmurHash3 (Appleby, 2011), twice, each on what a half of the seed's key was xored to.
    """
    x = np.arange(count, dtype=np.uint32) + np.uint32(start)
    for key in np.frombuffer(hashlib.sha256(str(seed).encode()).digest()[:8], "<u4"):
        x = x ^ key
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
        x = x ^ (x >> np.uint32(16))
    return x


def _brackets(counts: np.ndarray, sizes: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Ranks between which the ``sizes[c]``-th lowest of ``counts[c]`` lies, (C,) uint32 each; equal where all are kept.

    That order statistic of uniform numbers has the standard deviation sqrt(k (n - k) / n) / n; the square of the margin
    is for small k, where it is no normal one.
    """
    n, k = np.maximum(counts, 1), sizes
    spread = np.where(k < counts, margin * np.sqrt(k * (n - k) / n) + margin**2, 0)
    low, high = (np.clip((k + side) / n, 0, 1) * (RANKS - 1) for side in (-spread, spread))
    return low.astype(np.uint32), high.astype(np.uint32)


def _blocks(labels: Labels, classes: int) -> Iterator[tuple[int, np.ndarray]]:
    """Positions and checked blocks of at most ``BLOCK`` labels."""
    start = 0
    for chunk in labels() if callable(labels) else [labels]:
        row = np.atleast_1d(chunk)
        for at in range(0, len(row), BLOCK):
            block = checked_labels(row[at : at + BLOCK], classes, start)
            yield start, block
            start += len(block)


def _other_labels() -> SamplesError:
    return SamplesError("a later reading of the labels gave others than the first one")
