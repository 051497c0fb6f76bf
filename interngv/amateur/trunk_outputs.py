"""What a trunk of any library gives for an image: a pooled feature, and the cells that it summarises."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from interngv.gva import TimmTrunk

_SIDE = 224  # pixels, where a trunk asks for no size


def pooled_and_cells(trunk: nn.Module, images: Tensor, cells: bool = False) -> tuple[Tensor, Tensor | None]:
    """The pooled feature (N, W) of images (N, C, H, W), and (N, P, W') cells row by row.

    * a map, the last that the trunk returns: its mean, its cells;
    * tokens (a Transformer of mmpretrain with ``out_type='raw'``): the class token, else the mean; the patches;
    * a feature: as it is. timm's models give the cells before their own pooling as well, others have none.

    Args:
        cells: whether the cells are wanted; they may be given where not.

    Raises:
        ValueError: cells are wanted and the trunk gives none; an output of another shape.
    """
    if isinstance(trunk, TimmTrunk) and trunk.out_indices is None:
        *before, pooled = trunk(images, cells=cells)
        return pooled, before[0] if before else None
    outputs = trunk(images)
    last = outputs[-1] if isinstance(outputs, list | tuple) else outputs
    if last.ndim == 4:
        return last.mean(dim=(2, 3)), last.flatten(2).transpose(1, 2)
    if last.ndim == 3:
        extra = getattr(trunk, "num_extra_tokens", 0)
        return last[:, 0] if extra else last.mean(1), last[:, extra:]
    name, shape = type(trunk).__name__, tuple(last.shape)
    if last.ndim != 2:
        raise ValueError(f"{name} gives {shape}, expected a map (N, C, H, W), tokens (N, P, C) or a feature (N, C)")
    if cells:
        hint = "in mmpretrain, out_type='raw' or gap_before_final_norm=False gives them"
        raise ValueError(f"{name} gives no cells, only a feature {shape}; {hint}")
    return last, None


def width(trunk: nn.Module, of_cells: bool = False) -> int:
    """Channels of the pooled feature, or of the cells: what a pass in eval mode gives.

    It runs on the meta device, without arithmetic and memory, else on the trunk's own; modes, statistics and random
    generators stay as they are. Raises ValueError as :func:`pooled_and_cells`.
    """
    modes = [(module, module.training) for module in trunk.modules()]
    trunk.eval()
    try:
        pooled, cells = _tried(_Outputs(trunk, of_cells), _example(trunk))
    finally:
        for module, mode in modes:
            module.training = mode
    found = cells if of_cells else pooled
    assert found is not None
    return found.shape[-1]


def timm_or_self(trunk: nn.Module) -> Any:
    """The module whose names are a library's own: timm's model inside a :class:`TimmTrunk`, else the trunk."""
    return trunk.timm_model if isinstance(trunk, TimmTrunk) else trunk


class _Outputs(nn.Module):
    def __init__(self, trunk: nn.Module, cells: bool) -> None:
        super().__init__()
        self.trunk, self.cells = trunk, cells

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return pooled_and_cells(self.trunk, images, self.cells)


@torch.no_grad()
def _tried(outputs: _Outputs, images: Tensor) -> tuple[Tensor, Tensor | None]:
    tensors = dict(outputs.named_parameters()) | dict(outputs.named_buffers())
    on_meta = {name: torch.empty_like(value, device="meta") for name, value in tensors.items()}
    try:
        return functional_call(outputs, on_meta, (images.to("meta"),))
    except (NotImplementedError, RuntimeError):  # it computes with values
        return outputs(images)


def _example(trunk: nn.Module) -> Tensor:
    """One image of the size and channels that the trunk takes."""
    convolution = next((module for module in trunk.modules() if isinstance(module, nn.Conv2d)), None)
    channels = convolution.in_channels if convolution is not None else 3
    size = next((size for module in trunk.modules() if (size := getattr(module, "img_size", None))), None)
    if size is None and isinstance(trunk, TimmTrunk):
        size = trunk.timm_model.pretrained_cfg["input_size"][1:]
    height, width = size if isinstance(size, list | tuple) else (size or _SIDE, size or _SIDE)
    like = next(trunk.parameters())
    return torch.zeros(1, channels, height, width, dtype=like.dtype, device=like.device)
