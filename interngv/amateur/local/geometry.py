"""Where the views of an image lie in it: cells of their maps and boxes, from view to image and back.

Positions are continuous and in pixels of the image from which the views were cut: its first pixel reaches from 0 to 1.

Shapes: N images, K boxes, a map of h x w cells.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_SLACK = 0.01  # pixels: what rounding may add to a box that ends where a view ends


@dataclass(frozen=True)
class ViewGeometry:
    """One view of N images.

    Attributes:
        boxes: (N, 4) what was cut out of each image: x0, y0, x1, y1.
        flips: (N,) bool, whether left and right were exchanged after that.
        size: height and width of the view in its own pixels, the same for all.
    """

    boxes: Tensor
    flips: Tensor
    size: tuple[int, int]

    def extents(self) -> Tensor:
        """(N, 2) width and height of what was cut out."""
        return self.boxes[:, 2:] - self.boxes[:, :2]

    def columns(self, count: int) -> Tensor:
        """(N, w) x of the centres of a map's columns; the cells of a map tile the view evenly."""
        across = _centres(count, self.boxes)
        across = torch.where(self.flips[:, None], 1 - across, across)
        return self.boxes[:, :1] + across * self.extents()[:, :1]

    def rows(self, count: int) -> Tensor:
        """(N, h) y of the centres of a map's rows."""
        return self.boxes[:, 1:2] + _centres(count, self.boxes) * self.extents()[:, 1:]

    def diagonals(self, grid: tuple[int, int]) -> Tensor:
        """(N,) length of a cell's diagonal."""
        return (self.extents() / self.boxes.new_tensor([grid[1], grid[0]])).norm(dim=1)

    def scales(self) -> Tensor:
        """(N, 2) the view's pixels for one of the image, across and down."""
        return self.boxes.new_tensor([self.size[1], self.size[0]]) / self.extents()

    def project(self, boxes: Tensor) -> Tensor:
        """Boxes (N, K, 4) of the images in the view's pixels, where a part may lie outside."""
        corners = (boxes - self.boxes[:, None, :2].repeat(1, 1, 2)) * self.scales()[:, None].repeat(1, 1, 2)
        left, top, right, bottom = corners.unbind(-1)
        flips, width = self.flips[:, None], self.size[1]
        near, far = torch.where(flips, width - right, left), torch.where(flips, width - left, right)
        return torch.stack((near, top, far, bottom), -1)

    def holds(self, boxes: Tensor, least: float) -> Tensor:
        """(N, K) bool: which boxes of the images lie inside the view and are ``least`` of its pixels wide and high."""
        low, high, own = boxes[..., :2], boxes[..., 2:], self.boxes[:, None]
        inside = (low >= own[..., :2] - _SLACK) & (high <= own[..., 2:] + _SLACK)
        return (inside & ((high - low) * self.scales()[:, None] >= least)).all(-1)


def cell_matches(
    first: ViewGeometry, first_grid: tuple[int, int], second: ViewGeometry, second_grid: tuple[int, int], reach: float
) -> Tensor:
    """(N, P, Q) bool: which of P cells of one view lie nearer than ``reach`` to which of Q of another.

    Distances between centres are measured in diagonals of a cell, the larger one where the views' cells differ (PixPro,
    arXiv 2011.10043, section 3.1). Below the square root of 1/2 two equal views with square cells match cell by cell.
    """
    (h, w), (other_h, other_w) = first_grid, second_grid
    down = (first.rows(h)[:, :, None] - second.rows(other_h)[:, None]).square()
    across = (first.columns(w)[:, :, None] - second.columns(other_w)[:, None]).square()
    unit = torch.maximum(first.diagonals(first_grid), second.diagonals(second_grid))
    squares = down[:, :, None, :, None] + across[:, None, :, None]  # (N, h, w, h', w')
    return (squares < (reach * unit).square()[:, None, None, None, None]).flatten(3).flatten(1, 2)


def overlap(first: ViewGeometry, second: ViewGeometry) -> Tensor:
    """(N, 4) what two views have in common; where that is nothing, a box whose extents are 0 or negative."""
    low = torch.maximum(first.boxes[:, :2], second.boxes[:, :2])
    return torch.cat((low, torch.minimum(first.boxes[:, 2:], second.boxes[:, 2:])), 1)


def _centres(count: int, like: Tensor) -> Tensor:
    """(count,) of equal parts of the stretch from 0 to 1."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count
