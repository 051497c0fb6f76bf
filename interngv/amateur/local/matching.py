"""What a local self-supervision compares, and the loss of one comparison: that of BYOL (arXiv 2006.07733, section 3.1).

Shapes: N images, P and Q places in two of their views, C channels of a map, D the width of a projection.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from interngv.amateur.local.geometry import ViewGeometry
from interngv.amateur.losses.base import unit
from interngv.amateur.losses.projectors import Projector


@dataclass(frozen=True)
class SeenView:
    """A view of N images as a network sees it.

    Attributes:
        maps: (N, C, h, w) a level, the finest first.
        geometry: where it lies in the images.
    """

    maps: tuple[Tensor, ...]
    geometry: ViewGeometry


class LocalMatching(nn.Module):
    """Compares what lies at one place of an image in two of its views.

    Attributes:
        projector: stands between maps and comparison; the target network has a momentum copy of it.
        predictor: from the online network's projections to the target's; the target network has none.
    """

    def __init__(self, width: int, projector: nn.Module, hidden: int, out: int) -> None:
        super().__init__()
        self.width = width
        self.projector = projector
        self.predictor = Projector(out, hidden, out)

    def forward(
        self, online: SeenView, target: SeenView, projector: nn.Module, proposals: list[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss () of one view's predictions for another's projections, and figures for the log.

        Where no place lies in both views, the loss is 0 and every parameter still has a gradient, of zeros.

        Args:
            online: seen by the network that learns.
            target: another view, seen by the target network.
            projector: the target network's.
            proposals: boxes (M, 4) an image, in its pixels; None where the samples have none.

        Raises:
            ValueError: maps of another width than that of the projector.
        """
        raise NotImplementedError

    def check(self, maps: tuple[Tensor, ...]) -> None:
        """Raises ValueError where a map has other channels than ``width``."""
        if wrong := [one.shape[1] for one in maps if one.shape[1] != self.width]:
            raise ValueError(f"{type(self).__name__}: width={self.width}, and a map has {wrong[0]} channels")


def disagreement(predictions: Tensor, goals: Tensor, matched: Tensor) -> Tensor:
    """() the mean of 2 - 2 cos over an image's matched pairs, then over the images that have any; 0 where none has.

    Args:
        predictions: (N, P, D), of any length.
        goals: (N, Q, D), of any length; they get no gradient.
        matched: (N, P, Q) bool, which are compared.
    """
    with torch.autocast(predictions.device.type, enabled=False):
        own, other = unit(predictions), unit(goals.detach())
        # A prediction's goals are summed first: of all that is (N, P, Q), the backward pass keeps nothing.
        cosines = (own * (matched.to(other) @ other)).sum((1, 2))
        counts = matched.sum((1, 2))
        means = (2 * counts - 2 * cosines) / counts.clamp(min=1)
        return means.sum() / counts.count_nonzero().clamp(min=1)


def spread(goals: Tensor) -> Tensor:
    """() how far projections (..., D) are from a collapse: 0 where all point one way, about 1 where they do all ways.

    It is the deviation of unit vectors times the square root of D (SimSiam, arXiv 2011.10566, section 4.1).
    """
    vectors = unit(goals.detach()).flatten(0, -2)
    return vectors.std(dim=0, correction=0).mean() * vectors.shape[1] ** 0.5


def each(layers: nn.Module, features: Tensor) -> Tensor:
    """(N, P, D) of (N, P, C): layers for single vectors, applied to all places together."""
    return layers(features.flatten(0, 1)).unflatten(0, features.shape[:2])
