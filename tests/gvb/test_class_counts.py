"""Samples a class before and after a selection."""

from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest

from interngv.errors import UserError
from interngv.gvb.class_counts import Statistics, statistics, table
from interngv.gvb.shots import Shots, select


@pytest.mark.parametrize("shots", ["1", "10", "50", "k=3", "all"])
def test_equals_a_count_by_hand(shots: str) -> None:
    labels = np.random.default_rng(0).choice(20, 2000, p=np.arange(1, 21) / 210)
    kept = select([str(i) for i in range(2000)], labels, Shots.parse(shots), classes=20)
    found = statistics(labels, kept, 20)
    for part, counts in ((found.before, Counter(labels)), (found.after, Counter(labels[kept]))):
        values = list(counts.values())
        assert asdict(part) == {
            "samples": sum(values),
            "min": min(values),
            "mean": sum(values) / 20,
            "max": max(values),
        }
    assert statistics([f"class {label}" for label in labels], kept) == found


def test_missing_and_short_classes_are_counted() -> None:
    labels = np.array([0, 0, 0, 1, 3, 3])
    shots = Shots.parse("k=2")
    found = statistics(labels, select(list("abcdef"), labels, shots, classes=5), 5, shots.k)
    assert (found.classes, found.missing, found.short) == (5, 2, 1)
    assert (found.before.min, found.after.samples, found.after.mean) == (0, 5, 1.0)
    assert found.remarks == "2 without a sample, 1 with fewer than k"


def test_table() -> None:
    """The paper's Flowers, and a data set with something to remark."""
    flowers = Statistics.of(np.full(102, 20), np.full(102, 2))
    tail = Statistics.of(np.array([0, 1, 700]), np.array([0, 1, 2]), k=2)
    assert table({"flowers": flowers, "tail": tail}).splitlines() == [
        "| set | classes | samples | avg | min | max | kept | avg | min | max | remarks |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| flowers | 102 | 2040 | 20.0 | 20 | 20 | 204 | 2.0 | 2 | 2 |  |",
        "| tail | 3 | 701 | 233.7 | 0 | 700 | 3 | 1.0 | 0 | 2 | 1 without a sample, 1 with fewer than k |",
    ]


def test_bad_labels() -> None:
    with pytest.raises(UserError, match="sample 2 has label 7, expected one of 3 classes"):
        statistics([0, 1, 7], np.array([0]), 3)
    with pytest.raises(UserError, match="at least one class"):
        statistics([], np.array([], np.int64))
