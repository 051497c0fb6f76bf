"""MetaNet, the backbone family of INTERN (arXiv 2111.08687, section on GV-A), and UniNet from which it came.

One net for every task and size: a convolutional stem, stages of convolution or token operators read from a stage table
(:mod:`interngv.gva.archs`), and a projection to 1280 channels. The two levels of names, ``stem``, ``blocks.N`` and
``head``, follow the released checkpoint. Drop path, freezing and layer depth follow mmpretrain's conventions.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from numbers import Integral
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from interngv.gva.archs import Arch, Stage, parse_arch
from interngv.gva.blocks import FusedMBConv, MBConv, conv_norm, gelu_map
from interngv.gva.downsampling import GlobalDSM, LocalDSM, LocalGlobalDSM
from interngv.gva.tokens import CrossCovarianceAttention, SelfAttention, TokenBlock, TokenDownBlock, TokenMLP
from interngv.registry import MODELS


class ConvNormAct(nn.Module):
    """Convolution without bias -> batch norm -> GELU: the stem (3x3, stride 2) and the projection (1x1)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return gelu_map(conv_norm(x, self.conv, self.norm))


def _token_block(
    mixer: Callable[[int, int], nn.Module], stage: Stage, in_channels: int, stride: int, drop_path: float
) -> nn.Module:
    positional = stage.operator != "mixer"
    if stride == 1 and in_channels == stage.channels:
        return TokenBlock(mixer(in_channels, in_channels), in_channels, stage.expansion, drop_path, positional)
    return TokenDownBlock(mixer(in_channels, stage.channels), in_channels, stage.channels, stride, positional)


def build_block(
    stage: Stage, in_channels: int, stride: int, drop_path: float, head_dim: int, grid: tuple[int, int]
) -> nn.Module:
    """One block of a stage; ``grid`` is its output's height and width at the native input size (token MLP only)."""
    if stage.operator in ("mbconv", "fused_mbconv"):
        cls = MBConv if stage.operator == "mbconv" else FusedMBConv
        return cls(in_channels, stage.channels, stride, stage.expansion, drop_path)
    mixers: dict[str, Callable[[int, int], nn.Module]] = {
        "sa": lambda i, o: SelfAttention(i, o, head_dim),
        "xca": lambda i, o: CrossCovarianceAttention(i, o, head_dim),
        "mixer": lambda i, o: TokenMLP(i, o, grid),
    }
    return _token_block(mixers[stage.operator], stage, in_channels, stride, drop_path)


def build_dsm(stage: Stage, in_channels: int, head_dim: int) -> nn.Module:
    """The down-sampling module that stands before ``stage``."""
    if stage.dsm == "l":
        return LocalDSM(in_channels, stage.channels, stage.stride)
    cls = LocalGlobalDSM if stage.dsm == "lg" else GlobalDSM
    return cls(in_channels, stage.channels, stage.stride, head_dim)


def _in_range(what: str, value: int, low: int, high: int) -> int:
    if not isinstance(value, Integral) or not low <= value <= high:
        raise ValueError(f"{what} must lie in {low}..{high} for this arch, got {value!r}")
    return int(value)


@contextmanager
def _still_statistics(block: nn.Module) -> Iterator[None]:
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """``block(x)`` that keeps no activations; the second pass leaves batch-norm statistics alone."""
    if torch.compiler.is_compiling():  # traced contexts cannot change modules
        return checkpoint(block, x, use_reentrant=False)
    return checkpoint(block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _still_statistics(block)))


