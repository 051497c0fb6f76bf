"""Image self-supervision with negatives: SimCLR (Chen et al., ICML 2020, arXiv 2002.05709), as SLIP has it."""

from torch import Tensor, arange, logaddexp

from interngv.amateur.losses.base import SupervisionLoss, unit
from interngv.amateur.losses.gather import collect, first_row, gather
from interngv.amateur.losses.projectors import Projector
from interngv.amateur.losses.similarities import CHUNK_MIB, log_sums
from interngv.amateur.outputs import TowerOutputs
from interngv.registry import MODELS


@MODELS.register_module()
class SimCLRLoss(SupervisionLoss):
    """NT-Xent: a view's positive is the other view of its image, its negatives are all views of all other images.

        L = -1/2N Σ_i log(exp(z_i·z_i' / τ) / Σ_{j ≠ i} exp(z_i·z_j / τ)),  over the 2N views

    The sizes are those of SLIP (Mu et al., ECCV 2022, arXiv 2112.12750): hidden layers of 4096, 256 wide, τ = 0.1. No
    similarity is held or computed twice: the product of first with second views serves both.

    Args:
        width: of the trunk's pooled features.
        hidden, out: of the projector of three layers.
        temperature: τ.
        chunk_mib: bound of a block of logits; two such blocks are held at a time.
    """

    image_views = 2

    def __init__(
        self,
        width: int,
        hidden: int = 4096,
        out: int = 256,
        temperature: float = 0.1,
        chunk_mib: float = CHUNK_MIB,
    ) -> None:
        super().__init__()
        self.projector = Projector(width, hidden, hidden, out)
        self.temperature = temperature
        self.chunk_mib = chunk_mib

    def forward(self, outputs: TowerOutputs) -> Tensor:
        """(), of pooled features (N, width) of two views; raises BatchError in training for one sample."""
        views = [unit(self.projector(view)) for view in self.needed(outputs.pooled, 2, "views of pooled features")]
        firsts, seconds = gather(*views)
        first, second = (view / self.temperature for view in views)
        across = log_sums(first, seconds, first_row(first), chunk_mib=self.chunk_mib)
        of_first = logaddexp(across.rows, self._of_others(first, firsts))
        of_second = logaddexp(collect(across.columns).logsumexp(0), self._of_others(second, seconds))
        return ((of_first + of_second) / 2 - across.own).mean()

    def _of_others(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(n,) log-sums over the same view of all other images."""
        everybody = arange(len(columns), device=columns.device)
        ids = everybody[first_row(rows) :][: len(rows)], everybody
        return log_sums(rows, columns, ids=ids, with_columns=False, chunk_mib=self.chunk_mib).rows
