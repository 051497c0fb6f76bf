"""Ridge: heads against scikit-learn's solver, leave-one-out against leaving each one out."""

import numpy as np
import pytest
import torch
from probe_samples import SETS, blobs
from sklearn.linear_model import Ridge

from interngv.errors import UserError
from interngv.gvb.probes import ProbeData, Samples, ridge
from interngv.gvb.probes.closed_form import _Ridge


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("penalty", [1e-2, 1.0, 1e4])
@pytest.mark.parametrize("name", SETS)
def test_against_scikit_learn(name: str, penalty: float, normalise: bool) -> None:
    samples = SETS[name]()
    x = samples.features.double().numpy()
    deviation = np.where((spread := x.std(0)) > 0, spread, 1) if normalise else np.ones(x.shape[1])
    targets = 2.0 * np.eye(int(samples.labels.max()) + 1)[samples.labels] - 1  # -1 and 1
    theirs = Ridge(alpha=penalty, solver="svd").fit((x - x.mean(0)) / deviation, targets)
    head = _Ridge(samples, normalise)([{"penalty": penalty}])
    expected = theirs.coef_ / deviation / 2
    assert np.abs(head.weights[0, :, :-1].numpy() - expected).max() <= 1e-4 * np.abs(expected).max()
    ours = (samples.features @ head.weights[0, :, :-1].T + head.weights[0, :, -1]).numpy()
    assert np.abs(2 * ours - 1 - theirs.predict((x - x.mean(0)) / deviation)).max() <= 1e-3
    assert (head.predict(samples.features)[0].numpy() == ours.argmax(1)).all()


@pytest.mark.parametrize("penalty", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("name", ["blobs", "wide"])
def test_leave_one_out_leaves_each_one_out(name: str, penalty: float) -> None:
    samples = SETS[name]()
    x, targets = samples.features.double().numpy(), np.eye(4)[samples.labels]
    expected = []
    for index in range(len(x)):
        rest = np.arange(len(x)) != index
        fit = Ridge(alpha=penalty, solver="svd").fit(x[rest], targets[rest])
        expected.append(int(fit.predict(x[index : index + 1]).argmax()))
    assert _Ridge(samples, normalise=False).leave_one_out(penalty).tolist() == expected


def test_an_interpolating_fit_has_no_leave_one_out_score() -> None:
    """More features than samples and next to no penalty: what is left of the formula is rounding."""
    samples = Samples(100 * torch.randn(20, 50, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 4)
    data = ProbeData(samples, samples, 4)
    result = ridge(data, penalties=(1e-9, 1.0), choice="leave-one-out")
    assert [row["score"] is None for row in result.table] == [True, False]
    with pytest.raises(UserError, match="none of 2 settings"):
        ridge(data, penalties=(1e-9, 1e-8), choice="leave-one-out")


def test_a_class_that_was_never_seen_is_never_predicted() -> None:
    """Its targets would all be zero, which beats every class that is predicted below zero."""
    train, far = blobs(), Samples(-50 * blobs().features, blobs().labels)
    shifted = Samples(train.features, train.labels + 1)
    heads = _Ridge(shifted, normalise=False)([{"penalty": 1e-3}])
    assert heads.predict(far.features).min() >= 1
