"""The order of training data: permutations, mixes of sources, weights."""

import itertools
import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from interngv.engine.multi_task.order import Mix, apportioned, key, permuted, samples, weighted
from interngv.errors import UserError

MIXES = {
    "even": {"a": 1, "b": 1},
    "uneven": {"a": 5, "b": 2, "c": 1},
    "a rare one": {"a": 999, "b": 1},
    "many": {f"s{number}": number + 1 for number in range(200)},
    "tiny": {"a": 1, "b": 1e-6, "c": 0.3},
    "one": {"a": 0.1},
}


def many_orders(n: int, number: int) -> np.ndarray:
    keys = np.array([key("orders", k) for k in range(number)], np.uint64)
    return permuted(np.tile(np.arange(n), number), n, np.repeat(keys, n)).reshape(number, n)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 100, 1000, 65537])
@pytest.mark.parametrize("k", [0, 1, 2**64 - 1])
def test_a_permutation_holds_each_element_once(n: int, k: int) -> None:
    assert sorted(permuted(np.arange(n), n, k)) == list(range(n))


def test_positions_are_independent_of_what_else_is_asked() -> None:
    whole = permuted(np.arange(1000), 1000, 7)
    asked = np.random.default_rng(0).integers(0, 1000, 300)
    assert (permuted(asked, 1000, 7) == whole[asked]).all()
    keys = np.arange(300) % 3
    each = [permuted(asked[row : row + 1], 1000, int(keys[row]))[0] for row in range(300)]
    assert permuted(asked, 1000, keys).tolist() == each


def test_a_known_order_never_changes() -> None:
    """A run that resumes with a newer version of this code goes on in the order in which it began."""
    assert permuted(np.arange(10), 10, 1).tolist() == [2, 1, 8, 3, 9, 5, 0, 6, 7, 4]
    assert permuted(np.arange(3), 10**9, 2**63 + 5).tolist() == [563514934, 854815590, 996998124]
    epochs, indices = samples(np.arange(6).reshape(2, 3), 4, 0, "a")
    assert (epochs.tolist(), indices.tolist()) == ([[0, 0, 0], [0, 1, 1]], [[1, 2, 3], [0, 2, 3]])
    mix = Mix({"a": 5, "b": 2, "c": 1}, 0)
    assert "".join(mix.at(step)[0] for step in range(32)) == "baacabaaaabcabaaaabcabaabcaaaaba"
    assert mix.at(10**12) == ("a", 625_000_000_000)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_every_order_of_a_few_samples_is_equally_likely(n: int) -> None:
    orders = list(itertools.permutations(range(n)))
    found = Counter(map(tuple, many_orders(n, 100 * len(orders)).tolist()))
    assert chisquare([found[order] for order in orders]).pvalue > 1e-3


@pytest.mark.parametrize("n", [10, 101])
def test_places_and_neighbours_are_uniform(n: int) -> None:
    orders = many_orders(n, 2000)
    places = [chisquare(np.bincount(orders[:, place], minlength=n)).pvalue for place in range(n)]
    assert min(places) > 1e-3 / n
    gaps = (orders[:, 1:] - orders[:, :-1]) % n
    assert chisquare(np.bincount(gaps.ravel(), minlength=n)[1:]).pvalue > 1e-3


def test_a_huge_source_takes_no_more_memory_than_a_small_one() -> None:
    def peak(n: int) -> int:
        tracemalloc.start()
        chosen = permuted(np.arange(1000), n, 3)
        assert len(set(chosen.tolist())) == 1000
        assert 0 <= chosen.min() <= chosen.max() < n
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(10**15) < 1.5 * peak(10**4)


