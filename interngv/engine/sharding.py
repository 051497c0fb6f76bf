"""A model spread over the processes by torch's ``fully_shard``, whose state still is read and written whole.

``state_dict()`` of the model, of a part of it, and of its optimizers gives whole tensors on the first process (the
others keep their shares); every process has to call it, for the tensors are put together by all of them.
``load_state_dict`` takes whole tensors, the same on every process. So a checkpoint does not show how many processes
wrote it, or whether these shared.
"""

import re
import weakref
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from interngv.errors import UserError


def shard(model: nn.Module, units: str) -> None:
    """Spread the parameters of a model, which is the same on all processes, over these.

    Args:
        model: is changed in place: its parameters become :class:`DTensor`.
        units: regular expression for the names of the modules that are gathered one at a time.

    Raises:
        UserError: no module has such a name.
    """
    chosen = [module for name, module in model.named_modules() if re.fullmatch(units, name)]
    if not chosen:
        parts = ", ".join(name for name, _ in model.named_children())
        raise UserError(f"strategy.units={units!r} is the name of no module of this model, whose parts are {parts}")
    mesh = init_device_mesh(get_device(), (get_world_size(),))
    # Caches of DTensor keep the mesh for ever and it the group, whose threads must end: see distributed.processes.
    weakref.finalize(model, getattr(mesh, "_pg_registry", {}).clear)
    for module in [*reversed(chosen), model]:  # what is inside of others comes first
        fully_shard(module, mesh=mesh)
    for module in model.modules():
        if module._parameters:
            module.register_state_dict_post_hook(_gather)
            module.register_load_state_dict_pre_hook(_share)


def keep_whole_state(optimizer: Optimizer) -> None:
    """Let the optimizer of a sharded model give and take its state in whole tensors."""
    optimizer.register_state_dict_post_hook(_gather_state)
    optimizer.register_load_state_dict_pre_hook(_share_state)


def like_param(part: torch.Tensor, param: Any) -> DTensor:
    """The sharded tensor of which ``part`` is this process's, spread as the parameter is."""
    return DTensor.from_local(part, param.device_mesh, param.placements, shape=param.shape, stride=param.stride())


def _gather(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name in module._parameters:
        if prefix + name in state:
            state[prefix + name] = _whole(state[prefix + name])


def _share(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, param in module._parameters.items():
        if prefix + name in state:
            state[prefix + name] = _part(state[prefix + name], param)


def _gather_state(_: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    values = {i: {name: _whole(value) for name, value in own.items()} for i, own in state["state"].items()}
    return state | {"state": values}


def _share_state(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    values = {i: {name: _part(value, params[i]) for name, value in own.items()} for i, own in state["state"].items()}
    return state | {"state": values}


def _whole(value: Any) -> Any:
    """A sharded tensor put together, in the CPU's memory of the first process; anything else as it is."""
    if not isinstance(value, DTensor):
        return value
    whole = value.full_tensor()
    return whole.cpu() if is_main_process() else value


def _part(value: Any, param: Any) -> Any:
    """This process's share of a tensor of a sharded parameter's shape; anything else as it is."""
    if not isinstance(param, DTensor) or not torch.is_tensor(value) or value.shape != param.shape:
        return value
    return distribute_tensor(value, param.device_mesh, param.placements, src_data_rank=None)
