"""Selections of labels that are read in blocks: against those in memory, and for what they must not need."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from interngv.errors import UserError
from interngv.gvb import shot_stream
from interngv.gvb.shot_stream import BLOCK, StreamedShots, position_ranks
from interngv.gvb.shots import Shots

SKEWS = {
    "one class": lambda n, rng: np.zeros(n, np.int64),
    "equal": lambda n, rng: rng.integers(0, 100, n),
    "long tail": lambda n, rng: np.minimum(rng.zipf(1.3, n), 300) - 1,
    "sorted": lambda n, rng: np.sort(rng.integers(0, 50, n)),
    "in turns": lambda n, rng: np.arange(n) % 64,
    "a class a sample": lambda n, rng: rng.permutation(n),
}


def naive(labels: np.ndarray, shots: str, seed: int) -> np.ndarray:
    """Class by class, the samples of lowest rank, ascending."""
    ranks = position_ranks(0, len(labels), seed)
    kept = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        size = Shots.parse(shots).sizes(np.array([len(members)]))[0]
        kept.extend(members[np.argsort(ranks[members])[:size]])
    return np.sort(kept)


def in_chunks(labels: np.ndarray, length: int) -> Callable[[], Iterator[np.ndarray]]:
    """A function that begins a reading of the labels in chunks."""
    return lambda: (labels[at : at + length] for at in range(0, len(labels), length))


def indices(selection: StreamedShots, labels: shot_stream.Labels) -> np.ndarray:
    return np.concatenate(list(selection.indices(labels)))


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("shots", ["0.1", "5", "10", "50", "99", "all", "k=1", "k=40"])
def test_equals_the_selection_in_memory(skew: str, shots: str) -> None:
    n = 2 * BLOCK + 13 if skew != "a class a sample" else 500
    labels = SKEWS[skew](n, np.random.default_rng(0))
    expected = naive(labels, shots, 3)
    selection = StreamedShots(labels, Shots.parse(shots), int(labels.max()) + 1, seed=3)
    assert np.array_equal(indices(selection, labels), expected)
    assert np.array_equal(np.flatnonzero(np.unpackbits(selection.mask(labels), count=n)), expected)


@pytest.mark.parametrize("length", [1, 7, 1000, BLOCK, 3 * BLOCK + 1])
def test_length_of_the_chunks_does_not_matter(length: int) -> None:
    labels = SKEWS["long tail"](5 * length if length > 1 else 300, np.random.default_rng(1))
    chunks, shots = in_chunks(labels, length), Shots.parse("10")
    selection = StreamedShots(chunks, shots, 300)
    assert np.array_equal(indices(selection, chunks), naive(labels, "10", 0))
    assert np.array_equal(selection.mask(chunks), selection.mask(labels))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_mapped_files_of_any_integers(tmp_path: Path, dtype: type) -> None:
    labels = np.random.default_rng(0).integers(0, 200, 20_000).astype(dtype)
    np.save(tmp_path / "labels.npy", labels)
    mapped = np.load(tmp_path / "labels.npy", mmap_mode="r")
    selection = StreamedShots(mapped, Shots.parse("10"), 200)
    assert np.array_equal(indices(selection, mapped), naive(labels, "10", 0))


@pytest.mark.parametrize("series", [["0.1", "1", "5", "10", "50", "all"], ["k=1", "k=2", "k=100"]])
def test_nested_with_exact_sizes(series: list[str]) -> None:
    labels = SKEWS["long tail"](50_000, np.random.default_rng(2))
    before: set[int] = set()
    for shots in series:
        selection = StreamedShots(labels, Shots.parse(shots), 300)
        now = indices(selection, labels)
        assert np.array_equal(np.bincount(labels[now], minlength=300), selection.sizes)
        assert selection.statistics.after.samples == len(now) and before < set(now.tolist())
        before = set(now.tolist())


def test_seeds_choose_independently() -> None:
    """Two selections of a tenth share a tenth of their samples, within five standard deviations."""
    labels = SKEWS["in turns"](64_000, np.random.default_rng(0))
    lists = [set(indices(StreamedShots(labels, Shots.parse("10"), 64, seed), labels).tolist()) for seed in range(6)]
    shared = [len(one & other) for i, one in enumerate(lists) for other in lists[:i]]
    assert {len(kept) for kept in lists} == {6400}
    assert all(abs(count - 640) < 5 * np.sqrt(640 * 0.9) for count in shared)


@pytest.mark.parametrize("step", [1, 2, 3, 64, 1000, pytest.param(2**12, marks=pytest.mark.slow)])
def test_ranks_are_uniform_along_any_stride(step: int) -> None:
    """Chi-squared of 256 equal bins, 255 degrees of freedom: within six standard deviations."""
    ranks = position_ranks(10**6, 4096 * step, seed=1)[::step]
    counts = np.bincount(ranks >> 24, minlength=256)
    assert abs(np.sum((counts - 16) ** 2 / 16) - 255) < 6 * np.sqrt(2 * 255)


def test_ranks_are_a_bijection_that_blocks_agree_on() -> None:
    ranks = position_ranks(2**32 - 2**16, 2**16, seed=5)
    assert len(np.unique(ranks)) == 2**16
    assert np.array_equal(position_ranks(2**32 - 100, 100, seed=5), ranks[-100:])


def test_ranks_never_change() -> None:
    """A selection stands in every result that was made with it."""
    assert position_ranks(0, 3, seed=0).tolist() == [3078332999, 2701138010, 248384827]


def test_a_bracket_that_is_missed_is_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shot_stream, "MARGINS", (0.01, 50))
    labels = SKEWS["equal"](30_000, np.random.default_rng(0))
    selection = StreamedShots(labels, Shots.parse("10"), 100)
    assert np.array_equal(indices(selection, labels), naive(labels, "10", 0))


def test_memory_does_not_grow_with_the_labels() -> None:
    """Ten million labels that are made as they are read: less than a byte each."""
    labels = np.random.default_rng(0).integers(0, 100, 10**6).astype(np.uint8)

    def reading() -> Iterator[np.ndarray]:
        return (labels for _ in range(10))

    tracemalloc.start()
    selection = StreamedShots(reading, Shots.parse("10"), 100)
    kept = sum(map(len, selection.indices(reading)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kept == selection.sizes.sum() == pytest.approx(10**6, abs=50)
    assert peak < 6 * 2**20


def test_missing_and_short_classes_are_counted() -> None:
    labels = np.array([0, 0, 0, 2], np.uint8)
    found = StreamedShots(labels, Shots.parse("k=2"), 4).statistics
    assert (found.missing, found.short, found.after.samples) == (2, 1, 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(0, np.uint8), "needs from 1 to 4294967296 labels, got 0"),
        (np.append(np.zeros(2 * BLOCK, np.uint32), np.uint32(2**32 - 1)), "sample 32768 has label 4294967295"),
        (np.array([0, -1]), "sample 1 has label -1, expected one of 3 classes"),
        (np.zeros(5), "row of integers, got float64"),
        (np.zeros((5, 2), np.uint8), "row of integers"),
        (iter([np.zeros(5, np.uint8)]), "row of integers, got object"),  # it could be read only once
    ],
)
def test_bad_labels(labels: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        StreamedShots(labels, Shots.parse("10"), 3)


@pytest.mark.parametrize("other", [np.zeros(900, np.uint8), np.zeros(5000, np.uint8), np.ones(1000, np.uint8)])
def test_labels_that_change_between_readings(other: np.ndarray) -> None:
    labels = np.arange(1000).astype(np.uint8) % 10
    selection = StreamedShots(labels, Shots.parse("10"), 10)
    for read in (selection.mask, lambda labels: list(selection.indices(labels))):
        with pytest.raises(UserError, match="a later reading of the labels gave others"):
            read(other)
    readings = iter([labels, other, other])
    with pytest.raises(UserError, match="a later reading of the labels gave others"):
        StreamedShots(lambda: [next(readings)], Shots.parse("10"), 10)
