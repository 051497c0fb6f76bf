"""Automatic mixed precision on any device: bfloat16 on a CPU, float16 with loss scaling or bfloat16 on a GPU."""

from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper as GpuAmpOptimWrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch.optim import Optimizer

from interngv.errors import UserError
from interngv.registry import OPTIM_WRAPPERS

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(GpuAmpOptimWrapper):
    """mmengine's AmpOptimWrapper that also runs on a CPU.

    The loss is scaled in float16 only: bfloat16 has the exponent range of float32, so its gradients do not vanish.
    Clipping, accumulation and parameter groups are the parent's.

    Args:
        dtype: ``'float16'``, ``'bfloat16'`` or None for the device's usual one (float16 on a GPU, bfloat16 on a CPU).
        loss_scale: ``'dynamic'``, a fixed scale, or the arguments of :class:`torch.amp.GradScaler`.
        **kwargs: arguments of :class:`mmengine.optim.OptimWrapper` (optimizer, accumulative_counts, clip_grad).

    Raises:
        UserError: an unknown dtype, or float16 where there is no GPU.
    """

    def __init__(self, dtype: str | None = None, loss_scale: str | float | dict = "dynamic", **kwargs: Any) -> None:
        # The direct parent's constructor refuses a machine without a GPU, whatever the dtype.
        OptimWrapper.__init__(self, **kwargs)
        self.cast_dtype = amp_dtype(dtype)
        self._scale_update_param = float(loss_scale) if isinstance(loss_scale, int | float) else None
        self.loss_scaler = torch.amp.GradScaler(
            device=get_device(), enabled=self.cast_dtype == torch.float16, **_scaler_arguments(loss_scale)
        )

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the optimizer's state; a run that used no loss scale may continue in float16, and the reverse."""
        state_dict = dict(state_dict)
        if not state_dict.get("loss_scaler"):
            state_dict.pop("loss_scaler", None)
        super().load_state_dict(state_dict)


def optimizers(wrapper: OptimWrapper | OptimWrapperDict) -> list[Optimizer]:
    """The optimizers of a wrapper: one, or those of a dict of wrappers."""
    return [one.optimizer for one in (wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper])]


def amp_dtype(name: str | None, device: str | None = None) -> torch.dtype:
    """Return the number format that autocast uses on a device (this machine's by default).

    Raises:
        UserError: an unknown name, or float16 where there is no GPU.
    """
    device = device or get_device()
    if name is None:
        return torch.bfloat16 if device == "cpu" else torch.float16
    if name not in _DTYPES:
        raise UserError(f"mixed precision dtype {name!r} is not known; valid: {', '.join(_DTYPES)}")
    if name == "float16" and device == "cpu":
        raise UserError("mixed precision in float16 needs a GPU; on a CPU use dtype='bfloat16' or leave dtype out")
    return _DTYPES[name]


def _scaler_arguments(loss_scale: str | float | dict) -> dict:
    if isinstance(loss_scale, dict):
        return loss_scale
    if isinstance(loss_scale, int | float):
        return dict(init_scale=float(loss_scale))
    if loss_scale == "dynamic":
        return {}
    raise UserError(f"loss_scale {loss_scale!r} is not known; valid: 'dynamic', a number, a dict for GradScaler")
