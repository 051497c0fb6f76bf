"""Log-sums over all similarities of two sets of features, exact, without the matrix that holds them.

Rows are worked off in chunks, and the backward pass computes each chunk's logits again, so that memory is that of the
features and of two chunks. One chunk serves both directions. Of W processes each works off its own rows against the
columns of all (:mod:`interngv.amateur.losses.gather`): no pair is looked at twice.

Shapes: n rows of this process, M columns of all processes, D wide. Row i's own column, its positive, is ``own + i``.
Columns with the id of a row, its own but for, are left out of that row's sum, and the row out of theirs.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_MIB = 32  # logits; two such blocks are held at a time

Ids = tuple[Tensor, Tensor] | None
Chunk = tuple[slice, Tensor, Tensor]


class LogSums(NamedTuple):
    """What softmax cross-entropy needs of the logits.

    Attributes:
        rows: (n,) log of the summed exponentials of each row.
        columns: (M,) the same of each column, over this process's rows; empty where it was not asked for.
        own: (n,) each row's own logit; empty where rows have no own column.
    """

    rows: Tensor
    columns: Tensor
    own: Tensor


def log_sums(
    rows: Tensor,
    columns: Tensor,
    own: int | None = None,
    ids: Ids = None,
    with_columns: bool = True,
    chunk_mib: float = CHUNK_MIB,
) -> LogSums:
    """Log-sum-exp of the logits ``rows @ columns.T``, by rows and by columns from the same product.

    Args:
        rows: (n, D), already multiplied by the logit scale. All is computed in its type, under autocast too.
        columns: (M, D) of the same type.
        own: the first row's own column; None: rows have none.
        ids: (n,) of the rows and (M,) of the columns; None leaves nothing out.
        with_columns: whether the columns' sums are wanted.
        chunk_mib: bound of a chunk of logits, which has one row at least.
    """
    return LogSums(*_LogSums.apply(rows, columns, own, ids, with_columns, chunk_mib))


def chunks(rows: Tensor, columns: Tensor, own: int | None, ids: Ids, chunk_mib: float) -> Iterator[Chunk]:
    """Slices of rows, their (b, M) logits with -inf where left out, and a block as large to work in."""
    bound = int(chunk_mib * 2**20) // (len(columns) * rows.element_size())
    size = min(len(rows), max(1, bound))
    blocks = rows.new_empty(2, size, len(columns))
    for start in range(0, len(rows), size):
        part = slice(start, min(start + size, len(rows)))
        logits, spare = blocks[:, : part.stop - start]
        torch.mm(rows[part], columns.T, out=logits)  # autocast leaves an operator with `out` alone
        if ids is not None:
            same = ids[0][part, None] == ids[1]
            if own is not None:
                same.diagonal(own + start).fill_(False)
            logits.masked_fill_(same, -torch.inf)
        yield part, logits, spare


class Gradients:
    """Gradients of rows and columns, added up from those of the chunks' logits; None where none is needed."""

    def __init__(self, rows: Tensor, columns: Tensor, needed: Sequence[bool]) -> None:
        self._given = rows, columns
        self.rows = torch.empty_like(rows) if needed[0] else None
        self.columns = torch.zeros_like(columns) if needed[1] else None

    def add(self, part: slice, of_logits: Tensor) -> None:
        """Take the gradient (b, M) of the logits of these rows."""
        rows, columns = self._given
        if self.rows is not None:
            torch.mm(of_logits, columns, out=self.rows[part])
        if self.columns is not None:
            self.columns.addmm_(of_logits.T, rows[part])


class _LogSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, own: int | None, ids: Ids, with_columns: bool, chunk_mib: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_rows = rows.new_empty(len(rows))
        of_columns = rows.new_full((len(columns) if with_columns else 0,), -torch.inf)
        own_logits = rows.new_empty(0 if own is None else len(rows))
        for part, logits, spare in chunks(rows, columns, own, ids, chunk_mib):
            of_rows[part] = _log_sum_exp(logits, 1, spare)
            if with_columns:
                torch.logaddexp(of_columns, _log_sum_exp(logits, 0, spare), out=of_columns)
            if own is not None:
                own_logits[part] = logits.diagonal(own + part.start)
        ctx.save_for_backward(rows, columns, of_rows, of_columns)
        ctx.arguments = own, ids, with_columns, chunk_mib
        return of_rows, of_columns, own_logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rows: Tensor, grad_columns: Tensor, grad_own: Tensor) -> tuple[Tensor | None, ...]:
        rows, columns, *sums = ctx.saved_tensors
        own, ids, with_columns, chunk_mib = ctx.arguments
        found = Gradients(rows, columns, ctx.needs_input_grad)
        of_rows, of_columns = map(_finite, sums)
        for part, logits, spare in chunks(rows, columns, own, ids, chunk_mib):
            of_logits = torch.sub(logits, of_rows[part, None], out=spare).exp_().mul_(grad_rows[part, None])
            if with_columns:
                of_logits += logits.sub_(of_columns).exp_().mul_(grad_columns)
            if own is not None:
                of_logits.diagonal(own + part.start).add_(grad_own[part])
            found.add(part, of_logits)
        return found.rows, found.columns, None, None, None, None


def _log_sum_exp(logits: Tensor, dim: int, spare: Tensor) -> Tensor:
    # torch.logsumexp allocates two more blocks and takes twice the time.
    highest = _finite(logits.amax(dim, keepdim=True))
    return torch.sub(logits, highest, out=spare).exp_().sum(dim).log_() + highest.squeeze(dim)


def _finite(log_sum: Tensor) -> Tensor:
    # Where all is left out the log-sum is -inf, and -inf - -inf is no number.
    return log_sum.clamp(min=torch.finfo(log_sum.dtype).min)
