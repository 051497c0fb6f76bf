"""What a few tries can tell: mean, sample deviation, and whether two means differ by more than the tries' noise.

Student's t for paired tries and Welch's for others (Welch, Biometrika 34, 1947), Holm's step-down correction for many
comparisons (Holm, Scand. J. Statist. 6, 1979). The t distribution is integrated here, for scipy is no dependency.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A difference of means, its 95 % interval, two-sided p value, and t's degrees of freedom."""

    difference: float
    low: float
    high: float
    p: float
    degrees: float


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1 in the denominator); None for a single value."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def paired(a: Sequence[float], b: Sequence[float]) -> Estimate | None:
    """Mean of ``b - a`` over pairs; None where fewer than two pairs or no spread leaves the noise unknown."""
    gaps = [y - x for x, y in zip(a, b, strict=True)]
    spread = deviation(gaps)
    if spread is None or not _is_spread(spread, [*a, *b]):
        return None
    return _estimate(mean(gaps), spread / math.sqrt(len(gaps)), len(gaps) - 1)


def welch(a: Sequence[float], b: Sequence[float]) -> Estimate | None:
    """Mean of ``b`` less mean of ``a``, unequal variances; None where a single try or no spread leaves it open."""
    one, other = deviation(a), deviation(b)
    if one is None or other is None or not _is_spread(max(one, other), [*a, *b]):
        return None
    parts = (one**2 / len(a), other**2 / len(b))
    degrees = sum(parts) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    return _estimate(mean(b) - mean(a), math.sqrt(sum(parts)), degrees)


def _is_spread(spread: float, values: Sequence[float]) -> bool:
    """Whether a deviation is more than what rounding leaves of equal numbers."""
    return spread > 1e-12 * max(1.0, *map(abs, values))


def _estimate(difference: float, error: float, degrees: float) -> Estimate:
    reach = t_quantile(degrees) * error
    return Estimate(difference, difference - reach, difference + reach, t_tail(difference / error, degrees), degrees)


def t_tail(t: float, degrees: float) -> float:
    """P(|T| > |t|) for Student's t with ``degrees`` >= 1, to about 1e-10."""
    return max(0.0, 1 - _inner(math.atan(abs(t) / math.sqrt(degrees)), degrees))


@lru_cache(maxsize=1024)
def t_quantile(degrees: float, level: float = LEVEL) -> float:
    """The t with P(|T| <= t) = ``level``, by bisection."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _inner(middle, degrees) < level else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _inner(angle: float, degrees: float) -> float:
    """P(|T| <= sqrt(n) tan(angle)) by Gauss-Legendre: with t = sqrt(n) tan(x) the integrand is cos(x)^(n - 1)."""
    nodes, weights = _gauss_legendre()
    area = angle / 2 * float(weights @ np.cos(angle * (nodes + 1) / 2) ** (degrees - 1))
    return 2 / math.sqrt(math.pi) * math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) * area


@lru_cache(maxsize=1)
def _gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(128)


def holm(p_values: Sequence[float], alpha: float = 1 - LEVEL) -> int:
    """How many of the p values Holm's correction still rejects: the chance of one wrong among them is below alpha."""
    ordered = sorted(p_values)
    kept = (rank for rank, p in enumerate(ordered) if p > alpha / (len(ordered) - rank))
    return next(kept, len(ordered))
