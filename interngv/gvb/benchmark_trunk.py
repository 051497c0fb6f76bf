"""A trunk with its weights as the backbone of a host model, frozen or not."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor

from interngv.errors import UserError
from interngv.registry import MODELS

FORMS = ("pooled", "maps")


@MODELS.register_module()
class BenchmarkTrunk(BaseModule):
    """What a protocol's config names as its ``backbone``: any trunk that the benchmark knows, by the user's words.

    Args:
        trunk: arguments of :func:`interngv.gvb.trunks.resolve`; its weights are taken in ``init_weights``.
        form: ``'pooled'`` gives one feature (B, D) in a tuple, ``'maps'`` the maps of the trunk, fine to coarse.
        frozen: parameters get no gradient, and the trunk stays in eval mode.

    Raises:
        UserError: an unknown form; whatever ``resolve`` raises.
    """

    def __init__(
        self, trunk: Mapping[str, Any], form: str = "pooled", frozen: bool = True, init_cfg: Any = None
    ) -> None:
        from interngv.gvb.trunks import resolve
        from interngv.gvb.trunks.loading import build

        super().__init__(init_cfg)
        if form not in FORMS:
            raise UserError(f"BenchmarkTrunk: form {form!r} is not known; expected one of {', '.join(FORMS)}")
        self.spec = resolve(**trunk)
        self.form, self.frozen = form, frozen
        self.trunk = build(self.spec, dense=form == "maps").requires_grad_(not frozen)

    def init_weights(self) -> None:
        """Take the trunk's weights; of a random trunk those of its seed, whatever its form."""
        from interngv.gvb.trunks.loading import fill

        fill(self.trunk, self.spec)

    def train(self, mode: bool = True) -> "BenchmarkTrunk":
        """Set the mode; that of a frozen trunk is eval."""
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised images to the features of the form."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if self.form == "maps":
                return tuple(self.trunk(images))
            from interngv.gvb.trunks.loading import pooled

            return (pooled(self.trunk, images),)
