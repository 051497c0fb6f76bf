"""Exchange of features between processes through which gradients flow as they would in one process.

Every process computes its share of a loss from its own rows and everybody's columns. Backward sends each process the
sum of what all found for its columns, and DDP's mean over the processes then is the gradient of the mean of the shares.
Where torch.distributed is not initialised all functions are the identity, up to a leading axis.
"""

from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size
from torch import Tensor
from torch.autograd.function import once_differentiable

from interngv.amateur.losses.base import BatchError


def gather(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Each (n, ...) of every process as one (W n, ...), in the order of the ranks.

    Raises:
        BatchError: on every process, where one has no samples or where their numbers differ.
    """
    _check_batch(tensors[0])
    if get_world_size() == 1:
        return tensors
    return tuple(_Gather.apply(tensor) for tensor in tensors)


def first_row(rows: Tensor) -> int:
    """Where in a gathered tensor this process's rows begin."""
    return get_rank() * len(rows)


def collect(columns: Tensor) -> Tensor:
    """(W, n) of (W n,): what every process found for this process's n columns."""
    return columns[None] if get_world_size() == 1 else _Collect.apply(columns)


def mean_over_processes(value: Tensor) -> Tensor:
    """A number's mean, without gradient."""
    value = value.detach().clone()
    if get_world_size() > 1:
        dist.all_reduce(value)
    return value / get_world_size()


def _check_batch(rows: Tensor) -> None:
    sizes = [len(rows)]
    if get_world_size() > 1:
        own = torch.tensor(sizes, device=rows.device)
        found = [torch.empty_like(own) for _ in range(get_world_size())]
        dist.all_gather(found, own)
        sizes = torch.cat(found).tolist()
    if min(sizes) == 0 or len(set(sizes)) > 1:
        raise BatchError(
            f"expected samples, equally many on every process, got {', '.join(map(str, sizes))}; "
            "a loader that drops its last, smaller batch keeps them equal"
        )


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        gathered = rows.new_empty(get_world_size() * len(rows), *rows.shape[1:])
        dist.all_gather(list(gathered.chunk(get_world_size())), rows.contiguous())
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        own = grad.new_empty(len(grad) // get_world_size(), *grad.shape[1:])
        dist.reduce_scatter_tensor(own, grad.contiguous())
        return own


class _Collect(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, columns: Tensor) -> Tensor:
        return _swapped(columns).view(get_world_size(), -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _swapped(grad).flatten()


def _swapped(blocks: Tensor) -> Tensor:
    # Block r goes to process r, and its block for this process takes the place.
    received = torch.empty_like(blocks, memory_format=torch.contiguous_format)
    dist.all_to_all_single(received, blocks.contiguous())
    return received
