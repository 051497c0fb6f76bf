"""Counts of a module: parameters, and multiply-adds of one forward pass."""

from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def parameters(module: nn.Module) -> int:
    """Number of parameters, frozen ones included; buffers are not counted."""
    return sum(p.numel() for p in module.parameters())


def multiply_adds(module: nn.Module, *inputs: Any, **kwargs: Any) -> int:
    """Multiply-adds of ``module(*inputs, **kwargs)``: convolutions, linears and attention products.

    Norms, activations, pooling and element-wise products are not counted (the field's usual "FLOPs"). Counted by
    torch's dispatcher in eval mode, so it works on the meta device too and takes no account of fused kernels.
    """
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            module(*inputs, **kwargs)
    finally:
        module.train(training)
    return counter.get_total_flops() // 2
