"""SigLIP's sigmoid loss (Zhai et al., ICCV 2023, arXiv 2303.15343, algorithm 1), without the matrix of logits."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from interngv.amateur.losses.contrastive import ContrastiveLoss
from interngv.amateur.losses.gather import first_row
from interngv.amateur.losses.similarities import Gradients, Ids, chunks
from interngv.amateur.outputs import TowerOutputs
from interngv.registry import MODELS


@MODELS.register_module()
class SigLIPLoss(ContrastiveLoss):
    """Every pair of an image and a caption is a yes-or-no question of its own.

        L = 1/N Σ_ij log(1 + exp(-z_ij (s I_i·T_j + b))),  z_ij = 1 where i = j, else -1

    Equal captions: with ``same_caption='ignore'`` an image is not asked about another pair's caption that equals its
    own, and a perfect model's loss is 0. With ``'negative'`` (SigLIP) it is asked to refuse the text that it must
    accept: a pair whose caption k pairs share costs at least k ln k - (k - 1) ln(k - 1).

    Args:
        same_caption, chunk_mib: as of :class:`interngv.amateur.losses.contrastive.ContrastiveLoss`.
    """

    image_views = text_views = 1

    def forward(self, outputs: TowerOutputs) -> Tensor:
        """(), of (N, D) features; raises ValueError without a logit bias, BatchError as InfoNCE does."""
        if outputs.logit_bias is None:
            raise ValueError("SigLIPLoss needs a model with a logit bias")
        (image,), texts = self.paired(outputs)
        (columns,), ids = self.gathered(texts, outputs)
        rows = image * outputs.logit_scale
        return _SoftplusSums.apply(rows, columns, outputs.logit_bias, first_row(rows), ids, self.chunk_mib).mean()


class _SoftplusSums(torch.autograd.Function):
    """(n,) sums over a row of log(1 + exp(l)), the own logit's sign turned, of ``l = rows @ columns.T + bias``."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, columns: Tensor, bias: Tensor, own: int, ids: Ids, chunk_mib: float) -> Tensor:
        ctx.save_for_backward(rows, columns, bias)
        ctx.arguments = own, ids, chunk_mib
        sums, zero = rows.new_empty(len(rows)), rows.new_zeros(())
        for part, logits, spare in chunks(rows, columns, own, ids, chunk_mib):
            logits.add_(bias).diagonal(own + part.start).neg_()
            sums[part] = torch.logaddexp(logits, zero, out=spare).sum(1)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, columns, bias = ctx.saved_tensors
        own, ids, chunk_mib = ctx.arguments
        found, of_bias = Gradients(rows, columns, ctx.needs_input_grad), torch.zeros_like(bias)
        for part, logits, spare in chunks(rows, columns, own, ids, chunk_mib):
            logits.add_(bias).diagonal(own + part.start).neg_()
            of_logits = torch.sigmoid(logits, out=spare).mul_(grad[part, None])
            of_logits.diagonal(own + part.start).neg_()
            of_bias += of_logits.sum()
            found.add(part, of_logits)
        return found.rows, found.columns, of_bias, None, None, None
