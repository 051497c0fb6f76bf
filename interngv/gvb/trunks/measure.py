"""Widths and strides of a backbone's outputs, measured by a forward pass without memory for its weights."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from interngv.engine.dry_run import meta_model
from interngv.errors import UserError

Shape = tuple[int, ...]
_STRIDES = range(4, 33)  # what FPNs and decoders read
_STAGES, _MOST_STAGES = 4, 12


class Maps(NamedTuple):
    """Indices, channels and strides of the maps for dense tasks, from fine to coarse."""

    out_indices: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()


def skeleton(backbone: Mapping[str, Any]) -> nn.Module:
    """The backbone on the meta device; on the CPU where its constructor computes with values."""
    return meta_model(Config(dict(model=dict(copy.deepcopy(backbone)))))


def shapes(backbone: Mapping[str, Any], side: int) -> list[Shape]:
    """Shapes of what the backbone returns for one square picture, in its order; torch's generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        try:
            return _forward(skeleton(backbone), side)
        except (NotImplementedError, RuntimeError):  # its forward computes with values
            return _forward(MODELS.build(copy.deepcopy(dict(backbone))), side)


def _forward(net: nn.Module, side: int) -> list[Shape]:
    first = next(net.parameters(), torch.empty(0))
    net.eval()  # mmpretrain's backbones return nothing here
    with torch.inference_mode():
        outputs = net(torch.zeros(1, 3, side, side, device=first.device))
    return [tuple(one.shape) for one in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def pooled_width(name: str, backbone: Mapping[str, Any], side: int) -> tuple[int, str]:
    """Channels of the pooled feature and how it is pooled: ``'avg'`` of the last map, or ``'own'``.

    Raises:
        UserError: the backbone gives something else, tokens for instance.
    """
    last = shapes(backbone, side)[-1]
    if len(last) not in (2, 4):
        raise UserError(
            f"trunk {name} gives a tensor of shape {' x '.join(map(str, last))}, expected a map (B, C, h, w) or a "
            "feature (B, D); a transformer of mmpretrain gives one by out_type='cls_token'"
        )
    return last[1], "avg" if len(last) == 4 else "own"


def dense_maps(backbone: Mapping[str, Any], side: int, indices: Sequence[int] | None = None) -> Maps:
    """The maps for dense tasks: those of ``indices``, or of the config where it names several, else what is found.

    Found is the last map of each stride from 4 to 32. Nothing is where the backbone takes no ``out_indices``.
    """
    own = backbone.get("out_indices")
    if indices is None and isinstance(own, list | tuple) and len(own) > 1:
        indices = own
    if indices is not None:
        return _as_maps(indices, _maps(backbone, indices, side))
    return _last_of_each_stride(_all_maps(backbone, side))


def _all_maps(backbone: Mapping[str, Any], side: int) -> list[tuple[int, int]]:
    """(Channels, stride) of as many levels as the backbone has, tried from four on as the host libraries count."""
    found: list[tuple[int, int]] = []
    for count in range(_STAGES, _MOST_STAGES + 1):
        try:
            found = _maps(backbone, range(count), side)
        except Exception:  # a backbone of any library refuses an index in its own way
            break
    return found


def _maps(backbone: Mapping[str, Any], indices: Sequence[int], side: int) -> list[tuple[int, int]]:
    config = {**backbone, "out_indices": tuple(indices)}
    even = -(-side // 64) * 64  # without rounding, every stride up to 64 divides it
    try:
        found = shapes(config, even)
    except Exception:  # a transformer that takes its own size only says so in any way
        if even == side:
            raise
        even, found = side, shapes(config, side)
    if any(len(shape) != 4 for shape in found):
        raise UserError(f"a backbone gives maps (B, C, h, w), {backbone.get('type')} gives {found}")
    return [(shape[1], round(even / shape[-1])) for shape in found]


def _last_of_each_stride(maps: Sequence[tuple[int, int]]) -> Maps:
    last = {stride: index for index, (_, stride) in enumerate(maps) if stride in _STRIDES}
    indices = tuple(last[stride] for stride in sorted(last))
    return _as_maps(indices, [maps[index] for index in indices])


def _as_maps(indices: Sequence[int], maps: Sequence[tuple[int, int]]) -> Maps:
    return Maps(tuple(indices), tuple(width for width, _ in maps), tuple(stride for _, stride in maps))
