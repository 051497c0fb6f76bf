"""Ridge regression to one-hot targets in closed form, as big_vision's few-shot probe (Beyer et al., 2022).

One eigendecomposition serves every penalty and, if wanted, leave-one-out predictions: with coordinates s_n of the
centred features along their principal axes V, sums of squares e along them and N samples,

    W = V diag(1 / (e + penalty)) S' Y        h_n = 1 / N + sum_r s_nr^2 / (e_r + penalty)
    prediction of sample n without itself = y_n - (y_n - fit_n) / (1 - h_n)

Targets of 0 and 1 or of -1 and 1 give the same classes, as targets are centred and the bias goes unpenalised.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from interngv.errors import UserError, did_you_mean
from interngv.gvb.probes.data import ProbeData, Samples
from interngv.gvb.probes.linear import LinearHeads, PrincipalAxes, Standardisation
from interngv.gvb.probes.result import ProbeResult, Setting, edges, scores_of
from interngv.gvb.probes.selection import best, select_and_test, tested

PENALTIES = tuple(2.0**power for power in range(-10, 21))
CHOICES = ("held-out", "leave-one-out")
_ROWS = 2**14  # worked on together in double precision
_LEAST_LEFT = 1e-9  # of 1 - h_n: below, fewer than seven digits of it are right


def ridge(
    data: ProbeData, penalties: Sequence[float] = PENALTIES, normalise: bool = False, choice: str = "held-out"
) -> ProbeResult:
    """Ridge classification with the best penalty.

    A class without a training sample has no output and is never predicted.

    Args:
        data: the task.
        penalties: factors of the weights' squared length beside the sum of squared errors (scikit-learn's ``alpha``).
        normalise: standardise the features with the mean and deviation of the samples trained on.
        choice: ``'held-out'`` as the other probes (:mod:`interngv.gvb.probes.selection`), ``data.val`` where given;
            ``'leave-one-out'`` by the score of predicting each training sample from all others, ``data.val`` unused; a
            penalty so small that the fit goes through every sample to the last digit has no score then.

    Raises:
        UserError: a penalty that is not above zero and finite, an empty grid, an unknown choice, no penalty with a
            score.
    """
    if bad := [value for value in penalties if not 0 < value < math.inf]:
        raise UserError(f"a ridge penalty is a finite number above zero, got {bad[0]}")
    if choice not in CHOICES:
        raise UserError(f"choice {choice!r} is none of {', '.join(CHOICES)}{did_you_mean(choice, CHOICES)}")
    grid = [{"penalty": float(value)} for value in penalties]
    method = partial(_Ridge, normalise=normalise)
    if choice == "leave-one-out" and len(grid) > 1:
        return _by_leave_one_out(data, method, grid)
    return select_and_test(data, method, grid, fallback=grid[len(grid) // 2] if grid else {})


def _by_leave_one_out(data: ProbeData, method: Callable[[Samples], "_Ridge"], grid: Sequence[Setting]) -> ProbeResult:
    start, fits, rows = time.perf_counter(), method(data.train), []
    for setting in grid:
        predicted = fits.leave_one_out(setting["penalty"])
        found = {} if predicted is None else scores_of(predicted, data.train.labels, data.num_classes, data.metric)
        rows.append({**setting, "score": found.get(data.metric)})
    chosen = best(rows, grid, {})
    return tested(data, method, chosen, "leave-one-out", start, rows, edges(chosen, grid, {}))


class _Ridge:
    """What all penalties share for one set of samples."""

    def __init__(self, samples: Samples, normalise: bool) -> None:
        self._scaling = Standardisation.of(samples.features, normalise)
        self._features = self._scaling.apply(samples.features) if normalise else samples.features
        self._axes = PrincipalAxes.of(self._features)
        self._present, self._targets = samples.labels.unique(return_inverse=True)
        counts = torch.bincount(self._targets).double()
        sums = counts[:, None] * -self._axes.mean
        for rows, targets in zip(self._features.split(_ROWS), self._targets.split(_ROWS), strict=True):
            sums.index_add_(0, targets, rows.double())
        self._products = sums @ self._axes.axes  # (P, R): Y'S
        self._shares = counts / len(self._targets)

    def __call__(self, settings: Sequence[Setting]) -> LinearHeads:
        heads = torch.stack([self._head(setting["penalty"]) for setting in settings])
        raw = self._scaling.fold(self._axes.heads(heads)).to(self._features)
        return LinearHeads(raw, self._present, [{} for _ in settings])

    def _head(self, penalty: float) -> Tensor:
        """(P, R + 1) on coordinates, in double precision."""
        return torch.cat([self._products / (self._axes.scatter + penalty), self._shares[:, None]], 1)

    def leave_one_out(self, penalty: float) -> Tensor | None:
        """(N,) classes predicted for the samples, each from all others; None where rounding leaves no digits."""
        found = []
        for rows, targets in zip(self._features.split(_ROWS), self._targets.split(_ROWS), strict=True):
            along = self._axes.along(rows)
            left = 1 - 1 / len(self._targets) - (along.square() / (self._axes.scatter + penalty)).sum(1, keepdim=True)
            if left.min() < _LEAST_LEFT:
                return None
            head, wanted = self._head(penalty), one_hot(targets, len(self._present)).double()
            missed = wanted - torch.addmm(head[:, -1], along, head[:, :-1].T)
            found.append((wanted - missed / left).argmax(1))
        return self._present[torch.cat(found)]
