"""What data samples say about the views of their images."""

from collections.abc import Sequence

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from interngv.amateur.local.geometry import ViewGeometry

Samples = Sequence[BaseDataElement]


def geometries(views: Sequence[Tensor], samples: Samples) -> list[ViewGeometry]:
    """Where each of V views (N, C, H, W) lies in the images.

    Args:
        views: of any sizes.
        samples: one an image, with ``view_boxes`` (V, 4) and ``view_flips`` (V,).

    Raises:
        ValueError: fewer than two views; samples that lack these fields, or have them for another number of views.
    """
    if len(views) < 2:
        raise ValueError(f"a local self-supervision compares two views of an image or more, got {len(views)}")
    known = [sample for sample in samples if "view_boxes" in sample and "view_flips" in sample]
    if not known or len(known) != len(views[0]):
        raise ValueError(
            f"{len(known)} samples of {len(views[0])} images say where their views lie: interngv.LocalViews makes "
            "view_boxes and view_flips, PackInputs(algorithm_keys=('view_boxes', 'view_flips')) hands them over"
        )
    device = views[0].device
    boxes = torch.stack([torch.as_tensor(sample.view_boxes, dtype=torch.float32) for sample in known]).to(device)
    flips = torch.stack([torch.as_tensor(sample.view_flips, dtype=torch.bool) for sample in known]).to(device)
    if boxes.shape[1:] != (len(views), 4) or flips.shape[1:] != (len(views),):
        found = tuple(boxes.shape[1:]), tuple(flips.shape[1:])
        raise ValueError(f"{len(views)} views, and view_boxes {found[0]} and view_flips {found[1]} an image")
    sizes = [(view.shape[-2], view.shape[-1]) for view in views]
    return [ViewGeometry(boxes[:, place], flips[:, place], size) for place, size in enumerate(sizes)]


def proposals(samples: Samples, device: torch.device) -> list[Tensor] | None:
    """Boxes (M, 4) of each sample's ``proposals``; None where not all samples have the field."""
    if not all("proposals" in sample for sample in samples):
        return None
    boxes = [torch.as_tensor(sample.proposals, dtype=torch.float32).to(device) for sample in samples]
    return [one.reshape(-1, 4) for one in boxes]