def test_every_epoch_holds_each_sample_once_in_its_own_order() -> None:
    epochs, indices = samples(np.arange(300), 100, 0, "a")
    assert epochs.tolist() == [0] * 100 + [1] * 100 + [2] * 100
    orders = [indices.tolist()[start : start + 100] for start in (0, 100, 200)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    others = [samples(np.arange(100), 100, 1, "a")[1], samples(np.arange(100), 100, 0, "b")[1], range(100)]
    assert len({tuple(order) for order in orders + others}) == 6


@pytest.mark.parametrize("weights", MIXES.values(), ids=MIXES)
def test_counts_follow_the_shares(weights: dict[str, float]) -> None:
    mix, total = Mix(weights, 3), sum(weights.values())
    counts = dict.fromkeys(weights, 0)
    for n in range(1, 20_001):
        source, nth = mix.at(n - 1)
        assert nth == counts[source]
        counts[source] += 1
        share = weights[source] / total
        variance = n * share * (1 - share)
        assert variance < 1 or abs(counts[source] - n * share) <= 3 * math.sqrt(variance)
    assert mix.counts(20_000) == counts
    assert all(abs(counts[name] - 20_000 * weights[name] / total) <= 2 for name in weights)


@pytest.mark.parametrize("weights", MIXES.values(), ids=MIXES)
def test_any_step_is_found_without_the_steps_before(weights: dict[str, float]) -> None:
    along = Mix(weights, 3)
    sequence = [along.at(step) for step in range(5000)]
    for step in [4999, 0, 1023, 1024, 1025, 3000, 17]:
        assert Mix(weights, 3).at(step) == sequence[step]
        assert Mix(weights, 3).counts(step) == {
            name: sum(source == name for source, _ in sequence[:step]) for name in weights
        }


@pytest.mark.parametrize("start", [0, 10**6 - 500, 10**10])
def test_counts_never_decrease_over_block_borders(start: int) -> None:
    mix = Mix(MIXES["many"] | {"rare": 1e-5}, 0)
    counts = mix.counts(start)
    for step in range(start, start + 3000):
        source, nth = mix.at(step)
        assert nth == counts[source]
        counts[source] += 1
    assert mix.counts(start + 3000) == counts
    assert sum(counts.values()) == start + 3000


def test_a_rare_source_is_drawn_once_in_every_stretch_of_its_own() -> None:
    mix = Mix({"often": 1.0, "rare": 1e-6}, 0)
    drawn = [mix.counts(step)["rare"] for step in range(0, 20_000_004, 1_000_001)]
    assert all(abs(count - place) <= 1 for place, count in enumerate(drawn))


def test_the_sequence_is_random_and_a_source_of_weight_zero_never_comes() -> None:
    weights = {"a": 1, "never": 0, "b": 1}
    first, second = ("".join(Mix(weights, seed).at(step)[0] for step in range(400)) for seed in (0, 1))
    assert first != second
    pairs = Counter(first[place : place + 2] for place in range(0, 400, 2))
    assert set(pairs) == {"ab", "ba"}
    assert 70 <= pairs["ab"] <= 130
    assert Mix(weights, 0).counts(400) == {"a": 200, "b": 200, "never": 0}


def test_weightings() -> None:
    weights, sizes = {"small": 1.0, "large": 3.0}, {"small": 100, "large": 900}

    def share(weighting: str | dict) -> float:
        found = weighted(weighting, weights, sizes)
        return found["large"] / found["small"]

    assert share("fixed") == share(dict(type="fixed")) == 3
    assert share(dict(type="size", power=1)) == pytest.approx(27)
    assert share(dict(type="size", power=0.5)) == pytest.approx(9)
    assert share(dict(type="temperature", temperature=1)) == pytest.approx(27)
    assert share(dict(type="temperature", temperature=2.0)) == pytest.approx(9)
    assert share(dict(type="temperature", temperature=1e9)) == pytest.approx(3)


@pytest.mark.parametrize(
    ("weighting", "words"),
    [
        ("sizes", "did you mean 'size'"),
        ("size", "takes power"),
        (dict(power=1), "None is not known"),
        (dict(type="size", power="1"), "power='1'"),
        (dict(type="size", power=-1), "at least 0"),
        (dict(type="size", power=math.inf), "power=inf"),
        (dict(type="size", temperature=1), "temperature=1"),
        (dict(type="temperature", temperature=0), "above 0"),
        (dict(type="temperature", temperature=True), "temperature=True"),
        (dict(type="fixed", power=1), "'fixed'"),
    ],
)
def test_wrong_weightings_say_what_is_expected(weighting: str | dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        weighted(weighting, {"a": 1.0}, {"a": 10})


def test_ranks_are_split_by_weight() -> None:
    assert apportioned(8, {"a": 5, "b": 2, "c": 1}) == {"a": 5, "b": 2, "c": 1}
    assert apportioned(10, {"a": 1, "b": 1, "c": 1}) == {"a": 4, "b": 3, "c": 3}
    assert apportioned(8, {"a": 1e6, "b": 1, "none": 0, "c": 1}) == {"a": 6, "b": 1, "none": 0, "c": 1}
    assert apportioned(1, {"a": 1, "none": 0}) == {"a": 1, "none": 0}
    with pytest.raises(UserError, match="a, b: at least 2, this run has 1"):
        apportioned(1, {"a": 1, "b": 1, "none": 0})


def test_ranks_split_at_random_keep_the_quota() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        weights = {str(number): float(weight) for number, weight in enumerate(rng.exponential(size=rng.integers(1, 8)))}
        world = len(weights) + int(rng.integers(0, 30))
        ranks = apportioned(world, weights)
        assert sum(ranks.values()) == world
        assert min(ranks.values()) >= 1
        quotas = {name: world * weight / sum(weights.values()) for name, weight in weights.items()}
        if min(quotas.values()) >= 1:
            assert all(abs(ranks[name] - quotas[name]) < 1 for name in weights)
        by_weight = sorted(weights, key=weights.get)
        assert [ranks[name] for name in by_weight] == sorted(ranks.values())
