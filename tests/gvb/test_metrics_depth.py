"""Depth errors against a loop over pixels, and against mmsegmentation's where that is right."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from metric_runs import run

from interngv.errors import UserError
from interngv.gvb.metrics import DepthErrorMetric, counts, scores

NAMES = ["rmse", "abs_rel", "sq_rel", "delta1", "delta2", "delta3", "silog", "log10"]


def sample(predicted: Any, truth: Any, name: str = "one") -> dict[str, Any]:
    maps = dict(pred_depth_map=predicted, gt_depth_map=truth)
    data = {key: dict(data=torch.as_tensor(np.asarray(value, dtype=np.float32))[None]) for key, value in maps.items()}
    return dict(data, img_path=f"pictures/{name}.png")


def pictures(seed: int, number: int = 5, size: tuple[int, int] = (30, 50)) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of a prediction and a truth in metres; a third of the truth is missing in one way or another."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        truth = rng.uniform(0.5, 14, size).astype(np.float32)
        predicted = (truth * rng.lognormal(0, 0.3, size)).astype(np.float32)
        hole = rng.random(size)
        truth[hole < 0.3], truth[hole < 0.2], truth[hole < 0.1] = 0, np.inf, np.nan
        predicted[rng.random(size) < 0.05] = 0
        made.append((predicted, truth))
    return made


def naive(pairs: list[tuple[np.ndarray, np.ndarray]], cap: float, box: tuple[float, ...]) -> dict[str, float]:
    """A picture and a pixel at a time; ``box`` is top, bottom, left, right in pixels."""
    rows = []
    for predicted, truth in pairs:
        pixels = []
        for y in range(truth.shape[0]):
            for x in range(truth.shape[1]):
                true = float(truth[y, x])
                if box[0] <= y < box[1] and box[2] <= x < box[3] and 1e-3 < true < cap:
                    pixels.append((min(max(float(predicted[y, x]), 1e-3), cap), true))
        n = len(pixels)
        logs = [math.log(p) - math.log(t) for p, t in pixels]
        rows.append(
            [
                math.sqrt(sum((p - t) ** 2 for p, t in pixels) / n),
                sum(abs(p - t) / t for p, t in pixels) / n,
                sum((p - t) ** 2 / t for p, t in pixels) / n,
                *(100 * sum(max(p / t, t / p) < 1.25**k for p, t in pixels) / n for k in (1, 2, 3)),
                100 * math.sqrt(sum(d * d for d in logs) / n - (sum(logs) / n) ** 2),
                sum(abs(math.log10(p) - math.log10(t)) for p, t in pixels) / n,
            ]
        )
    return {name: sum(row[i] for row in rows) / len(rows) for i, name in enumerate(NAMES)}


SHARES = {
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen_kitti": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}


@pytest.mark.parametrize("crop", [None, "garg", "eigen_kitti"])
@pytest.mark.parametrize("seed", range(3))
def test_as_a_loop_over_pixels(seed: int, crop: str | None) -> None:
    pairs = pictures(seed)
    found = run(DepthErrorMetric(max_depth=10, crop=crop), [sample(*pair) for pair in pairs])
    top, bottom, left, right = SHARES[crop] if crop else (0, 1, 0, 1)
    box = int(top * 30), int(bottom * 30), int(left * 50), int(right * 50)
    assert scores("rmse", found) == pytest.approx(naive(pairs, 10, box), rel=1e-9)
    cut = [truth[box[0] : box[1], box[2] : box[3]] for _, truth in pairs]
    assert counts(found) == {
        "pixels_without_depth": sum(int((~np.isfinite(one) | (one == 0)).sum()) for one in cut),
        "pixels_beyond_the_cap": sum(int((np.isfinite(one) & (one >= 10)).sum()) for one in cut),
    }


def test_nyus_crop() -> None:
    pairs = pictures(0, 1, (480, 640))
    found = run(DepthErrorMetric(crop="eigen_nyu"), [sample(*pair) for pair in pairs])
    assert scores("rmse", found) == pytest.approx(naive(pairs, 10, (45, 471, 41, 601)), rel=1e-9)


def test_as_mmsegmentation_where_it_is_right() -> None:
    metrics = pytest.importorskip("mmseg.evaluation.metrics")
    pairs = [(np.maximum(predicted, 0.1).clip(max=10), truth) for predicted, truth in pictures(4)]
    samples = [sample(*pair) for pair in pairs]
    ours = scores("rmse", run(DepthErrorMetric(), samples))
    theirs = run(metrics.DepthMetric(min_depth_eval=1e-3, max_depth_eval=10), samples)
    for name in ("rmse", "abs_rel", "sq_rel", "log10"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-5)
    assert [ours[f"delta{k}"] for k in (1, 2, 3)] == pytest.approx([100 * theirs[f"d{k}"] for k in (1, 2, 3)], rel=1e-5)
    assert ours["silog"] < 100 * theirs["silog"], "it takes off only half of the mean's square"


def test_silog_forgives_scale_and_the_mean_is_over_pictures() -> None:
    truth = np.full((4, 4), 2.0)
    found = scores("rmse", run(DepthErrorMetric(), [sample(2 * truth, truth)]))
    assert found["silog"] == pytest.approx(0, abs=1e-4) and found["rmse"] == 2 and found["abs_rel"] == 1
    sparse = np.where(np.arange(16).reshape(4, 4) == 0, 2.0, 0)
    both = run(DepthErrorMetric(), [sample(truth + 4, truth), sample(truth, sparse)])
    assert both["gvb/rmse"] == 2, "one pixel weighs in its picture as sixteen do in theirs"


def test_a_picture_without_depth_is_left_out() -> None:
    empty = sample(np.ones((2, 2)), [[0, np.inf], [np.nan, 0]])
    found = run(DepthErrorMetric(), [empty, sample([[2.0]], [[1.0]])])
    assert found["gvb/rmse"] == 1
    assert counts(found) == {"pictures_without_depth": 1, "pixels_without_depth": 4}
    millimetres = sample(np.ones((2, 2)), np.full((2, 2), 1500))
    with pytest.raises(UserError, match=r"no picture of the test set has depth between 0.001 and 10 m.*in metres\?"):
        run(DepthErrorMetric(), [empty, millimetres])


@pytest.mark.parametrize(
    ("predicted", "truth", "said"),
    [
        ([[1.0, 1.0]], [[1.0], [1.0]], r"maps of one size, got pred_depth_map \(1, 2\), gt_depth_map \(2, 1\)"),
        ([[np.nan]], [[1.0]], "1 of 1 predicted depths are not finite"),
        ([[1.0]], [[-12.0]], "depth -12 m: a 16-bit file was read with a sign"),
    ],
)
def test_refuses(predicted: list, truth: list, said: str) -> None:
    with pytest.raises(UserError, match=f"pictures/one.png: .*{said}"):
        run(DepthErrorMetric(), [sample(predicted, truth)])


def test_refuses_wrong_settings() -> None:
    with pytest.raises(UserError, match="no crop 'eigen_city'.*; did you mean 'eigen_kitti'"):
        DepthErrorMetric(crop="eigen_city")
    with pytest.raises(UserError, match="0 < min_depth < max_depth, got 0 and 80"):
        DepthErrorMetric(min_depth=0, max_depth=80)
    with pytest.raises(UserError, match=r"the crop of NYUv2 is for \(480, 640\) pixels, depth has \(2, 2\)"):
        run(DepthErrorMetric(crop="eigen_nyu"), [sample(np.ones((2, 2)), np.ones((2, 2)))])
