"""Where bfloat16 is not known: mmcv's compiled operators have no kernels for it, and numpy has no such type."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import nn


def operators_in_float32() -> None:
    """Let every operator of ``mmcv.ops`` take bfloat16, compute in float32 and give bfloat16 back.

    Box suppression, RoI align and deformable convolution stop with "expected scalar type Float" otherwise. Where
    ``mmcv.ops`` is not in use nothing happens.
    """
    for name, module in list(sys.modules.items()):
        if not name.startswith("mmcv.ops."):
            continue
        for value in list(vars(module).values()):
            own = isinstance(value, type) and value.__module__ == name
            if own and issubclass(value, torch.autograd.Function):
                accept_bfloat16(value)


def accept_bfloat16(function: type[torch.autograd.Function]) -> None:
    """Put the casts around one operator's forward and backward, in place; a second call changes nothing."""
    if "takes_bfloat16" in vars(function):
        return
    function.takes_bfloat16 = True  # type: ignore[attr-defined]
    function.forward = staticmethod(_cast_around(function.forward))  # type: ignore[method-assign]
    function.backward = staticmethod(_cast_before(function.backward))  # type: ignore[method-assign]


def predictions_in_float32(model: nn.Module) -> None:
    """Give a model's predictions to the metrics in float32: most turn them into numpy arrays."""
    inner = getattr(model, "module", model)
    inner.register_forward_hook(lambda module, inputs, output: _all_raised(output))


def _all_raised(value: Any) -> Any:
    if isinstance(value, BaseDataElement):
        value.set_data({name: _all_raised(part) for name, part in value.items()})
        return value
    if isinstance(value, dict):
        return {name: _all_raised(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_all_raised, value))
    return _raised(value)


def _cast_around(forward: Callable) -> Callable:
    def run(ctx: Any, *inputs: Any) -> Any:
        outputs = forward(ctx, *map(_raised, inputs))
        if not any(map(_is_bfloat16, inputs)):
            return outputs
        # The caller writes the result into tensors of the input's type.
        return tuple(map(_lowered, outputs)) if isinstance(outputs, tuple) else _lowered(outputs)

    return run


def _cast_before(backward: Callable) -> Callable:
    return lambda ctx, *gradients: backward(ctx, *map(_raised, gradients))


def _is_bfloat16(value: Any) -> bool:
    return torch.is_tensor(value) and value.dtype == torch.bfloat16


def _raised(value: Any) -> Any:
    return value.float() if _is_bfloat16(value) else value


def _lowered(value: Any) -> Any:
    return value.bfloat16() if torch.is_tensor(value) and value.dtype == torch.float32 else value
