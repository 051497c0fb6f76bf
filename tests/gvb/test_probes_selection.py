"""How probes choose hyper-parameters, and what they refuse: the same for all of them."""

import math
from dataclasses import replace

import pytest
import torch
from probe_samples import blobs

from interngv.errors import UserError
from interngv.gvb.probes import ProbeData, ProbeResult, Samples, Schedule, knn, logistic, ridge, sgd_grid
from interngv.gvb.probes.data import stratified
from interngv.gvb.probes.result import edges, scores_of

BRIEF = Schedule(iterations=400, batch_size=64, milestones=(300,))
PROBES = {
    "sgd_grid": lambda data: sgd_grid(data, lrs=(0.03, 0.3), weight_decays=(0.0, 0.01), schedule=BRIEF),
    "logistic": lambda data: logistic(data, cs=(0.01, 1.0, 100.0), halvings=1),
    "ridge": lambda data: ridge(data, penalties=(0.1, 10.0)),
    "leave-one-out": lambda data: ridge(data, penalties=(0.1, 10.0), choice="leave-one-out"),
    "knn": lambda data: knn(data, ks=(1, 3)),
}


def task(**changes: object) -> ProbeData:
    return replace(ProbeData(train=blobs(), test=blobs(seed=1), num_classes=4), **changes)


def same(one: ProbeResult, other: ProbeResult) -> bool:
    return replace(one, seconds=0.0) == replace(other, seconds=0.0)


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_learns_and_reports(probe) -> None:
    result = probe(task())
    assert result.score == result.scores["accuracy"] > 70
    assert len(result.per_class) == 4 and math.isclose(sum(result.per_class) / 4, result.scores["per_class"])
    assert max(row["score"] for row in result.table) == next(
        row["score"] for row in result.table if result.chosen.items() <= row.items()
    )
    assert result.details["training_samples"] == result.details["test_samples"] == 120


def test_few_samples_judge_by_several_splits() -> None:
    for samples, splits in ((4, 0), (20, 5), (120, 5), (250, 2), (500, 1)):
        given = task(train=blobs(samples))
        found = given.splits()
        assert len(found) == splits
        kept = {tuple(sorted(map(tuple, training.features.tolist()))) for training, _ in found}
        assert len(kept) == splits  # each of them another
        whole = sorted(map(tuple, given.train.features.tolist()))
        for training, validation in found:
            both = torch.cat([training.features, validation.features]).tolist()
            assert sorted(map(tuple, both)) == whole and len(validation.labels) == round(0.2 * len(whole))


def test_the_score_of_a_setting_is_the_mean_of_its_splits() -> None:
    data = task()
    rows = knn(data, ks=(1, 5)).table
    for row in rows:
        one_split = [
            knn(replace(data, train=training, val=validation), ks=(1, 5)).table[rows.index(row)]["score"]
            for training, validation in data.splits()
        ]
        assert row["score"] == pytest.approx(sum(one_split) / len(one_split))


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_the_test_set_has_no_say(probe) -> None:
    """Other test labels change the scores and nothing else."""
    first = probe(task())
    other = probe(task(test=Samples(first_test := blobs(seed=1).features, torch.randint(4, (len(first_test),)))))
    assert (first.chosen, first.table, first.at_edge) == (other.chosen, other.table, other.at_edge)
    assert first.score != other.score


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_global_random_state_has_no_say(probe) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = probe(task())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(first, probe(task()))


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_a_class_without_samples_shifts_no_index(probe) -> None:
    """Classes 0, 2, 3, 5 of seven: the scores are those of four classes, and the empty ones are named."""
    to = torch.tensor([0, 2, 3, 5])
    parts = {name: blobs(seed=seed) for seed, name in enumerate(("train", "test", "val"))}
    plain = probe(task(**parts))
    moved = {name: Samples(part.features, to[part.labels]) for name, part in parts.items()}
    spread = probe(ProbeData(**moved, num_classes=7))
    assert spread.details["classes_without_training_sample"] == [1, 4, 6]
    assert [value is None for value in spread.per_class] == [False, True, False, False, True, False, True]
    assert abs(spread.score - plain.score) <= 4  # SGD starts from another head
    assert [spread.per_class[c] for c in to] == pytest.approx(plain.per_class, abs=14)


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_one_class(probe) -> None:
    one = Samples(blobs().features, torch.full((120,), 2))
    assert probe(ProbeData(one, one, 4)).score == 100


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_one_sample_a_class_leaves_nothing_to_choose_on(probe) -> None:
    train = blobs(4)
    result = probe(task(train=train)) if probe is not PROBES["knn"] else knn(task(train=train))
    assert result.chosen_by == ("leave-one-out" if probe is PROBES["leave-one-out"] else "fallback")
    assert result.score > 50
    assert result.at_edge == () or result.chosen_by == "leave-one-out"


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_given_validation_samples_are_chosen_on_but_never_trained_on(probe) -> None:
    val = blobs(40, seed=2)
    shuffled = Samples(val.features, val.labels.flip(0))
    found, other = probe(task(val=val)), probe(task(val=shuffled))
    if probe is PROBES["leave-one-out"]:
        assert found.chosen_by == "leave-one-out" and same(found, other)
        return
    assert found.chosen_by == "validation" and found.details["validation_samples"] == 40
    assert found.table != other.table
    if found.chosen == other.chosen:
        assert found.scores == other.scores


