"""What GV-B must know of a trunk: its backbone config, its input, its outputs, its weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interngv.engine import handoff
from interngv.errors import UserError


@dataclass(frozen=True, eq=False)
class TrunkSpec:
    """A trunk with its weights, as every protocol takes it.

    Attributes:
        name: what it is called in results.
        backbone: ``backbone=`` of a host's classifier; gives the pooled feature or the map to be pooled.
        width: channels of the pooled feature.
        pooling: ``'avg'``, the mean over the last map; ``'own'``, the backbone pools (class token, attention, ...).
        img_size: side of the square picture that it takes, in pixels.
        mean, std: of the input, in grey levels 0..255, a value a channel.
        to_rgb: whether the channels come as RGB, not BGR.
        out_indices, widths, strides: of its maps for dense tasks, from fine to coarse: those that its config names,
            else one for each stride from 4 to 32; empty where it gives none.
        checkpoint: file or folder of its weights; None for a random trunk.
        seed: of a random trunk's initialisation; None for one with a checkpoint, or that every try draws anew.
        rewrites: ``(pattern, replacement)`` that turn a checkpoint's names into the backbone's, in this order.
        by_order: the checkpoint's names differ and its tensors come in the order of the backbone's.
        image_text: config of the image-text model to which the trunk belongs, whose text tower zero-shot needs.
        source: where the weights are from.
        licence: of the weights, None where it is not known.
    """

    name: str
    backbone: Mapping[str, Any]
    width: int
    pooling: str
    img_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    to_rgb: bool = True
    out_indices: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    checkpoint: Path | None = None
    seed: int | None = None
    rewrites: tuple[tuple[str, str], ...] = ()
    by_order: bool = False
    image_text: Mapping[str, Any] | None = None
    source: str | None = None
    licence: str | None = None

    @property
    def dense(self) -> dict[str, Any]:
        """``backbone=`` of a host's detector or segmentor; raises UserError where the trunk gives no maps."""
        if not self.out_indices:
            raise UserError(f"trunk {self.name} gives no feature maps, which detection, segmentation and depth need")
        return {**self.backbone, "out_indices": self.out_indices}

    @property
    def towers(self) -> "TrunkSpec":
        """The whole image-text model as a trunk: its feature is that which it shares with texts.

        Raises:
            UserError: the trunk belongs to no such model.
        """
        if self.image_text is None:
            raise UserError(
                f"zero-shot needs a text tower, and trunk {self.name} has none: give the config of an image-text model"
            )
        whole = (("^", f"{handoff.TRUNKS[1]}."),)  # every tensor of the checkpoint, as if the model were a backbone
        return replace(self, backbone=self.image_text, pooling="own", out_indices=(), rewrites=whole)

    @property
    def data_preprocessor(self) -> dict[str, Any]:
        """Normalisation in mmpretrain's words; pictures are loaded as BGR."""
        return dict(mean=list(self.mean), std=list(self.std), to_rgb=self.to_rgb)
