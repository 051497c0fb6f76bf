"""Any timm model as a backbone of the host libraries: its pooled feature, or maps of several strides.

mmpretrain's ``TIMMBackbone`` takes the model's own pooling away (a class token, an attention pool, the layers behind a
pool), and its maps rename the tensors of many families. Here both forms have timm's names.
"""

import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from interngv.errors import UserError, did_you_mean
from interngv.registry import MODELS


@MODELS.register_module()
class TimmTrunk(BaseModule):
    """A timm model without its classifier.

    Args:
        model_name: timm's name, with or without the tag of a set of weights; no weights are loaded.
        out_indices: which of the model's intermediate maps ``forward`` returns; the layers behind the last of them are
            not built. None returns the pooled feature instead, by the model's own pooling.
        kwargs: further arguments of the model, such as ``img_size``.

    Input (B, 3, H, W), output a tuple: one feature (B, D), or maps (B, C, h, w) in the order of ``out_indices``.
    Raises UserError for an unknown name (the nearest is named), or a model that gives no maps.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] | None = None,
        init_cfg: dict | list[dict] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(init_cfg)
        check_name(model_name)
        self.timm_model: Any = library().create_model(model_name, pretrained=False, num_classes=0, **kwargs)
        self.out_indices = None if out_indices is None else tuple(out_indices)
        if self.out_indices is not None:
            prune = getattr(self.timm_model, "prune_intermediate_layers", None)
            if prune is None:
                raise UserError(f"timm's {model_name} gives no maps: it has no forward_intermediates")
            # Unused layers would have parameters without a gradient, which DDP refuses.
            prune(list(self.out_indices), prune_norm=True, prune_head=True)

    def forward(self, x: Tensor, cells: bool = False) -> tuple[Tensor, ...]:
        """``cells`` puts what the model's pooling sees, (B, P, C) row by row, before the pooled feature."""
        if self.out_indices is not None:
            maps = self.timm_model.forward_intermediates(x, indices=list(self.out_indices), intermediates_only=True)
            return tuple(one.contiguous() for one in maps)
        if not cells:
            return (self.timm_model(x),)
        unpooled = self.timm_model.forward_features(x)
        return _cells(self.timm_model, unpooled), self.timm_model.forward_head(unpooled)


def _cells(model: Any, unpooled: Tensor) -> Tensor:
    if unpooled.ndim not in (3, 4):
        raise UserError(f"timm's {type(model).__name__} gives {tuple(unpooled.shape)} before its head, which is no map")
    if unpooled.ndim == 3:  # tokens, behind the class token and registers
        return unpooled[:, getattr(model, "num_prefix_tokens", 0) :]
    if getattr(model, "output_fmt", "NCHW") == "NHWC":
        return unpooled.flatten(1, 2)
    return unpooled.flatten(2).transpose(1, 2)


def library() -> ModuleType:
    """The module ``timm``; raises UserError where it is not installed."""
    try:
        import timm
    except ImportError as error:
        raise UserError(f"this trunk is one of timm's, which cannot be imported ({error}): pip install timm") from error
    return timm


def check_name(model_name: str) -> None:
    """Raises UserError with the nearest name where timm has no such model."""
    timm = library()
    name, _, tag = model_name.partition(".")
    if not timm.is_model(name):
        raise UserError(f"timm has no model '{name}'{did_you_mean(name, timm.list_models())}")
    tags = {one.partition(".")[2] for one in timm.list_pretrained(f"{name}.*")}
    if tag and tag not in tags:
        raise UserError(
            f"timm's {name} has no weights '{tag}'{did_you_mean(tag, tags)} known: {', '.join(sorted(tags))}"
        )


def by_timm(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A state dict as timm itself reads files of other projects for this family of models.

    Names become timm's and position tables are resampled; the state is returned as it is where the model is none of
    timm's or the file is none of the family's.
    """
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None or not type(model).__module__.startswith("timm."):
        return dict(state)
    try:
        return dict(convert(dict(state), model))
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):  # no file of this family
        return dict(state)
