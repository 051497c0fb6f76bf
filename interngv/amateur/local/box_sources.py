"""Which boxes of the images two views are compared at.

Shapes: N images, K boxes an image. Boxes are x0, y0, x1, y1 in pixels of the images.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from interngv.amateur.local.geometry import ViewGeometry, overlap

SIDES = (0.25, 1.0)  # of random boxes, as shares of the sides of what two views have in common


class Boxes(NamedTuple):
    """K places an image for boxes.

    Attributes:
        boxes: (N, K, 4).
        valid: (N, K) bool, which places hold a box that lies in both views.
        dropped: () mean over the images of how many boxes were refused since they do not.
    """

    boxes: Tensor
    valid: Tensor
    dropped: Tensor


def random_boxes(first: ViewGeometry, second: ViewGeometry, count: int, least: float) -> Boxes:
    """K random boxes of what two views have in common, from torch's generator.

    Their sides are drawn evenly from the shares :data:`SIDES` of the common part's sides, their places evenly in it.

    Args:
        first: a view.
        second: another view of the same images.
        count: K.
        least: pixels that a box must be wide and high in either view.
    """
    common = overlap(first, second)[:, None]  # (N, 1, 4)
    extents = common[..., 2:] - common[..., :2]
    shares = torch.empty(len(common), count, 2, device=common.device).uniform_(*SIDES)
    low = common[..., :2] + torch.rand_like(shares) * (1 - shares) * extents
    boxes = torch.cat((low, low + shares * extents), -1)
    valid = first.holds(boxes, least) & second.holds(boxes, least)
    return Boxes(boxes, valid, (~valid).sum() / len(valid))


def proposed_boxes(
    first: ViewGeometry, second: ViewGeometry, count: int, least: float, proposals: list[Tensor]
) -> Boxes:
    """K of an image's proposals that lie in both views, by torch's generator; all of them where they are fewer.

    Args:
        first, second, count, least: as in :func:`random_boxes`.
        proposals: (M, 4) an image, M any number.
    """
    given = pad_sequence([*proposals, proposals[0].new_zeros(count, 4)], batch_first=True)[:-1].to(first.boxes)
    lengths = torch.tensor([len(one) for one in proposals], device=given.device)
    real = torch.arange(given.shape[1], device=given.device) < lengths[:, None]
    usable = real & first.holds(given, least) & second.holds(given, least)
    scores = torch.rand(usable.shape, device=given.device).masked_fill(~usable, -1)
    chosen = scores.topk(count).indices
    return Boxes(
        given.gather(1, chosen[..., None].expand(-1, -1, 4)),
        usable.gather(1, chosen),
        (real & ~usable).sum() / len(real),
    )
