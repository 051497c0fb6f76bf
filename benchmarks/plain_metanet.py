"""MetaNet written out plainly from the formulas: the yardstick of tests and benchmarks.

It shares nothing with the package but the size table. Tokens are (B, N, C) copies of a contiguous (B, C, H, W) map,
attention materialises its softmax, norms are never folded, and the names inside blocks differ on purpose from the
package's, as those of a released file may.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from interngv.gva.archs import Arch


def _squeeze_excite(width: int) -> nn.Module:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            quarter = width // 4
            squeezed = max(8, (quarter + 4) // 8 * 8)
            squeezed += 8 * (squeezed < 0.9 * quarter)
            self.fc = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(width, squeezed, 1),
                nn.ReLU(),
                nn.Conv2d(squeezed, width, 1),
                nn.Hardsigmoid(),
            )

        def forward(self, x: Tensor) -> Tensor:
            return x * self.fc(x)

    return Gate()


def _last_norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width)
    nn.init.zeros_(norm.weight)
    return norm


class PlainConv(nn.Module):
    """MBConv, or FusedMBConv where ``fused``."""

    def __init__(self, i: int, o: int, stride: int, expansion: float, fused: bool) -> None:
        super().__init__()
        w = int(i * expansion)
        self.changes = stride != 1 or i != o
        layers: list[nn.Module] = []
        if fused and expansion == 1:
            layers = [_squeeze_excite(w), nn.Conv2d(w, o, 3, stride, 1), _last_norm(o)]
        elif fused:
            layers = [nn.BatchNorm2d(i), nn.Conv2d(i, w, 3, stride, 1, bias=False), nn.BatchNorm2d(w), nn.GELU()]
            layers += [_squeeze_excite(w), nn.Conv2d(w, o, 1), _last_norm(o)]
        else:
            if expansion != 1 or stride != 1:
                layers = [nn.BatchNorm2d(i), nn.Conv2d(i, w, 1, bias=False), nn.BatchNorm2d(w), nn.GELU()]
            layers += [nn.Conv2d(w, w, 3, stride, 1, groups=w, bias=False), nn.BatchNorm2d(w), nn.GELU()]
            layers += [_squeeze_excite(w), nn.Conv2d(w, o, 1), _last_norm(o)]
        if self.changes:
            self.skip = nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.Conv2d(i, o, 1))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return (self.skip(x) if self.changes else x) + self.body(x)


def _split(x: Tensor, heads: int) -> Tensor:
    B, N, C = x.shape
    return x.reshape(B, N, heads, C // heads).permute(0, 2, 1, 3).contiguous()


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


class PlainMixer(nn.Module):
    """``sa``, ``xca`` or token-MLP ``mixer`` on (B, N, C)."""

    def __init__(self, kind: str, i: int, o: int, head_dim: int, tokens: int) -> None:
        super().__init__()
        self.kind, self.heads = kind, i // head_dim
        if kind == "mixer":
            self.token = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
            self.out = nn.Linear(i, o) if i != o else nn.Identity()
            return
        if kind == "xca":
            self.tau = nn.Parameter(torch.ones(self.heads, 1, 1))
        self.to_qkv = nn.Linear(i, 3 * i)
        self.out = nn.Linear(i, o)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "mixer":
            return self.out(self.token(x.transpose(1, 2)).transpose(1, 2))
        q, k, v = (_split(part, self.heads) for part in self.to_qkv(x).chunk(3, dim=-1))
        if self.kind == "sa":
            return self.out(_attend(q, k, v))
        q, k = (t / t.norm(dim=2, keepdim=True).clamp_min(1e-12) for t in (q, k))
        weights = torch.softmax(q.transpose(-2, -1) @ k * self.tau, dim=-1)
        y = (weights @ v.transpose(-2, -1)).permute(0, 3, 1, 2).flatten(2)
        return self.out(y)


class PlainToken(nn.Module):
    """Token block; the strided form where width or stride changes."""

    def __init__(self, kind: str, i: int, o: int, stride: int, expansion: float, head_dim: int, tokens: int) -> None:
        super().__init__()
        self.strided = stride != 1 or i != o
        if kind != "mixer":
            self.pos_embed = nn.Conv2d(i, i, 3, padding=1, groups=i)
        self.g1 = nn.Parameter(torch.full((o,), 1e-6))
        self.ln1 = nn.LayerNorm(i)
        self.attn = PlainMixer(kind, i, o, head_dim, tokens)
        if self.strided:
            self.skip = nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.Conv2d(i, o, 1))
            self.pool = nn.MaxPool2d(3, stride, 1)
        if not self.strided:
            self.g2 = nn.Parameter(torch.full((o,), 1e-6))
            self.ln2 = nn.LayerNorm(i)
            hidden = int(i * expansion)
            self.ffn = nn.Sequential(nn.Linear(i, hidden), nn.GELU(), nn.Linear(hidden, i))

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "pos_embed"):
            x = x + self.pos_embed(x)
        B, C, H, W = x.shape
        t = x.flatten(2).transpose(1, 2).contiguous()
        if self.strided:
            pooled = self.pool(self.ln1(t).transpose(1, 2).reshape(B, C, H, W))
            y = self.attn(pooled.flatten(2).transpose(1, 2).contiguous()) * self.g1
            skip = self.skip(x)
            return skip + y.transpose(1, 2).reshape(skip.shape)
        t = t + self.g1 * self.attn(self.ln1(t))
        t = t + self.g2 * self.ffn(self.ln2(t))
        return t.transpose(1, 2).reshape(B, C, H, W).contiguous()


class PlainDSM(nn.Module):
    """L-DSM (``l``) or LG-DSM (``lg``)."""

    def __init__(self, kind: str, i: int, o: int, stride: int, head_dim: int) -> None:
        super().__init__()
        self.kind, self.heads = kind, o // head_dim
        self.conv = nn.Sequential(nn.Conv2d(i, i, 3, stride, 1, groups=i), nn.BatchNorm2d(i), nn.Conv2d(i, o, 1))
        if kind == "lg":
            self.q_ln, self.kv_ln = nn.LayerNorm(o), nn.LayerNorm(i)
            self.to_kv, self.out = nn.Linear(i, 2 * o), nn.Linear(o, o)
        pool = nn.Identity() if stride == 1 else nn.MaxPool2d(3, stride, 1)
        self.skip = nn.Sequential(pool, nn.Conv2d(i, o, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.kind == "lg":
            q = self.q_ln(y.flatten(2).transpose(1, 2))
            k, v = self.to_kv(self.kv_ln(x.flatten(2).transpose(1, 2))).chunk(2, dim=-1)
            tokens = self.out(_attend(*(_split(t, self.heads) for t in (q, k, v))))
            y = tokens.transpose(1, 2).reshape(y.shape)
        return y + self.skip(x)


class PlainMetaNet(nn.Module):
    """The whole trunk for an :class:`~interngv.gva.archs.Arch`: (B, 3, H, W) -> the projected map (B, 1280, h, w)."""

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        width, size = arch.stem_channels, -(-arch.img_size // 2)
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.GELU())
        blocks: list[nn.Module] = []
        for stage in arch.stages:
            stride, size = stage.stride, -(-size // stage.stride)
            if stage.dsm != "in_block":
                blocks.append(PlainDSM(stage.dsm, width, stage.channels, stride, arch.head_dim))
                width, stride = stage.channels, 1
            for _ in range(stage.repeats):
                blocks.append(self._block(stage.operator, width, stage.channels, stride, stage.expansion, arch, size))
                width, stride = stage.channels, 1
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Conv2d(width, arch.feature_dim, 1, bias=False), nn.BatchNorm2d(arch.feature_dim), nn.GELU()
        )

    @staticmethod
    def _block(kind: str, i: int, o: int, stride: int, expansion: float, arch: Arch, size: int) -> nn.Module:
        if kind in ("mbconv", "fused_mbconv"):
            return PlainConv(i, o, stride, expansion, fused=kind == "fused_mbconv")
        return PlainToken(kind, i, o, stride, expansion, arch.head_dim, size * size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


def randomise(modules: Sequence[nn.Module]) -> None:
    """Draws every parameter and statistic anew, so that no branch is zero."""
    for module in modules:
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                fan_in = max(1, tensor[0].numel()) if tensor.ndim > 1 else 4
                tensor.normal_(std=fan_in**-0.5)
