"""Token operators of MetaNet: self-attention, cross-covariance attention and token-mixing MLP blocks.

Source: the released gv-benchmark MetaNet (self-attention in MN-B4, cross-covariance attention in MN-B15), restated from
its formulas; cross-covariance attention is XCiT's (arXiv 2106.09681), the token-mixing MLP is MLP-Mixer's (2105.01601).
Names of shapes: B batch, H and W the token grid, N = H * W tokens, C channels, h heads, d channels of one head. Blocks
take and return maps (B, C, H, W) in channels-last memory; inside they work on the same memory as (B, H, W, C).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interngv.gva.blocks import DropPath, PooledShortcut, gelu

LAYER_SCALE = 1e-6  # initial value of the residual scales gamma


def to_tokens(x_BCHW: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C); a view, contiguous where the map is in channels-last memory."""
    return x_BCHW.permute(0, 2, 3, 1)


def to_map(x_BHWC: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W); the inverse view of :func:`to_tokens`."""
    return x_BHWC.permute(0, 3, 1, 2)


def linear(in_features: int, out_features: int) -> nn.Linear:
    """Linear layer with the release's initialisation: truncated normal of deviation 0.02, bias 0."""
    layer = nn.Linear(in_features, out_features)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


def heads_of(channels: int, head_dim: int) -> int:
    """Number of heads of ``head_dim`` channels; raises ValueError where they do not fill ``channels``."""
    if channels % head_dim:
        raise ValueError(
            f"attention over {channels} channels cannot have heads of {head_dim}: head_dim must divide the width"
        )
    return channels // head_dim


class SelfAttention(nn.Module):
    """Multi-head self-attention over all tokens, (B, H, W, in_channels) -> (B, H, W, out_channels)."""

    def __init__(self, in_channels: int, out_channels: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads_of(in_channels, head_dim)
        self.qkv = linear(in_channels, 3 * in_channels)
        self.proj = linear(in_channels, out_channels)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        B, H, W, C = x_BHWC.shape
        qkv = self.qkv(x_BHWC).view(B, H * W, 3, self.heads, C // self.heads)
        q_BhNd, k_BhNd, v_BhNd = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y_BhNd = F.scaled_dot_product_attention(q_BhNd, k_BhNd, v_BhNd)
        return self.proj(y_BhNd.transpose(1, 2).reshape(B, H, W, C))


class CrossCovarianceAttention(nn.Module):
    """XCiT's attention between channels: d x d weights a head, so its cost is linear in the tokens.

    Queries and keys are normalised over the tokens and scaled by a learned temperature per head.
    (B, H, W, in_channels) -> (B, H, W, out_channels).
    """

    def __init__(self, in_channels: int, out_channels: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads_of(in_channels, head_dim)
        self.temperature = nn.Parameter(torch.ones(self.heads, 1, 1))
        self.qkv = linear(in_channels, 3 * in_channels)
        self.proj = linear(in_channels, out_channels)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        B, H, W, C = x_BHWC.shape
        qkv = self.qkv(x_BHWC).view(B, H * W, 3, self.heads, C // self.heads)
        q_BhdN, k_BhdN, v_BhdN = qkv.permute(2, 0, 3, 4, 1).unbind(0)
        q_BhdN, k_BhdN = F.normalize(q_BhdN, dim=-1), F.normalize(k_BhdN, dim=-1)
        weights_Bhdd = (q_BhdN @ k_BhdN.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        y_BhdN = weights_Bhdd @ v_BhdN
        return self.proj(y_BhdN.permute(0, 3, 1, 2).reshape(B, H, W, C))


class TokenMLP(nn.Module):
    """MLP across the tokens of a fixed grid, the same for every channel, with a hidden width of twice the tokens.

    A map of another size is resized (bilinear) to the grid and the result back; on the grid itself nothing is
    resampled, which is the released form. (B, H, W, in_channels) -> (B, H, W, out_channels).
    """

    def __init__(self, in_channels: int, out_channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        tokens = grid[0] * grid[1]
        self.fc1 = linear(tokens, 2 * tokens)
        self.fc2 = linear(2 * tokens, tokens)
        self.proj = linear(in_channels, out_channels) if in_channels != out_channels else nn.Identity()

    def forward(self, x_BHWC: Tensor) -> Tensor:
        x_BCHW = to_map(x_BHWC)
        size = x_BCHW.shape[-2:]
        on_grid = x_BCHW if size == self.grid else F.interpolate(x_BCHW, self.grid, mode="bilinear")
        mixed = self.fc2(gelu(self.fc1(on_grid.flatten(2)))).unflatten(2, self.grid)
        if size != self.grid:
            mixed = F.interpolate(mixed, size, mode="bilinear")
        return self.proj(to_tokens(mixed).contiguous())


class ChannelMLP(nn.Module):
    """The two-layer perceptron of a Transformer block, applied to each token."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = linear(channels, hidden)
        self.fc2 = linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(gelu(self.fc1(x)))


def position_conv(channels: int) -> nn.Conv2d:
    """Conditional positional encoding: a depthwise 3x3 convolution whose output is added to its input."""
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels)


class TokenBlock(nn.Module):
    """``x += pos(x); x += γ1 mixer(LN x); x += γ2 MLP(LN x)`` on a map that keeps its shape.

    ``mixer`` is one of this module's token mixers; ``positional`` adds the depthwise positional term (attention needs
    it, a token MLP knows its positions).
    """

    def __init__(
        self, mixer: nn.Module, channels: int, expansion: float, drop_path: float = 0.0, positional: bool = True
    ) -> None:
        super().__init__()
        self.position = position_conv(channels) if positional else None
        self.gamma_1 = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.gamma_2 = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.norm1 = nn.LayerNorm(channels)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = ChannelMLP(channels, int(channels * expansion))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        if self.position is not None:
            x = x + self.position(x)
        x = to_tokens(x)
        x = torch.addcmul(x, self.gamma_1, self.drop_path(self.mixer(self.norm1(x))))
        x = torch.addcmul(x, self.gamma_2, self.drop_path(self.mlp(self.norm2(x))))
        return to_map(x)


class TokenDownBlock(nn.Module):
    """Token block that changes width or stride: ``x += pos(x); shortcut(x) + γ1 mixer(pool(LN x))``, without an MLP.

    ``mixer`` maps ``in_channels`` to ``out_channels`` on the pooled grid; there is no stochastic depth, as released.
    """

    def __init__(
        self, mixer: nn.Module, in_channels: int, out_channels: int, stride: int, positional: bool = True
    ) -> None:
        super().__init__()
        self.position = position_conv(in_channels) if positional else None
        self.gamma_1 = nn.Parameter(torch.full((out_channels,), LAYER_SCALE))
        self.shortcut = PooledShortcut(in_channels, out_channels, stride)
        self.norm1 = nn.LayerNorm(in_channels)
        self.pool = nn.MaxPool2d(3, stride, padding=1)
        self.mixer = mixer

    def forward(self, x: Tensor) -> Tensor:
        if self.position is not None:
            x = x + self.position(x)
        pooled = self.pool(to_map(self.norm1(to_tokens(x))))
        mixed = self.mixer(to_tokens(pooled))
        return to_map(torch.addcmul(to_tokens(self.shortcut(x)), self.gamma_1, mixed))
