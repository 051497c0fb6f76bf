"""Context-aware down-sampling modules (DSM) of INTERN and UniNet (arXiv 2207.05420): local, local-global, global.

Each stands between two stages, changes the width and divides the resolution by its stride (rounding up). Attention in
LG-DSM and G-DSM has few queries (the output grid) and many keys (all input tokens).
Names of shapes as in :mod:`interngv.gva.tokens`; M is the number of output tokens.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interngv.gva.blocks import PooledShortcut, conv_norm
from interngv.gva.tokens import heads_of, linear, to_map, to_tokens


def _residual(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1:
        return nn.Conv2d(in_channels, out_channels, 1)
    return PooledShortcut(in_channels, out_channels, stride)


class LocalQuery(nn.Module):
    """The local branch: depthwise 3x3 with the stride (and a bias) -> BN -> conv1x1."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels)
        self.norm = nn.BatchNorm2d(in_channels)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(conv_norm(x, self.depthwise, self.norm))


class SequenceQuery(nn.Module):
    """Query of G-DSM: a depthwise 1-D convolution along the row-major token sequence -> BN -> conv1x1.

    Its stride is the square of the spatial one, so that it yields as many tokens as the output grid has; odd grids are
    zero-padded at the bottom and right first. The release has no G-DSM: kernel (2 stride^2 - 1, at least 3) and padding
    are an inference from the description in words.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        kernel = max(3, 2 * stride**2 - 1)
        self.depthwise = nn.Conv1d(in_channels, in_channels, kernel, stride**2, padding=kernel // 2, groups=in_channels)
        self.norm = nn.BatchNorm1d(in_channels)
        self.pointwise = nn.Conv1d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        H, W = x.shape[-2:]
        x = F.pad(x, (0, -W % self.stride, 0, -H % self.stride))
        size = x.shape[-2] // self.stride, x.shape[-1] // self.stride
        return self.pointwise(self.norm(self.depthwise(x.flatten(2)))).unflatten(2, size)


class LocalDSM(nn.Module):
    """L-DSM: ``LocalQuery(x) + conv1x1(maxpool(x))``; with stride 1 the residual is the conv1x1 alone."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.local = LocalQuery(in_channels, out_channels, stride)
        self.residual = _residual(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.local(x) + self.residual(x)


class AttentionDSM(nn.Module):
    """Down-sampling by attention: queries from ``query`` (the output grid), keys and values from every input token.

    ``LN(query(x))`` attends to ``Linear(LN(x))``; a linear projection follows and the residual of L-DSM is added.
    """

    def __init__(self, query: nn.Module, in_channels: int, out_channels: int, stride: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads_of(out_channels, head_dim)
        self.query = query
        self.query_norm = nn.LayerNorm(out_channels)
        self.norm = nn.LayerNorm(in_channels)
        self.kv = linear(in_channels, 2 * out_channels)
        self.proj = linear(out_channels, out_channels)
        self.residual = _residual(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        q_BHWC = self.query_norm(to_tokens(self.query(x)))
        B, H, W, C = q_BHWC.shape
        q_BhMd = q_BHWC.reshape(B, H * W, self.heads, -1).transpose(1, 2)
        kv = self.kv(self.norm(to_tokens(x))).view(B, -1, 2, self.heads, C // self.heads)
        k_BhNd, v_BhNd = kv.permute(2, 0, 3, 1, 4).unbind(0)
        y_BhMd = F.scaled_dot_product_attention(q_BhMd, k_BhNd, v_BhNd)
        y_BHWC = self.proj(y_BhMd.transpose(1, 2).reshape(B, H, W, C))
        return to_map(torch.add(y_BHWC, to_tokens(self.residual(x))))


class LocalGlobalDSM(AttentionDSM):
    """LG-DSM: queries from the local branch (:class:`LocalQuery`), context from the whole map."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, head_dim: int) -> None:
        super().__init__(LocalQuery(in_channels, out_channels, stride), in_channels, out_channels, stride, head_dim)


class GlobalDSM(AttentionDSM):
    """G-DSM: queries from the token sequence without 2-D locality (:class:`SequenceQuery`)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, head_dim: int) -> None:
        super().__init__(SequenceQuery(in_channels, out_channels, stride), in_channels, out_channels, stride, head_dim)
