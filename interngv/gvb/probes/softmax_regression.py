"""Multinomial logistic regression by L-BFGS, arranged for a sweep over the strength of its penalty.

    f(W) = C * sum_n loss(W x_n, y_n) + 1/2 |W|^2        loss: cross entropy of the softmax; the bias goes unpenalised

which is scikit-learn's ``LogisticRegression(C)``. What a sweep gains over one solver call after another:

* An iteration costs two products with all features: logits of the direction, and the gradient. The line search works on
  logits, in which a step along the direction is linear: Newton's method in one variable.
* Features are rotated to their principal axes once. The penalty does not notice, and Böhning's bound of the curvature,
  a * C * X'X + 1 (D. Böhning, "Multinomial logistic regression algorithm", 1992), is diagonal there: L-BFGS starts from
  its inverse. ``a`` is the mean curvature of the softmax at the current point.
* A fit starts from the solution at another C.
* The residual of the right class is minus the sum of the others, not 1 less than its probability: float32 then holds it
  to full precision also where the fit is nearly perfect, so that large C converge.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

_MEMORY = 10  # past steps that L-BFGS keeps
_SLOPE = 0.1  # of the first slope may be left along the direction
_TRIALS = 20  # steps that a line search tries
_PATIENCE = 10  # iterations without ...
_RESOLUTION = 1e-7  # ... so much less of the objective, which is what float32 can tell apart, end a fit
_TINY = 1e-300


class Solution(NamedTuple):
    """Weights (P, R + 1) with the bias last, and how good they are.

    Attributes:
        weights: of the solution.
        objective: f.
        gap: by how much the objective may exceed its minimum, relatively, as judged by the gradient's length
            (:meth:`SoftmaxRegression.solve`).
        iterations: of L-BFGS.
        converged: whether the gap came below the tolerance.
    """

    weights: Tensor
    objective: float
    gap: float
    iterations: int
    converged: bool


class SoftmaxRegression:
    """The problem for one set of samples.

    Args:
        coordinates: (N, R + 1) features along principal axes and a column of ones
            (:meth:`interngv.gvb.probes.linear.PrincipalAxes.coordinates`).
        scatter: (R,) their sums of squares.
        targets: (N,) from 0 to P - 1, each of them present.
    """

    def __init__(self, coordinates: Tensor, scatter: Tensor, targets: Tensor) -> None:
        self._x, self._targets = coordinates, targets[:, None]
        self._curvature = torch.cat([scatter, scatter.new_full((1,), len(targets))])
        self._penalty = torch.ones_like(self._curvature)
        self._penalty[-1] = 0
        self.outputs = int(targets.max()) + 1
        frequencies = torch.bincount(targets).double() / len(targets)
        self._loss_of_frequencies = -len(targets) * (frequencies * frequencies.log()).sum().item()

    def solve(self, c: float, start: Tensor | None, tolerance: float, max_iterations: int) -> Solution:
        """The minimum for one C, from ``start`` (P, R + 1) or zero.

        f curves by at least 1 in every penalised direction, and in the bias by C * N times the softmax's curvature, so
        that the gradient bounds how far it is above its minimum. It has converged where that is at most ``tolerance``
        times f, and times what the weights are about: their penalty or, where that is more, what they gain over
        predicting class frequencies. (With tiny C the gain is a small part of f, with large C and overlapping classes
        the penalty is.) Stops early where float precision allows no further descent.
        """
        weights = self._x.new_zeros(self.outputs, self._x.shape[1]) if start is None else start
        logits = self._logits(weights)
        residuals = self._residuals(logits)[1]
        gradient = self._gradient(c, weights, residuals)
        memory: list[tuple[Tensor, Tensor]] = []
        history: list[float] = []
        for iteration in range(max_iterations + 1):
            curvature = self._mean_curvature(c, residuals)
            objective, gap = self._objective_and_gap(c, weights, logits, gradient, curvature[-1])
            history.append(objective)
            stalled = iteration >= _PATIENCE and history[-1 - _PATIENCE] - objective <= _RESOLUTION * objective
            if gap <= tolerance or stalled or iteration == max_iterations:
                break
            direction = two_loops(memory, -gradient, 1 / curvature)
            turned = self._logits(direction)
            slope = (gradient * direction).sum(dtype=torch.float64).item()
            found = self._line_search(c, weights, direction, logits, turned, slope)
            if found is None:
                break
            step, residuals = found
            weights, logits = weights + step * direction, logits + step * turned
            before, gradient = gradient, self._gradient(c, weights, residuals)
            memory = [*memory, (step * direction, gradient - before)][-_MEMORY:]
        return Solution(weights, objective, gap, iteration, gap <= tolerance)

    def _logits(self, weights: Tensor) -> Tensor:
        return self._x @ weights.T.to(self._x)

    def _residuals(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (N, P), and the same less 1 at the right class."""
        probabilities = logits.softmax(1)
        residuals = probabilities.scatter(1, self._targets, 0)
        return probabilities, residuals.scatter_(1, self._targets, -residuals.sum(1, keepdim=True))

    def _gradient(self, c: float, weights: Tensor, residuals: Tensor) -> Tensor:
        return weights * self._penalty + c * (residuals.T @ self._x)

    def _objective_and_gap(
        self, c: float, weights: Tensor, logits: Tensor, gradient: Tensor, bias_curvature: Tensor
    ) -> tuple[float, float]:
        penalty = 0.5 * (weights.square() * self._penalty).sum(dtype=torch.float64).item()
        objective = c * self._loss(logits) + penalty
        scale = min(objective, max(penalty, c * self._loss_of_frequencies - objective))
        squares = gradient.square().sum(0, dtype=torch.float64)
        excess = 0.5 * (squares[:-1].sum() + squares[-1] / bias_curvature).item()
        return objective, excess / max(scale, _TINY)

    def _loss(self, logits: Tensor) -> float:
        # The loss is softplus of how far the others' log-sum-exp is above the right logit: exact for tiny losses too.
        margins = (logits - logits.gather(1, self._targets)).scatter_(1, self._targets, -math.inf)
        return softplus(margins.logsumexp(1)).sum(dtype=torch.float64).item()

    def _mean_curvature(self, c: float, residuals: Tensor) -> Tensor:
        """(R + 1,) of f, with the softmax's mean over samples and outputs in place of its own at each."""
        softmax_curvature = (residuals.abs() - residuals.square()).mean()  # p (1 - p), exact where p is nearly one
        return self._penalty + c * softmax_curvature * self._curvature

    def _line_search(
        self, c: float, weights: Tensor, direction: Tensor, logits: Tensor, turned: Tensor, first_slope: float
    ) -> tuple[float, Tensor] | None:
        """A step that leaves a tenth of the slope at most, and the residuals there, or None where none is found."""
        if first_slope >= 0:
            return None
        linear = (weights * direction * self._penalty).sum(dtype=torch.float64).item()
        quadratic = (direction.square() * self._penalty).sum(dtype=torch.float64).item()
        step, low, high = 1.0, 0.0, math.inf
        for _ in range(_TRIALS):
            probabilities, residuals = self._residuals(logits + step * turned)
            slope = c * (residuals * turned).sum(dtype=torch.float64).item() + linear + step * quadratic
            if abs(slope) <= _SLOPE * abs(first_slope):
                return step, residuals
            low, high = (low, step) if slope > 0 else (step, high)
            spread = turned - (probabilities * turned).sum(1, keepdim=True)
            curvature = c * (probabilities * spread.square()).sum(dtype=torch.float64).item() + quadratic
            step -= slope / curvature
            if not low < step < high:  # Newton left the interval that holds the minimum
                step = (low + high) / 2 if high < math.inf else 2 * low
        return None


def two_loops(memory: list[tuple[Tensor, Tensor]], vector: Tensor, first: Tensor) -> Tensor:
    """L-BFGS's inverse Hessian times a vector (J. Nocedal, Math. of Computation 35, 1980).

    Args:
        memory: past steps and changes of the gradient, the oldest first.
        vector: to multiply.
        first: diagonal of the inverse Hessian before any update.
    """
    coefficients = []
    for step, change in reversed(memory):
        inverse = 1 / (step * change).sum()
        coefficients.append((inverse, inverse * (step * vector).sum()))
        vector = vector - coefficients[-1][1] * change
    vector = first * vector
    for (step, change), (inverse, coefficient) in zip(memory, reversed(coefficients), strict=True):
        vector = vector + step * (coefficient - inverse * (change * vector).sum())
    return vector
