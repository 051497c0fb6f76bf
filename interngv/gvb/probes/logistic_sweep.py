"""Logistic regression over a sweep of C: the linear probe of CLIP (Radford et al., ICML 2021, appendix A.3) and others.

CLIP sweeps the penalty over 1e-6 to 1e6 on a logarithmic scale at 8 points a decade, and finds the best by halving the
interval around the peak of a coarse grid; so does this, from one point a decade. Its objective is scikit-learn's, a sum
over samples. Bamboo's grid (Zhang et al., arXiv 2203.07845) is of weight decays of a mean loss; :func:`c_of_decay`
converts.
"""

import math
from collections.abc import Sequence

import torch

from interngv.errors import UserError
from interngv.gvb.probes.data import ProbeData, Samples
from interngv.gvb.probes.linear import LinearHeads, PrincipalAxes, Standardisation
from interngv.gvb.probes.result import ProbeResult, Setting
from interngv.gvb.probes.selection import Row, best, select_and_test
from interngv.gvb.probes.softmax_regression import SoftmaxRegression, Solution

DECADES = tuple(10.0**power for power in range(-6, 7))
HALVINGS = 3  # to 8 points a decade
BAMBOO_DECAYS = (1e-5, 1e-4, 3e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)


def c_of_decay(weight_decay: float, samples: int) -> float:
    """The C of a penalty of ``weight_decay / 2 * |W|^2`` on the mean loss of this many samples."""
    return 1 / (weight_decay * samples)


def logistic(
    data: ProbeData,
    cs: Sequence[float] = DECADES,
    halvings: int = HALVINGS,
    normalise: bool = False,
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
) -> ProbeResult:
    """Multinomial logistic regression with the best C; how it is chosen: :mod:`interngv.gvb.probes.selection`.

    The table notes of every fit its ``objective``, the ``gap`` that the gradient leaves to the minimum, ``iterations``
    and whether it ``converged``. A class without a training sample has no output and is never predicted.

    Args:
        data: the task.
        cs: inverse strengths of the penalty.
        halvings: how often the (logarithmic) intervals beside the best C are halved after the grid.
        normalise: standardise the features with the mean and deviation of the samples trained on. CLIP does not.
        tolerance: how much the objective may exceed its minimum, relatively (``SoftmaxRegression.solve``).
        max_iterations: of L-BFGS for each C.

    Raises:
        UserError: a C that is not above zero and finite, an empty grid.
    """
    if bad := [c for c in cs if not 0 < c < math.inf]:
        raise UserError(f"C is a finite number above zero, got {bad[0]}")

    def method(samples: Samples) -> "_Sweep":
        return _Sweep(samples, normalise, tolerance, max_iterations)

    left = iter(range(halvings if len(set(cs)) > 1 else 0))
    return select_and_test(
        data,
        method,
        grid=[{"C": float(c)} for c in sorted(set(cs))],
        fallback={"C": min(cs, key=lambda c: abs(math.log(c)), default=1.0)},
        refine=(lambda rows: between(rows) if next(left, None) is not None else []) if halvings else None,
    )


def between(rows: list[Row]) -> list[Setting]:
    """The (geometric) middles between the best C so far and its neighbours."""
    tried = sorted(row["C"] for row in rows)
    place = tried.index(best(rows, [{"C": row["C"]} for row in rows], {})["C"])
    return [{"C": math.sqrt(tried[place] * c)} for c in tried[max(place - 1, 0) : place + 2] if c != tried[place]]


class _Sweep:
    """Fits to one set of samples, each from the solution at the nearest C so far."""

    def __init__(self, samples: Samples, normalise: bool, tolerance: float, max_iterations: int) -> None:
        self._limits = (tolerance, max_iterations)
        self._scaling = Standardisation.of(samples.features, normalise)
        features = self._scaling.apply(samples.features) if normalise else samples.features
        self._axes = PrincipalAxes.of(features)
        self._present, targets = samples.labels.unique(return_inverse=True)
        coordinates = self._axes.coordinates(features)
        self._problem = SoftmaxRegression(coordinates, self._axes.scatter.to(coordinates), targets)
        self._solutions: dict[float, Solution] = {}

    def __call__(self, settings: Sequence[Setting]) -> LinearHeads:
        solutions = [self._solve(setting["C"]) for setting in settings]
        heads = torch.stack([self._scaling.fold(self._axes.heads(x.weights)) for x in solutions])
        return LinearHeads(heads.to(solutions[0].weights), self._present, [_notes(x) for x in solutions])

    def _solve(self, c: float) -> Solution:
        nearest = min(self._solutions, key=lambda other: abs(math.log(c / other)), default=None)
        start = None if nearest is None else self._solutions[nearest].weights
        self._solutions[c] = self._problem.solve(c, start, *self._limits)
        return self._solutions[c]


def _notes(solution: Solution) -> dict[str, float | int | bool]:
    return {name: value for name, value in solution._asdict().items() if name != "weights"}