@MODELS.register_module()
class MetaNet(BaseModule):
    """MetaNet backbone.

    Args:
        arch: a name of :data:`interngv.gva.archs.ARCHS`, or a stage table as a dict of the same form.
        in_channels: channels of the input image.
        out_indices: which feature levels ``forward`` returns. Levels 0..3 are the maps of stride 4, 8, 16, 32 (a stage
            table of other strides has as many levels as resolutions); the last level, 4, is the coarsest map projected
            to ``feature_dim`` channels, for classification, and the default. What no level needs is not built.
        drop_path_rate: stochastic depth of the last block; rises linearly from 0 at the first.
        frozen_stages: -1 freezes nothing, 0 the stem, k the stem and the first k stages, one more than there are
            stages also the projection. Frozen parts get no gradient and keep their batch-norm statistics.
        norm_eval: keeps every batch norm in eval mode while training.
        with_cp: recomputes each block's activations in the backward pass instead of keeping them; batch-norm
            statistics are updated once all the same.
        init_cfg: mmengine's initialisation config: ``dict(type='interngv.PretrainedTrunk', checkpoint=...)``.

    Input (B, in_channels, H, W) of any height and width; a level of stride s has ceil(H / s) x ceil(W / s) pixels.
    Raises ValueError for an unknown arch, a wrong stage table, or indices out of range.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] | Arch = "mn-b4",
        in_channels: int = 3,
        out_indices: Sequence[int] | None = None,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.arch = parse_arch(arch)
        self.norm_eval, self.with_cp = norm_eval, with_cp
        self.levels = len(self.arch.level_stages)
        chosen = (self.levels,) if out_indices is None else out_indices
        self.out_indices = tuple(_in_range("out_indices", i, 0, self.levels) for i in chosen)
        if not self.out_indices:
            raise ValueError("out_indices names no feature level")
        self.frozen_stages = _in_range("frozen_stages", frozen_stages, -1, len(self.arch.stages) + 1)
        if not 0.0 <= drop_path_rate < 1.0:
            raise ValueError(f"drop_path_rate must be in [0, 1), got {drop_path_rate}")
        self._build(in_channels, drop_path_rate)
        self._freeze()

    def _build(self, in_channels: int, drop_path_rate: float) -> None:
        # Only what the chosen levels need: DDP wants a gradient for every parameter.
        last, projects = max(self.out_indices), self.levels in self.out_indices
        stages = self.arch.stages if projects else self.arch.stages[: self.arch.level_stages[last] + 1]
        self.stem = ConvNormAct(in_channels, self.arch.stem_channels, 3, stride=2)
        self.blocks = nn.ModuleList()
        self.stage_ends: list[int] = []
        total = sum(stage.repeats for stage in self.arch.stages)
        drop_rates = [drop_path_rate * i / max(total - 1, 1) for i in range(total)]
        width, size, depth = self.arch.stem_channels, math.ceil(self.arch.img_size / 2), 0
        for stage in stages:
            size, stride = math.ceil(size / stage.stride), stage.stride
            if stage.dsm != "in_block":
                self.blocks.append(build_dsm(stage, width, self.arch.head_dim))
                width, stride = stage.channels, 1
            for _ in range(stage.repeats):
                rate, grid = drop_rates[depth], (size, size)
                self.blocks.append(build_block(stage, width, stride, rate, self.arch.head_dim, grid))
                width, stride, depth = stage.channels, 1, depth + 1
            self.stage_ends.append(len(self.blocks))
        self.head = ConvNormAct(width, self.arch.feature_dim, 1) if projects else None
        levels = [(level, self.arch.level_stages[level]) for level in self.out_indices if level < self.levels]
        self._level_of_block = {self.stage_ends[stage] - 1: level for level, stage in levels}
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.weight.shape[1] == 1:  # the strides that their gradients have
                module.weight.data = module.weight.data.to(memory_format=torch.channels_last)

    @property
    def feature_dim(self) -> int:
        """Channels of the projected map."""
        return self.arch.feature_dim

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the maps that ``forward`` returns, in its order."""
        widths = [self.arch.stages[s].channels for s in self.arch.level_stages] + [self.feature_dim]
        return tuple(widths[i] for i in self.out_indices)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps of the levels ``out_indices``, in that order, in contiguous (B, C, H, W) memory."""
        if x.ndim != 4 or 0 in x.shape:
            raise ValueError(f"MetaNet expects images (B, C, H, W) of at least one pixel, got shape {tuple(x.shape)}")
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        maps: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            x = _recomputed(block, x) if self.with_cp and torch.is_grad_enabled() else block(x)
            if index in self._level_of_block:
                maps[self._level_of_block[index]] = x
        if self.head is not None:
            maps[self.levels] = self.head(x)
        return tuple(maps[i].contiguous() for i in self.out_indices)

    def train(self, mode: bool = True) -> "MetaNet":
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        ends = [0, *self.stage_ends]
        blocks = self.blocks[: ends[min(self.frozen_stages, len(self.stage_ends))]]
        head = [self.head] if self.head is not None and self.frozen_stages > len(self.stage_ends) else []
        return [self.stem, *blocks, *head]

    def _freeze(self) -> None:
        for module in self._frozen_modules():
            module.eval()
            module.requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """mmpretrain's layer-wise decay hook: the (depth, number of layers) of a parameter.

        The stem is 0, block n is n + 1, the projection and everything outside ``prefix`` is the last layer.
        """
        layers = len(self.blocks) + 2
        name = param_name.removeprefix(prefix)
        if not param_name.startswith(prefix) or name.startswith("head."):
            return layers - 1, layers
        return (int(name.split(".")[1]) + 1 if name.startswith("blocks.") else 0), layers
