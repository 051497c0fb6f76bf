"""Local self-supervision on a grid: cells of two views' maps that lie at one place of the image.

After PixPro (Xie et al., CVPR 2021, arXiv 2011.10043, section 3.1), which says what a match is. Its pixel propagation
is left out: BYOL's predictor, on every cell, takes that place.
"""

import torch
from torch import Tensor, nn

from interngv.amateur.local.geometry import cell_matches
from interngv.amateur.local.matching import LocalMatching, SeenView, disagreement, each, spread
from interngv.amateur.losses.projectors import Projector
from interngv.registry import MODELS


@MODELS.register_module()
class DenseMatching(LocalMatching):
    """A cell of one view predicts the projections of those cells of another view that are near it in the image.

        L = mean over matched (i, j) of 2 - 2 cos(predictor(projector(x_i)), target projector(y_j))

    The mean is over an image's pairs, then over images, then over levels, which share projector and predictor. Memory
    grows with N times the product of both maps' cells, some 5 MB an image at 28 x 28: finer levels are for boxes.

    Args:
        width: C, channels of the maps.
        reach: below which distance, in diagonals of a cell, two cells match; 0.7 as in PixPro.
        hidden: width of the layer inside projector and predictor.
        out: D.

    Logs ``matches``, pairs of cells an image, and ``spread`` (:func:`interngv.amateur.local.matching.spread`).
    Raises ValueError for a reach that is not above 0.
    """

    def __init__(self, width: int, reach: float = 0.7, hidden: int = 2048, out: int = 256) -> None:
        super().__init__(width, Projector(width, hidden, out), hidden, out)
        if reach <= 0:
            raise ValueError(f"reach={reach}: expected a distance above 0")
        self.reach = reach

    def forward(
        self, online: SeenView, target: SeenView, projector: nn.Module, proposals: list[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As :meth:`LocalMatching.forward`; proposals are not looked at."""
        self.check(online.maps)
        losses, matches, spreads = [], [], []
        for own, other in zip(online.maps, target.maps, strict=True):
            predictions = each(self.predictor, each(self.projector, _cells(own)))
            with torch.no_grad():
                goals = each(projector, _cells(other))
            matched = cell_matches(online.geometry, _grid(own), target.geometry, _grid(other), self.reach)
            losses.append(disagreement(predictions, goals, matched))
            matches.append(matched.sum() / len(matched))
            spreads.append(spread(goals))
        return _mean(losses), {"matches": _mean(matches), "spread": _mean(spreads)}


def _cells(map_: Tensor) -> Tensor:
    """(N, h * w, C), row by row."""
    return map_.flatten(2).transpose(1, 2)


def _grid(map_: Tensor) -> tuple[int, int]:
    return map_.shape[-2], map_.shape[-1]


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()
