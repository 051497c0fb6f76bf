"""The gradients of a model as one thing: set aside, added, measured, compared, averaged over processes."""

from collections.abc import Iterable
from typing import Any

import torch
from mmengine.dist import all_reduce, all_reduce_params, get_world_size
from torch import Tensor, nn

Grads = list[Tensor | None]
_BUCKET_MB = 64  # gradients are averaged in portions of this size, of which one copy is made at a time


class Gradients:
    """The ``.grad`` of a model's trained parameters: lists in the parameters' order, None where there is none.

    Of a sharded model (:mod:`interngv.engine.sharding`) they are this process's parts, and sums go over the processes.

    Args:
        params: the parameters that an optimizer trains.
        trunk: those that the tasks share.
    """

    def __init__(self, params: Iterable[nn.Parameter], trunk: Iterable[nn.Parameter]) -> None:
        self._params = list(params)
        shared = {id(param) for param in trunk}
        self._on_trunk = [id(param) in shared for param in self._params]
        self._is_sharded = any(hasattr(param, "to_local") for param in self._params)
        self._by_type: dict[torch.dtype, list[int]] = {}  # places of the parameters
        for place, param in enumerate(self._params):
            self._by_type.setdefault(param.dtype, []).append(place)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self._params[0].device

    def there(self) -> Grads:
        """The gradients, which stay where they are."""
        grads: list[Any] = [param.grad for param in self._params]
        return [None if grad is None else grad.to_local() for grad in grads] if self._is_sharded else grads

    def clear(self) -> None:
        """Leave the parameters without gradients, so that the next backward writes fresh ones."""
        for param in self._params:
            param.grad = None

    def put(self, grads: Grads) -> None:
        """Give the parameters these gradients; nothing is copied."""
        if self._is_sharded:
            from interngv.engine.sharding import like_param

            pairs = zip(grads, self._params, strict=True)
            grads = [None if grad is None else like_param(grad, param) for grad, param in pairs]
        for param, grad in zip(self._params, grads, strict=True):
            param.grad = grad

    def faulty(self, grads: Grads) -> Tensor:
        """() 1 where any gradient is not finite, else 0."""
        found, one = torch.zeros(1, device=self.device), torch.ones(1, device=self.device)
        for dtype, places in self._by_type.items():
            there = [grad for grad in map(grads.__getitem__, places) if grad is not None]
            if dtype == torch.bfloat16 and there:  # which the kernel below does not take on every GPU
                found = found.maximum(~torch.stack(torch._foreach_norm(there, torch.inf)).isfinite().all())
            elif there:
                # The kernel for loss scaling, here with a scale of 1: the one that looks at all tensors in one call.
                torch._amp_foreach_non_finite_check_and_unscale_(there, found, one)
        if self._is_sharded:
            all_reduce(found, op="max")
        return found[0]

    def norms(self, grads: Grads) -> Tensor:
        """(2,) L2 norms: of the trunk's part and of the whole."""
        there = [grad for grad in grads if grad is not None]
        on_trunk = [is_on for is_on, grad in zip(self._on_trunk, grads, strict=True) if grad is not None]
        each = torch.stack(torch._foreach_norm(there)) if there else torch.zeros(0, device=self.device)
        both = torch.stack([torch.linalg.vector_norm(each[on_trunk]), torch.linalg.vector_norm(each)])
        if self._is_sharded:
            both.square_()
            all_reduce(both)
            both.sqrt_()
        return both

    def copy_of_trunk(self, grads: Grads) -> Grads:
        """The trunk's gradients, copied; None for the rest."""
        pairs = zip(self._on_trunk, grads, strict=True)
        return [grad.clone() if is_on and grad is not None else None for is_on, grad in pairs]

    def cosine(self, a: Grads, b: Grads) -> Tensor:
        """() cosine of the angle between two gradients; 0 where one of them is zero."""
        sums = torch.stack([_dot(a, b), _dot(a, a), _dot(b, b)])
        if self._is_sharded:
            all_reduce(sums)
        dot, square_a, square_b = sums
        return dot / (square_a.sqrt() * square_b.sqrt()).clamp(min=torch.finfo(dot.dtype).tiny)

    def mean_over_ranks(self, grads: Grads | None) -> Grads:
        """Average over the processes, the same on all; one that lacks a gradient counts as zero, unless all lack it."""
        grads = [None] * len(self._params) if grads is None else grads
        there = torch.tensor([grad is not None for grad in grads], dtype=torch.uint8, device=self.device)
        all_reduce(there, op="max")
        whole = [
            (torch.zeros_like(param) if grad is None else grad) if is_there else None
            for param, grad, is_there in zip(self._params, grads, there.tolist(), strict=True)
        ]
        if given := [grad for grad in whole if grad is not None]:
            torch._foreach_div_(given, float(get_world_size()))
            all_reduce_params(given, bucket_size_mb=_BUCKET_MB)
        return whole


class Conflicts:
    """Cosines between the sources' gradients on the trunk: negative where two sources pull it apart.

    In a step with several sources they are compared with each other; copies live for that step. In a step with one
    source it is compared with the last gradient of every other, so a copy for every source is kept.

    Args:
        every: number of steps from one comparison to the next; 0: none, and nothing is copied.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._last: dict[str, Grads] = {}
        self._fresh: list[str] = []

    def note(self, gradients: Gradients, source: str, grads: Grads, step: int, is_alone: bool) -> None:
        """Copy a source's gradient of this step where it will be compared."""
        if self._every and (is_alone or self._is_due(step)):
            self._last[source] = gradients.copy_of_trunk(grads)
            self._fresh.append(source)

    def measured(self, gradients: Gradients, step: int, is_alone: bool) -> dict[str, float]:
        """The cosines by pair, ``'A-B'``, of which at least one source is of this step; empty where none are due."""
        fresh, self._fresh = self._fresh, []
        pairs = [(a, b) for a in fresh for b in self._last if b not in fresh or a < b] if self._is_due(step) else []
        cosines = [gradients.cosine(self._last[a], self._last[b]) for a, b in pairs]
        if not is_alone:
            self._last.clear()
        values = torch.stack(cosines).tolist() if cosines else []
        return {"-".join(sorted(pair)): value for pair, value in zip(pairs, values, strict=True)}

    def _is_due(self, step: int) -> bool:
        return bool(self._every) and (step + 1) % self._every == 0


def added(total: Grads, more: Grads) -> Grads:
    """``total + more``, written into ``total`` where both are there."""
    if both := [(a, b) for a, b in zip(total, more, strict=True) if a is not None and b is not None]:
        mine, other = zip(*both, strict=True)
        torch._foreach_add_(mine, other)
    return [b if a is None else a for a, b in zip(total, more, strict=True)]


def scale(grads: Grads, factor: Tensor) -> None:
    """Multiply by a () tensor in place."""
    torch._foreach_mul_([grad for grad in grads if grad is not None], factor)


def _dot(a: Grads, b: Grads) -> Tensor:
    products = [(x * y).sum() for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return torch.stack(products).sum() if products else torch.zeros(())
