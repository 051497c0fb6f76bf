"""Depth on any trunk: a simple decoder on four maps and the scale-invariant logarithmic loss."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import interpolate

from interngv.registry import MODELS


def si_log(prediction: Tensor, target: Tensor, variance_focus: float = 0.85) -> Tensor:
    """Scale-invariant logarithmic loss (Eigen et al., arXiv 1406.2283), in the form of BTS (arXiv 1907.10326, eq. 4).

    ``10 sqrt(mean(d^2) - variance_focus * mean(d)^2)`` with ``d = log prediction - log target`` over the pixels that
    have a depth. INTERN names no loss for depth; 0.85 is BTS's [I].

    Args:
        prediction: depth in metres, positive, of any shape.
        target: depth in metres, of the same shape; 0, inf and nan say that there is none.
        variance_focus: 1 forgives a wrong scale, 0 does not.

    Returns:
        () the loss; 0, with a gradient of 0, where no pixel has a depth.
    """
    has_depth = (target > 0) & torch.isfinite(target)
    if not has_depth.any():
        return 0 * prediction.sum()
    d = torch.log(prediction[has_depth]) - torch.log(target[has_depth])
    spread = d.var(correction=0) + (1 - variance_focus) * d.mean().square()
    return 10 * torch.sqrt(spread.clamp(min=1e-12))  # the root has no gradient at 0


@MODELS.register_module()
class DepthHead(BaseModule):
    """Depth decoder for mmsegmentation's ``DepthEstimator``: maps of one width summed coarse to fine, two convolutions.

    INTERN's heads for KITTI and NYUv2 are not public; this is the simplest form that uses all maps [I].

    Args:
        in_channels: widths of the trunk's maps, fine to coarse.
        channels: width inside.
        min_depth, max_depth: metres between which the prediction lies; at least one centimetre apart from 0.
        variance_focus: see :func:`si_log`.
    """

    num_classes = out_channels = 1
    align_corners = False

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        min_depth: float = 1e-3,
        max_depth: float = 10.0,
        variance_focus: float = 0.85,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        self.min_depth, self.max_depth, self.variance_focus = min_depth, max_depth, variance_focus
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.smooth = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.predictor = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, C_i, H_i, W_i) maps, fine to coarse -> (B, 1, H_0, W_0) depth in metres."""
        laterals = [convolution(x) for convolution, x in zip(self.lateral, maps, strict=True)]
        fused = laterals[-1]
        for finer in laterals[-2::-1]:
            fused = finer + interpolate(fused, finer.shape[-2:], mode="bilinear")
        share = torch.sigmoid(self.predictor(self.smooth(fused)))
        return self.min_depth + (self.max_depth - self.min_depth) * share

    def loss(self, maps: Sequence[Tensor], data_samples: Sequence[Any], train_cfg: Any = None) -> dict[str, Tensor]:
        """The loss at the resolution of the ground truth, over all pixels of the batch together."""
        target = torch.stack([sample.gt_depth_map.data for sample in data_samples])
        prediction = interpolate(self(maps), target.shape[-2:], mode="bilinear")
        return {"loss_depth": si_log(prediction, target, self.variance_focus)}

    def predict(self, maps: Sequence[Tensor], batch_img_metas: Sequence[dict], test_cfg: Any = None) -> Tensor:
        """(B, 1, H, W) depth in metres at the size of the network's input."""
        meta = batch_img_metas[0]
        size = meta.get("pad_shape", meta["img_shape"])[:2]
        return interpolate(self(maps), size, mode="bilinear")
