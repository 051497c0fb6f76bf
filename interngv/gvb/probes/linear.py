"""What linear probes share: heads on the raw features, standardisation, and the features' principal axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

_ROWS = 2**16  # predicted together
_NEGLIGIBLE = 1e-12  # of the largest variance: float32 features hold no more digits


@dataclass(frozen=True)
class LinearHeads:
    """G linear classifiers (a :class:`interngv.gvb.probes.selection.Model`).

    Args:
        weights: (G, P, D + 1), the bias in the last column.
        classes: (P,) the class of each output: a class without a training sample may have none.
        notes: of each head.
    """

    weights: Tensor
    classes: Tensor
    notes: Sequence[dict[str, Any]]

    def predict(self, features: Tensor) -> Tensor:
        """(G, N) classes of features (N, D)."""
        return torch.stack([torch.cat([self._of(head, x) for x in features.split(_ROWS)]) for head in self.weights])

    def _of(self, head: Tensor, features: Tensor) -> Tensor:
        return self.classes[torch.addmm(head[:, -1], features, head[:, :-1].T).argmax(1)]


class Standardisation(NamedTuple):
    """Mean (D,) and standard deviation (D,) of training features; a constant feature keeps its scale."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, features: Tensor, enabled: bool = True) -> "Standardisation":
        """That of features (N, D); mean 0 and deviation 1 where not ``enabled``."""
        if not enabled:
            return cls(features.new_zeros(features.shape[1]), features.new_ones(features.shape[1]))
        variance, mean = torch.var_mean(features, dim=0, correction=0)
        return cls(mean, torch.where(variance > 0, variance.sqrt(), 1))

    def apply(self, features: Tensor) -> Tensor:
        """Standardised features (N, D)."""
        return (features - self.mean) / self.deviation

    def fold(self, heads: Tensor) -> Tensor:
        """Heads (..., D + 1) for standardised features turned into heads for raw ones."""
        raw = heads[..., :-1] / self.deviation
        return torch.cat([raw, heads[..., -1:] - (raw @ self.mean.to(raw))[..., None]], -1)


class PrincipalAxes(NamedTuple):
    """Orthonormal directions in which features vary, the least first.

    An L2 penalty on weights does not depend on the basis, so a penalised linear model may be fitted on the coordinates:
    there are at most min(N - 1, D) of them, and their scatter matrix is diagonal.

    Attributes, in double precision:
        mean: (D,) of the features.
        axes: (D, R) directions.
        scatter: (R,) sums of squares along them, above zero.
    """

    mean: Tensor
    axes: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "PrincipalAxes":
        """Those of features (N, D), by one eigendecomposition of the smaller of D x D and N x N."""
        mean = features.mean(0, dtype=torch.float64)
        if features.shape[0] >= features.shape[1]:
            scatter, axes = _positive(_scatter_matrix(features, mean))
            return cls(mean, axes, scatter)
        centred = features.double() - mean
        scatter, combinations = _positive(centred @ centred.T)
        return cls(mean, centred.T @ combinations / scatter.sqrt(), scatter)

    def along(self, features: Tensor) -> Tensor:
        """(N, R): centred features (N, D) along the axes, in double precision."""
        return (features.double() - self.mean) @ self.axes

    def coordinates(self, features: Tensor) -> Tensor:
        """(N, R + 1): the same in the features' precision, with a column of ones for the bias."""
        along = torch.cat([self.along(part).to(part) for part in features.split(_ROWS)])
        return torch.cat([along, along.new_ones(len(along), 1)], 1)

    def heads(self, heads: Tensor) -> Tensor:
        """Heads (..., R + 1) on coordinates turned into heads (..., D + 1) on features, in double precision."""
        raw = heads[..., :-1].double() @ self.axes.T
        return torch.cat([raw, heads[..., -1:] - (raw @ self.mean)[..., None]], -1)


def _scatter_matrix(features: Tensor, mean: Tensor) -> Tensor:
    total = mean.new_zeros(len(mean), len(mean))
    for part in features.split(_ROWS):
        centred = part.double() - mean
        total.addmm_(centred.T, centred)
    return total


def _positive(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a positive semi-definite matrix, without those that are zero but for rounding."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = (values > _NEGLIGIBLE * values[-1]) & (values > 0)
    return values[kept], vectors[:, kept]