def test_half_precision_features_are_read_as_they_are() -> None:
    train, test = (Samples(x.features.half(), x.labels.int()) for x in (blobs(), blobs(seed=1)))
    whole = [Samples(x.features.float(), x.labels.long()) for x in (train, test)]
    assert same(knn(ProbeData(train, test, 4)), knn(ProbeData(*whole, 4)))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("sizes", [[1, 1, 1], [2] * 102, [1, 2, 3, 0, 40, 400], [1000]])
def test_a_split_is_stratified_and_empties_no_class(sizes: list[int], share: float) -> None:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    chosen = stratified(labels, len(sizes), share, seed=3)
    held = torch.bincount(labels[chosen], minlength=len(sizes)).tolist()
    for size, count in zip(sizes, held, strict=True):
        assert count <= max(size - 1, 0) and abs(count - share * size) <= 1
    possible = sum(size > 1 for size in sizes)
    assert sum(held) == round(share * len(labels)) or sum(held) >= min(possible, round(share * len(labels)))
    assert not torch.equal(chosen, stratified(labels, len(sizes), share, seed=4)) or sum(held) == 0


def test_flowers_at_ten_percent_can_be_chosen_on() -> None:
    """102 classes of two samples: 41 of 204 are held out, each of another class."""
    held = stratified(torch.arange(204) % 102, 102, 0.2, seed=0)
    assert int(held.sum()) == 41 and len((torch.arange(204) % 102)[held].unique()) == 41


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        (dict(lr=0.1, decay=0.0, votes="a", only=1), ()),
        (dict(lr=0.01, decay=0.1, votes="a", only=1), ("lr", "decay")),
        (dict(lr=1.0, decay=0.01, votes="b", only=1), ("lr",)),
    ],
)
def test_edges(chosen: dict, found: tuple) -> None:
    grid = [
        dict(lr=lr, decay=decay, votes=votes, only=1)
        for lr in (0.01, 0.1, 1.0)
        for decay in (0.0, 0.01, 0.1)
        for votes in "ab"
    ]
    assert edges(chosen, grid, limits={"decay": 0.0}) == found


def test_scores_against_a_count_by_hand() -> None:
    predicted, labels = torch.tensor([0, 0, 1, 1, 3, 3]), torch.tensor([0, 0, 0, 0, 1, 3])
    assert scores_of(predicted, labels, 5, "accuracy") == pytest.approx({"accuracy": 50, "per_class": 50})
    assert list(scores_of(predicted, labels, 5, "per_class")) == ["per_class", "accuracy"]
    uneven = scores_of(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1]), 2, "per_class")
    assert uneven == {"per_class": 50, "accuracy": 75}


def broken(features: torch.Tensor | None = None, labels: torch.Tensor | None = None) -> Samples:
    good = blobs()
    return Samples(good.features if features is None else features, good.labels if labels is None else labels)


def with_nan(value: float) -> torch.Tensor:
    features = blobs().features
    features[[7, 50]] = value
    return features


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(train=broken(with_nan(math.nan))), r"train: sample 7 .*2 of 120"),
        (dict(test=broken(with_nan(-math.inf))), r"test: sample 7 .*2 of 120"),
        (dict(train=broken(labels=blobs().labels + 2)), r"train: label 4 of sample 2 .*outside 0 to 3.*60 of 120"),
        (dict(val=broken(labels=blobs().labels - 1)), r"val: label -1 of sample 0 .*30 of 120"),
        (dict(train=broken(labels=torch.zeros(119, dtype=torch.long))), r"train: labels are 120 integers"),
        (dict(train=broken(labels=torch.zeros(120))), r"labels are 120 integers.*float32"),
        (dict(train=broken(torch.zeros(120, 6, dtype=torch.long))), r"floating-point \(N, D\)"),
        (dict(train=broken(torch.zeros(120))), r"floating-point \(N, D\)"),
        (dict(test=broken(torch.zeros(120, 5))), r"test: features are 5 wide, those of train 6"),
        (dict(test=broken(torch.zeros(120, 6, dtype=torch.float64))), r"float64 on cpu.*float32"),
        (dict(train=Samples(torch.zeros(0, 6), torch.zeros(0, dtype=torch.long))), "no samples"),
        (dict(test=Samples(torch.zeros(3, 0), torch.zeros(3, dtype=torch.long))), "no samples, or none"),
        (dict(metric="accuracies"), "did you mean 'accuracy'"),
        (dict(held_out=1.0), r"in \(0, 1\)"),
    ],
)
def test_bad_data_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        task(**changes)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (lambda data: knn(data, ks=(1, 200)), "k is 1 to 96.*200"),
        (lambda data: knn(data, ks=(0,)), "k is 1 to 96.*0"),
        (lambda data: knn(data, votes=("weighting",)), "did you mean 'weighted'"),
        (lambda data: knn(data, temperature=0), "temperature"),
        (lambda data: logistic(data, cs=(1.0, 0.0)), "C is a finite number above zero, got 0"),
        (lambda data: logistic(data, cs=()), "grid of hyper-parameters is empty"),
        (lambda data: ridge(data, penalties=(-1.0,)), "penalty"),
        (lambda data: ridge(data, choice="leave-one-in"), "did you mean 'leave-one-out'"),
        (lambda data: sgd_grid(data, momenta=(1.0,)), r"momentum in \[0, 1\)"),
        (lambda data: sgd_grid(data, lrs=()), "grid of hyper-parameters is empty"),
        (lambda data: sgd_grid(data, schedule=Schedule(iterations=0)), "at least one step"),
    ],
)
def test_bad_settings_are_refused(probe, message: str) -> None:
    with pytest.raises(UserError, match=message):
        probe(task())
