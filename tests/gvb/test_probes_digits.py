"""All probes on real data, scikit-learn's digits by other writers than those trained on, beside scikit-learn itself."""

from collections.abc import Callable

import pytest
import torch
from probe_samples import digits
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from interngv.gvb.probes import ProbeData, ProbeResult, Samples, Schedule, knn, logistic, ridge, sgd_grid

TRAIN, TEST = digits(0, 1200), digits(1200, 1797)
SCHEDULE = Schedule(iterations=1000, batch_size=256, milestones=(300, 600, 900))
PROBES: dict[str, Callable[[ProbeData], ProbeResult]] = {
    "sgd_grid": lambda data: sgd_grid(data, lrs=(0.003, 0.03, 0.3), schedule=SCHEDULE, normalise=True),
    "logistic": lambda data: logistic(data, cs=(1e-4, 1e-2, 1.0), halvings=1),
    "ridge": ridge,
    "leave-one-out": lambda data: ridge(data, choice="leave-one-out"),
    "knn": knn,
}


def accuracy(model: object) -> float:
    """That of a scikit-learn classifier, in %."""
    model.fit(TRAIN.features.double().numpy(), TRAIN.labels.numpy())
    return 100 * float((model.predict(TEST.features.double().numpy()) == TEST.labels.numpy()).mean())


def theirs(name: str, chosen: dict) -> float:
    """Accuracy of scikit-learn's model of the same kind with the same hyper-parameters."""
    if name in ("ridge", "leave-one-out"):
        return accuracy(RidgeClassifier(chosen["penalty"]))
    if name == "knn":
        weights = (
            (lambda far: torch.exp(torch.tensor(1 - far) / 0.07).numpy()) if chosen["votes"] == "weighted" else None
        )
        return accuracy(KNeighborsClassifier(chosen["k"], weights=weights, metric="cosine"))
    return accuracy(LogisticRegression(C=chosen.get("C", 0.01), tol=1e-6, max_iter=5000))


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
def test_as_good_as_scikit_learns(name: str) -> None:
    result = PROBES[name](ProbeData(TRAIN, TEST, 10))
    assert result.chosen_by == ("leave-one-out" if name == "leave-one-out" else "held-out")
    tolerance = 2.0 if name == "sgd_grid" else 0.2  # 0.2 % is one sample of 597
    assert result.score == pytest.approx(theirs(name, result.chosen), abs=tolerance)


@pytest.mark.slow
def test_the_logistic_sweep_beats_ridge_and_plain_logistic_regression_of_scikit_learn() -> None:
    score = logistic(ProbeData(TRAIN, TEST, 10)).score
    assert score > accuracy(RidgeClassifier()) and score > 91
    assert score >= accuracy(LogisticRegression(max_iter=5000)) - 0.2


@pytest.mark.slow
def test_the_split_finds_what_a_look_at_the_test_set_would() -> None:
    """The score of the chosen C is within a point of the best that any C has on the test set."""
    data = ProbeData(TRAIN, TEST, 10)
    peeked = [logistic(data, cs=(c,)).score for c in (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)]
    assert max(peeked) - 1 <= logistic(data).score


def test_every_metric_is_chosen_by_itself() -> None:
    """With a rare class the two scores part, and the headline is the one that was asked for."""
    kept = (TRAIN.labels != 8) | (torch.arange(1200) % 20 == 0)
    rare = Samples(TRAIN.features[kept], TRAIN.labels[kept])
    accuracy, per_class = (knn(ProbeData(rare, TEST, 10, metric=metric)) for metric in ("accuracy", "per_class"))
    assert accuracy.score == accuracy.scores["accuracy"] and per_class.score == per_class.scores["per_class"]
    assert per_class.score == pytest.approx(sum(per_class.per_class) / 10)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU in sight")
@pytest.mark.parametrize("name", PROBES)
def test_a_gpu_gives_the_same(name: str) -> None:
    moved = [Samples(x.features.cuda(), x.labels.cuda()) for x in (TRAIN, TEST)]
    here, there = PROBES[name](ProbeData(TRAIN, TEST, 10)), PROBES[name](ProbeData(*moved, 10))
    assert here.chosen == there.chosen and here.score == pytest.approx(there.score, abs=0.4)
