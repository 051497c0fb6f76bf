"""mIoU against a naive loop over classes, scikit-learn, and mmsegmentation's where that is right."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from metric_runs import run
from sklearn.metrics import jaccard_score

from interngv.errors import UserError
from interngv.gvb.metrics import MeanIoUMetric, counts, per_class, scores

CLASSES = ("sky", "road", "tree", "car", "bus")


def sample(predicted: Any, truth: Any, name: str = "one") -> dict[str, Any]:
    """A data sample of two maps (H, W), as mmsegmentation holds them: (1, H, W)."""
    maps = dict(pred_sem_seg=predicted, gt_sem_seg=truth)
    data = {key: dict(data=torch.as_tensor(np.asarray(value)).long()[None]) for key, value in maps.items()}
    return dict(data, img_path=f"pictures/{name}.jpg")


def pictures(seed: int, number: int = 7) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of a prediction and a mask; 'bus' is in neither, 'car' in predictions only."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        truth = rng.choice([0, 1, 2, 255], size=(23, 17), p=[0.6, 0.2, 0.1, 0.1])
        wrong = rng.integers(4, size=truth.shape)
        made.append((np.where((rng.random(truth.shape) < 0.7) & (truth < 255), truth, wrong), truth))
    return made


@pytest.mark.parametrize("seed", range(4))
def test_as_a_loop_over_classes(seed: int) -> None:
    pairs = pictures(seed)
    found = run(MeanIoUMetric(), [sample(*pair) for pair in pairs], CLASSES)
    predicted, truth = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    predicted, truth = predicted[truth != 255], truth[truth != 255]
    each = {}
    for index, name in enumerate(CLASSES):
        either = ((predicted == index) | (truth == index)).sum()
        if either:
            each[name] = 100 * ((predicted == index) & (truth == index)).sum() / either
    assert "bus" not in each and each["car"] == 0
    assert per_class(found) == pytest.approx(each)
    assert scores("miou", found) == pytest.approx(
        {
            "miou": np.mean(list(each.values())),
            "pixel_accuracy": 100 * np.mean(predicted == truth),
            "class_accuracy": 100 * np.mean([np.mean(predicted[truth == index] == index) for index in range(3)]),
        }
    )
    assert found["gvb/miou"] == pytest.approx(100 * jaccard_score(truth, predicted, average="macro"))
    assert counts(found) == {"classes_without_a_pixel": 1}


def test_as_mmsegmentation_to_its_two_decimals() -> None:
    metrics = pytest.importorskip("mmseg.evaluation.metrics")
    samples = [sample(*pair) for pair in pictures(9)]
    ours, theirs = run(MeanIoUMetric(), samples, CLASSES), run(metrics.IoUMetric(), samples, CLASSES)
    assert ours["gvb/miou"] == pytest.approx(theirs["mIoU"], abs=0.0051)
    assert ours["gvb/pixel_accuracy"] == pytest.approx(theirs["aAcc"], abs=0.0051)
    assert ours["gvb/class_accuracy"] == pytest.approx(theirs["mAcc"], abs=0.0051)


def test_counts_beyond_what_float32_holds() -> None:
    metric = MeanIoUMetric()
    metric.dataset_meta = dict(classes=("a", "b"))
    large, small = np.array([[2**24, 0], [2**24, 0], [2**24, 0]]), np.array([[1, 0], [1, 0], [1, 0]])
    wrong = np.array([[0, 0], [0, 1], [1, 0]])
    assert metric.summary([large, small, wrong], Counter())["miou"] == 50 * (2**24 + 1) / (2**24 + 2)


def test_a_picture_that_is_ignored_throughout_is_counted() -> None:
    blank = sample(np.zeros((2, 2)), np.full((2, 2), 255))
    found = run(MeanIoUMetric(), [blank, sample([[0, 1]], [[0, 1]])], ("a", "b"))
    assert found["gvb/miou"] == 100 and counts(found) == {"pictures_ignored_throughout": 1}
    with pytest.raises(UserError, match="every pixel of the test set is ignored"):
        run(MeanIoUMetric(), [blank], ("a", "b"))


@pytest.mark.parametrize(
    ("predicted", "truth", "said"),
    [
        ([[0, 1]], [[0], [1]], r"expected maps of one size, got pred_sem_seg \(1, 2\), gt_sem_seg \(2, 1\)"),
        ([[0, 1]], [[0, 2]], "mask label 2 is outside the 2 classes"),
        ([[0, 7]], [[0, 1]], "predicted label 7 is outside"),
        ([[0, 1]], [[0, -1]], "mask label -1"),
    ],
)
def test_refuses(predicted: list, truth: list, said: str) -> None:
    with pytest.raises(UserError, match=f"pictures/one.jpg: {said}"):
        run(MeanIoUMetric(), [sample(predicted, truth)], ("a", "b"))
