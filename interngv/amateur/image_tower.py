"""An image tower: any trunk, its pooled feature, and a linear projection to the space that images and texts share.

As in CLIP (Radford et al., ICML 2021, section 2.4). A trunk is a backbone config of any library: ``interngv.MetaNet``,
``mmpretrain.ResNet``, ``interngv.TimmTrunk``. What it says of its width is not asked: it is tried at construction.

Shapes: N images, W the trunk's width, P cells of its last map or patches, D the shared space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS as ROOT
from torch import Tensor, nn

from interngv.amateur.trunk_outputs import pooled_and_cells, timm_or_self, width
from interngv.errors import did_you_mean
from interngv.registry import MODELS


@dataclass(frozen=True)
class ImageFeatures:
    """Of N images; nothing is normalised.

    Attributes:
        embedding: (N, D) in the shared space.
        pooled: (N, W) the trunk's feature before the projection.
        tokens: (N, P, D) cells or patches, row by row, in the space in which tokens are compared; None where not
            asked for.
    """

    embedding: Tensor
    pooled: Tensor
    tokens: Tensor | None = None


@MODELS.register_module()
class ImageTower(BaseModule):
    """Images to features.

    Args:
        trunk: a backbone's config. The mean over its last map is the pooled feature, or the backbone pools itself
            (:func:`interngv.amateur.trunk_outputs.pooled_and_cells`).
        embed_dim: D.
        projection_bias: whether the projection to the shared space has a bias; that of CLIP's ResNets has.
        token_dim: width of a projection that cells have for themselves; None sends them through that of the image.
        frozen: starts of names in the trunk (in timm's model, for one of timm's), such as ``'patch_embed'``: what is
            below gets no gradient and keeps its batch-norm statistics.
        init_cfg: mmengine's initialisation config.

    Raises:
        ValueError: a name in ``frozen`` that the trunk has not; a trunk that gives neither maps, tokens nor a feature,
            or no cells where ``token_dim`` is given.
    """

    def __init__(
        self,
        trunk: Mapping[str, Any],
        embed_dim: int,
        projection_bias: bool = False,
        token_dim: int | None = None,
        frozen: Sequence[str] = (),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.trunk = ROOT.build(dict(trunk))
        self.width = width(self.trunk)
        self.projection = _linear(self.width, embed_dim, projection_bias)
        self.token_projection = None
        if token_dim is not None:
            self.token_projection = _linear(width(self.trunk, of_cells=True), token_dim, bias=False)
        self.frozen = tuple(frozen)
        self._check_frozen()
        self._freeze()

    def forward(self, images: Tensor, tokens: bool = False) -> ImageFeatures:
        """Features of (N, C, H, W) images; raises ValueError where ``tokens`` are wanted that the trunk cannot give."""
        pooled, cells = pooled_and_cells(self.trunk, images, tokens)
        wanted = cells if tokens else None
        return ImageFeatures(self.projection(pooled), pooled, None if wanted is None else self._tokens(wanted))

    def _tokens(self, cells_NPC: Tensor) -> Tensor:
        if self.token_projection is not None:
            return self.token_projection(cells_NPC)
        if cells_NPC.shape[-1] != self.width:
            raise ValueError(
                f"the trunk's cells are {cells_NPC.shape[-1]} wide and its feature {self.width}: they cannot share a "
                "projection; give token_dim"
            )
        return self.projection(cells_NPC)

    def train(self, mode: bool = True) -> "ImageTower":
        super().train(mode)
        self._freeze()
        return self

    def _is_frozen(self, name: str) -> bool:
        return any(name == start or name.startswith(f"{start}.") for start in self.frozen)

    def _check_frozen(self) -> None:
        parts = [name.split(".") for name, _ in timm_or_self(self.trunk).named_parameters()]
        valid = {".".join(names[:depth]) for names in parts for depth in range(1, len(names) + 1)}
        for start in self.frozen:
            if start not in valid:
                roots, hint = dict.fromkeys(names[0] for names in parts), did_you_mean(start, valid)
                raise ValueError(f"frozen={start!r} is no part of the trunk{hint} it has {', '.join(roots)}")

    def _freeze(self) -> None:
        for name, param in timm_or_self(self.trunk).named_parameters():
            if self._is_frozen(name):
                param.requires_grad_(False)
        for name, module in timm_or_self(self.trunk).named_modules():
            if self._is_frozen(name):
                module.eval()


def _linear(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias)
    nn.init.normal_(linear.weight, std=inputs**-0.5)  # as CLIP's release initialises its projections
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
