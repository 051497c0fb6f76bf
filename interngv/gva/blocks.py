"""Convolution operators of MetaNet: MBConv and FusedMBConv with squeeze-and-excitation, pre-activation batch norm.

Source: the layouts of the released gv-benchmark MetaNet and of UniNet (arXiv 2207.05420), restated from their formulas.
Names of shapes: B batch, C channels, H and W height and width of the map at hand. Maps are (B, C, H, W) tensors in
channels-last memory, so that token operators see (B, H, W, C) without a copy.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): drops a whole residual branch per sample with probability ``rate``."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * mask.div_(keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def make_divisible(value: float, divisor: int = 8) -> int:
    """Nearest multiple of ``divisor`` that is not more than 10 % below ``value`` (MobileNet's rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def _scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _is_affine(norm: nn.Module) -> bool:
    return isinstance(norm, _BatchNorm) and not norm.training and norm.running_mean is not None and norm.affine


def _is_watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def conv_norm(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, pre_norm: nn.BatchNorm2d | None = None) -> Tensor:
    """``norm(conv(pre_norm(x)))``; batch norms in eval mode are folded into the convolution.

    ``pre_norm`` needs a convolution without zero padding (1x1), where an affine map of the input commutes with it.
    Modules that somebody watches through hooks, or replaced by another kind of norm, are called one by one.
    """
    norms = [norm] if pre_norm is None else [pre_norm, norm]
    if not all(map(_is_affine, norms)) or any(map(_is_watched, [conv, *norms])):
        return norm(conv(x if pre_norm is None else pre_norm(x)))
    weight, bias = conv.weight, conv.bias
    if pre_norm is not None:
        scale, shift = _scale_and_shift(pre_norm)
        moved = weight.flatten(1) @ shift
        weight, bias = weight * scale.view(1, -1, 1, 1), moved if bias is None else bias + moved
    scale, shift = _scale_and_shift(norm)
    weight = weight * scale.view(-1, 1, 1, 1)
    bias = shift if bias is None else bias * scale + shift
    if x.is_cuda and conv.kernel_size == conv.stride == (1, 1) and conv.groups == 1:
        return pointwise(x, weight, bias)
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """1x1 convolution as a matrix product over pixels: cuBLAS adds the bias in passing, cuDNN in a pass of its own."""
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


def gated_conv_norm(x: Tensor, gate: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """``norm(conv(gate * x))`` for a 1x1 convolution and a (B, C, 1, 1) gate.

    The gate scales the convolution's weights, one set per image, and not the map: neither the scaled map nor its
    gradient exists. A batch norm in eval mode is folded in; watched modules are called one by one.
    """
    if _is_watched(conv):
        return conv_norm(gate * x, conv, norm)
    B, C, H, W = x.shape
    weight, bias = conv.weight.flatten(1), conv.bias
    folds = _is_affine(norm) and not _is_watched(norm)
    if folds:
        scale, shift = _scale_and_shift(norm)
        weight, bias = weight * scale[:, None], shift if bias is None else bias * scale + shift
    weights_BCO = weight.t() * gate.flatten(1)[:, :, None]
    x_BNC = x.permute(0, 2, 3, 1).reshape(B, H * W, C)
    y_BNO = x_BNC @ weights_BCO if bias is None else torch.baddbmm(bias, x_BNC, weights_BCO)
    y = y_BNO.view(B, H, W, -1).permute(0, 3, 1, 2)
    return y if folds else norm(y)


def gelu(x: Tensor) -> Tensor:
    """GELU that overwrites its input where no gradient will need it: less memory, and one map less to move."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


def gelu_map(x: Tensor) -> Tensor:
    """:func:`gelu` of a map in channels-last memory, as (B, H, W, C): the fast kernel wants contiguous tensors."""
    return gelu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SqueezeExcite(nn.Module):
    """Channel gate: pool -> conv1x1 -> ReLU -> conv1x1 -> hard sigmoid, squeezed to a quarter of the width.

    (B, C, H, W) -> (B, C, 1, 1), the factors by which the block scales its map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = make_divisible(channels // 4)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # Over (B, H, W, C), so that its gradient comes back in channels-last memory, as the norms behind it need it.
        pooled = x.permute(0, 2, 3, 1).mean((1, 2))[:, :, None, None]
        return F.hardsigmoid(self.expand(F.relu(self.reduce(pooled))))


class PooledShortcut(nn.Sequential):
    """Residual path of a block that changes width or stride: max-pool 3x3 with the stride, then conv1x1."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, stride, padding=1)
        self.conv = nn.Conv2d(in_channels, out_channels, 1)


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Identity where width and resolution stay, else :class:`PooledShortcut`."""
    same = stride == 1 and in_channels == out_channels
    return nn.Identity() if same else PooledShortcut(in_channels, out_channels, stride)


def zero_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm whose weight starts at 0, so that the residual branch it ends starts as nothing."""
    norm = nn.BatchNorm2d(channels)
    nn.init.zeros_(norm.weight)
    return norm


class MBConv(nn.Module):
    """Inverted bottleneck: BN -> conv1x1 -> BN -> GELU -> depthwise 3x3 -> BN -> GELU -> SE -> conv1x1 -> BN(0).

    The first norm and the expansion are left out where ``expansion`` and ``stride`` are both 1.
    (B, in_channels, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, expansion: float = 4, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        hidden = int(in_channels * expansion)
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.expands = expansion != 1 or stride != 1
        if self.expands:
            self.pre_norm = nn.BatchNorm2d(in_channels)
            self.expand = nn.Conv2d(in_channels, hidden, 1, bias=False)
            self.expand_norm = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(hidden)
        self.se = SqueezeExcite(hidden)
        self.project = nn.Conv2d(hidden, out_channels, 1)
        self.project_norm = zero_norm(out_channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expands:
            y = gelu_map(conv_norm(y, self.expand, self.expand_norm, self.pre_norm))
        y = gelu_map(conv_norm(y, self.depthwise, self.depthwise_norm))
        y = gated_conv_norm(y, self.se(y), self.project, self.project_norm)
        return self.shortcut(x) + self.drop_path(y)


class FusedMBConv(nn.Module):
    """MBConv with expansion and depthwise convolution fused: BN -> conv3x3 -> BN -> GELU -> SE -> conv1x1 -> BN(0).

    Where ``expansion`` is 1 the branch is SE -> conv3x3 -> BN(0). Shapes as in :class:`MBConv`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, expansion: float = 4, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        hidden = int(in_channels * expansion)
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.expands = expansion != 1
        if self.expands:
            self.pre_norm = nn.BatchNorm2d(in_channels)
            self.expand = nn.Conv2d(in_channels, hidden, 3, stride, padding=1, bias=False)
            self.expand_norm = nn.BatchNorm2d(hidden)
        self.se = SqueezeExcite(hidden)
        self.project = (
            nn.Conv2d(hidden, out_channels, 1)
            if self.expands
            else nn.Conv2d(hidden, out_channels, 3, stride, padding=1)
        )
        self.project_norm = zero_norm(out_channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        if self.expands:
            y = gelu_map(conv_norm(self.pre_norm(x), self.expand, self.expand_norm))
            y = gated_conv_norm(y, self.se(y), self.project, self.project_norm)
        else:
            y = conv_norm(self.se(x) * x, self.project, self.project_norm)
        return self.shortcut(x) + self.drop_path(y)
