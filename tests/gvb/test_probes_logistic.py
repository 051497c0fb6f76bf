"""Logistic regression: objective and predictions against scikit-learn, certificate and extremes by themselves."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from probe_samples import SETS, blobs, digits, wide
from sklearn.linear_model import LogisticRegression

from interngv.gvb.probes import ProbeData, Samples, logistic
from interngv.gvb.probes.linear import PrincipalAxes
from interngv.gvb.probes.logistic_sweep import _Sweep, between, c_of_decay
from interngv.gvb.probes.softmax_regression import SoftmaxRegression


def objective(samples: Samples, c: float, weights: np.ndarray, bias: np.ndarray) -> float:
    """scikit-learn's, in double precision."""
    w, b = (torch.as_tensor(x, dtype=torch.float64) for x in (weights, bias))
    logits = samples.features.double() @ w.T + b
    return (
        c * torch.nn.functional.cross_entropy(logits, samples.labels, reduction="sum") + w.square().sum() / 2
    ).item()


@pytest.mark.slow
@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("name", SETS)
def test_against_scikit_learn(name: str, c: float) -> None:
    samples = SETS[name]()
    sweep = _Sweep(samples, normalise=False, tolerance=1e-4, max_iterations=1000)
    sweep([{"C": 1e-3}])  # the start is warm
    head = sweep([{"C": c}])
    theirs = LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit(samples.features.double(), samples.labels)
    own = objective(samples, c, head.weights[0, :, :-1], head.weights[0, :, -1])
    assert head.notes[0]["converged"] and head.notes[0]["objective"] == pytest.approx(own, rel=1e-4)
    assert own <= (1 + 1e-4) * objective(samples, c, theirs.coef_, theirs.intercept_)
    agree = head.predict(samples.features)[0].numpy() == theirs.predict(samples.features.double())
    assert agree.mean() >= 0.97  # with little C logits hardly differ


@pytest.mark.slow
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_a_tight_solution_is_scikit_learns(c: float) -> None:
    samples = digits()
    head = _Sweep(samples, normalise=False, tolerance=1e-7, max_iterations=2000)([{"C": c}])
    theirs = LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit(samples.features.double(), samples.labels)
    ours, expected = head.weights[0, :, :-1].numpy(), theirs.coef_ - theirs.coef_.mean(0)
    assert np.abs(ours - ours.mean(0) - expected).max() <= 2e-3 * np.abs(expected).max()
    assert (head.predict(samples.features)[0].numpy() == theirs.predict(samples.features.double())).all()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.slow
def test_the_tolerance_bounds_the_objective(name: str) -> None:
    """For any penalty; the minimum is that of a far tighter fit."""
    samples = SETS[name]()
    for c in (1e-6, 1e-3, 1.0, 1e3):
        loose = _Sweep(samples, False, 1e-2, 2000)([{"C": c}]).notes[0]
        tight = _Sweep(samples, False, 1e-4, 2000)([{"C": c}]).notes[0]
        assert loose["converged"] and tight["converged"]
        assert loose["gap"] <= 1e-2 and loose["iterations"] <= tight["iterations"]
        assert tight["objective"] * (1 - 1e-4) <= loose["objective"] <= tight["objective"] * (1 + 1e-2)


def test_too_few_iterations_are_reported() -> None:
    result = logistic(ProbeData(digits(), digits(), 10), cs=(1.0, 10.0), halvings=0, max_iterations=3)
    assert [row["converged"] for row in result.table] == [False, False]
    assert [row["iterations"] for row in result.table] == [3, 3]
    assert result.details["converged"] is False


def test_gradient_and_loss_are_autograds() -> None:
    samples = blobs()
    axes = PrincipalAxes.of(samples.features)
    x = axes.coordinates(samples.features).double()
    problem = SoftmaxRegression(x, axes.scatter, samples.labels)
    weights = torch.randn(4, x.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights.requires_grad_()
    loss = 2.5 * torch.nn.functional.cross_entropy(x @ weights.T, samples.labels, reduction="sum")
    (loss + weights[:, :-1].square().sum() / 2).backward()
    with torch.no_grad():
        gradient = problem._gradient(2.5, weights, problem._residuals(x @ weights.T)[1])
        value, gap = problem._objective_and_gap(2.5, weights, x @ weights.T, gradient, torch.tensor(1.0))
    torch.testing.assert_close(gradient, weights.grad)
    assert value == pytest.approx((loss + weights[:, :-1].square().sum() / 2).item())
    assert gap > 1


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (20, 20), (1, 5)])
def test_principal_axes_against_svd(shape: tuple[int, int]) -> None:
    features = torch.randn(shape, generator=torch.Generator().manual_seed(1)) + 3
    axes = PrincipalAxes.of(features)
    centred = features.double() - features.double().mean(0)
    rank = min(shape[0] - 1, shape[1])
    torch.testing.assert_close(axes.scatter.sqrt().flip(0), torch.linalg.svdvals(centred)[:rank])
    torch.testing.assert_close(axes.axes.T @ axes.axes, torch.eye(rank, dtype=torch.float64))
    torch.testing.assert_close(axes.along(features) @ axes.axes.T, centred)
    heads = torch.randn(3, rank + 1, dtype=torch.float64)
    raw = axes.heads(heads)
    direct = axes.coordinates(features.double()) @ heads.T
    torch.testing.assert_close(features.double() @ raw[:, :-1].T + raw[:, -1], direct)


@pytest.mark.slow
def test_halving_stops_at_an_eighth_of_a_decade() -> None:
    result = logistic(ProbeData(digits(), digits(), 10))
    tried = sorted(row["C"] for row in result.table)
    best = tried.index(min(tried, key=lambda c: abs(math.log(c / result.chosen["C"]))))
    around = [math.log10(b / a) for a, b in pairwise(tried)][max(best - 1, 0) : best + 1]
    assert min(around) == pytest.approx(1 / 8, abs=1e-6)
    assert 13 < len(tried) <= 13 + 6


def test_between_looks_beside_the_best() -> None:
    rows = [{"C": 10.0**i, "score": score} for i, score in enumerate([1, 4, 5, 5, 2])]
    assert [setting["C"] for setting in between(rows)] == pytest.approx([10**1.5, 10**2.5])
    assert [setting["C"] for setting in between(rows[:3])] == pytest.approx([10**1.5])


def test_the_edge_of_the_grid_is_named() -> None:
    data = ProbeData(digits(), digits(), 10)
    assert logistic(data, cs=(1e-7, 1e-6, 1e-5)).at_edge == ("C",)

    separated = ProbeData(wide(), wide(), 4)
    alike = logistic(separated, cs=(0.1, 1.0, 10.0), halvings=0)
    assert len({row["score"] for row in alike.table}) == 1 and alike.at_edge == ()


def test_c_of_decay_is_bamboos_penalty() -> None:
    """Minimising the mean loss with weight decay is minimising scikit-learn's objective, up to a factor."""
    samples, decay = blobs(), 0.01
    c = c_of_decay(decay, 120)
    w, b = np.random.default_rng(0).normal(size=(4, 6)), np.zeros(4)
    mean = objective(samples, 1 / 120, w, b) - (w**2).sum() / 2 + decay * (w**2).sum() / 2
    assert objective(samples, c, w, b) == pytest.approx(mean / decay)


def test_features_that_do_not_vary() -> None:
    constant = Samples(torch.full((30, 5), 2.0), torch.arange(30) % 3 % 2)
    result = logistic(ProbeData(constant, constant, 3), cs=(0.1, 1.0), halvings=0)
    assert result.score == pytest.approx(200 / 3)  # the more frequent class
