"""InfoNCE, the loss of CLIP (Radford et al., arXiv 2103.00020, figure 3), over views of images and of captions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from interngv.amateur.losses.base import SupervisionLoss, check_choice
from interngv.amateur.losses.gather import collect, first_row, gather
from interngv.amateur.losses.similarities import CHUNK_MIB, Ids, log_sums
from interngv.amateur.outputs import TowerOutputs
from interngv.registry import MODELS

SAME_CAPTION = ("ignore", "negative")
PAIRS = {
    "all": ((0, 0), (0, 1), (1, 0), (1, 1)),
    "first": ((0, 0),),
    "others": ((0, 1), (1, 0), (1, 1)),
}


class ContrastiveLoss(SupervisionLoss):
    """A loss in which a pair has the other pairs of all processes as its negatives.

    Args:
        same_caption: ``'ignore'``: pairs with the same caption are not each other's negatives; each is left out of the
            other's sums, and a pair's own partner stays its only target. ``'negative'``: they are, as published.
        chunk_mib: bound of a block of logits; two such blocks are held at a time.
    """

    def __init__(self, same_caption: str = "ignore", chunk_mib: float = CHUNK_MIB) -> None:
        super().__init__()
        self.same_caption = check_choice("same_caption", same_caption, SAME_CAPTION)
        self.chunk_mib = chunk_mib

    def gathered(self, columns: Sequence[Tensor], outputs: TowerOutputs) -> tuple[list[Tensor], Ids]:
        """Everybody's columns, and the ids by which :func:`log_sums` leaves equal captions out."""
        if self.same_caption == "negative" or outputs.caption_ids is None:
            return list(gather(*columns)), None
        *everybodys, ids = gather(*columns, outputs.caption_ids)
        return everybodys, (outputs.caption_ids, ids)


@MODELS.register_module()
class InfoNCE(ContrastiveLoss):
    """Cross-entropy of scaled cosine similarities, of an image over all captions and of a caption over all images.

        L(I, T) = -1/2N Σ_i [log(exp(s I_i·T_i) / Σ_j exp(s I_i·T_j)) + log(exp(s I_i·T_i) / Σ_j exp(s I_j·T_i))]

    over the N pairs of all processes; the mean over the chosen pairs of an image view and a caption form. DeCLIP (Li et
    al., arXiv 2110.05208) writes the first of them and the three others as two terms, L_CLIP and L_MVS; its released
    code takes the mean of all four, which is (first + 3 others) / 4 (:mod:`interngv.amateur.losses.weights`).

    Captions are gathered from the processes, images are not: sums of the columns are put together instead.

    Equal captions: a perfect model's loss is 0 with ``same_caption='ignore'``. With ``'negative'`` (CLIP, DeCLIP) it
    cannot fall below the mean over pairs of ln k, where k pairs share the caption, and it pushes their images apart.

    Args:
        pairs: ``'first'`` (CLIP), ``'others'`` (multi-view supervision), or ``'all'``.
        same_caption, chunk_mib: as of :class:`ContrastiveLoss`.
    """

    def __init__(self, pairs: str = "all", same_caption: str = "ignore", chunk_mib: float = CHUNK_MIB) -> None:
        super().__init__(same_caption, chunk_mib)
        self.view_pairs = PAIRS[check_choice("pairs", pairs, tuple(PAIRS))]
        self.image_views = self.text_views = 1 if pairs == "first" else 2

    def forward(self, outputs: TowerOutputs) -> Tensor:
        """(), of (N, D) features a view; raises BatchError for an empty batch or processes with unequal ones."""
        images, texts = self.paired(outputs)
        columns, ids = self.gathered(texts, outputs)
        rows = [image * outputs.logit_scale for image in images]
        return torch.stack([self._of_pair(rows[i], columns[j], ids) for i, j in self.view_pairs]).mean()

    def _of_pair(self, rows: Tensor, columns: Tensor, ids: Ids) -> Tensor:
        sums = log_sums(rows, columns, first_row(rows), ids, chunk_mib=self.chunk_mib)
        of_texts = collect(sums.columns).logsumexp(0)
        return ((sums.rows + of_texts) / 2 - sums.own).mean()
