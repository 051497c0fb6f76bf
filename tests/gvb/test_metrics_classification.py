"""Accuracy and mean per-class accuracy against scikit-learn."""

from typing import Any

import numpy as np
import pytest
import torch
from metric_runs import run
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from interngv.errors import UserError
from interngv.gvb.metrics import AccuracyMetric, counts, per_class, scores

CLASSES = tuple("abcdefg")


def sample(truth: int, predicted: int | None = None, pred_score: Any = None) -> dict[str, Any]:
    answer = dict(pred_score=pred_score) if predicted is None else dict(pred_label=torch.tensor([predicted]))
    return dict(img_path="pictures/one.jpg", gt_label=torch.tensor([truth]), **answer)


@pytest.mark.parametrize("seed", range(5))
def test_as_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.choice(6, size=200, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05])  # class g has no sample
    predicted = np.where(rng.random(200) < 0.6, truth, rng.integers(7, size=200))
    found = run(AccuracyMetric(), [sample(*pair) for pair in zip(truth, predicted, strict=True)], CLASSES)
    occurs = np.unique(truth)
    matrix = confusion_matrix(truth, predicted, labels=range(7))
    assert found["gvb/accuracy"] == pytest.approx(100 * accuracy_score(truth, predicted), abs=1e-9)
    rows = matrix[occurs].sum(1)
    assert found["gvb/per_class"] == pytest.approx(100 * np.mean(matrix[occurs, occurs] / rows), abs=1e-9)
    assert found["gvb/per_class"] == pytest.approx(100 * balanced_accuracy_score(truth, predicted), abs=1e-9)
    table = per_class(found)
    assert table is not None and list(table) == [CLASSES[index] for index in occurs]
    assert counts(found) == {"classes_without_a_sample": 7 - len(occurs)}


def test_scores_of_mmpretrain() -> None:
    structures = pytest.importorskip("mmpretrain.structures")
    rng = torch.Generator().manual_seed(0)
    samples = [
        structures.DataSample().set_gt_label(index % 7).set_pred_score(torch.rand(7, generator=rng))
        for index in range(50)
    ]
    found = run(AccuracyMetric(), samples, CLASSES)
    right = [int(one.pred_score.argmax()) == int(one.gt_label) for one in samples]
    assert found["gvb/accuracy"] == pytest.approx(100 * np.mean(right))


def test_a_headline_for_each_metric() -> None:
    found = run(AccuracyMetric(), [sample(0, 0), sample(0, 0), sample(0, 1), sample(1, 0)], "ab")
    assert scores("accuracy", found) == pytest.approx({"accuracy": 50, "per_class": 100 / 3})
    assert next(iter(scores("per_class", found))) == "per_class"


def test_equal_names_stay_apart() -> None:
    found = run(AccuracyMetric(), [sample(0, 0), sample(1, 2), sample(2, 2)], ("crane", "dog", "crane"))
    assert per_class(found) == {"crane (0)": 100, "dog": 0, "crane (2)": 100}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (sample(7, 0), "true label 7 is outside the 7 classes"),
        (sample(-1, 0), "true label -1"),
        (sample(0, 9), "predicted label 9"),
        (sample(0, None, torch.tensor([0.1] * 6 + [float("nan")])), "1 of 7 predicted scores are not finite"),
        (sample(0, None, torch.zeros(5)), "5 scores were predicted for 7 classes"),
        (dict(sample(0, 0), gt_label=torch.tensor([0, 1])), "one true label, got 2"),
    ],
)
def test_refuses(bad: dict, said: str) -> None:
    with pytest.raises(UserError, match=f"pictures/one.jpg: .*{said}|{said}"):
        run(AccuracyMetric(), [bad], CLASSES)
