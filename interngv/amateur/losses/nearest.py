"""Nearest-neighbour supervision of DeCLIP (Li et al., ICLR 2022, arXiv 2110.05208, section 3), L_NNS."""

import torch
from torch import Tensor

from interngv.amateur.losses.bank import FeatureBank
from interngv.amateur.losses.contrastive import ContrastiveLoss
from interngv.amateur.losses.gather import first_row, gather
from interngv.amateur.losses.similarities import CHUNK_MIB, Ids, log_sums
from interngv.amateur.outputs import TowerOutputs
from interngv.registry import MODELS


@MODELS.register_module()
class NearestNeighbourLoss(ContrastiveLoss):
    """An image must find, among all, the text that is nearest to its own caption among earlier captions.

        L = mean over image views v, caption forms f of -1/N Σ_i log(exp(s I_i·B_i) / Σ_j exp(s I_i·B_j)),

    where B_j is the entry of the bank that is most similar to form f of caption j, and I_i is view v of image i. Images
    over texts only, as in DeCLIP's release; no gradient reaches the texts. The bank is searched before it takes this
    batch's captions, as they are and from all processes, in training only. As in the release all entries are searched,
    random ones that no caption has replaced yet too.

    Equal captions: the bank keeps each entry's caption id. With ``same_caption='ignore'`` two pairs whose entries are
    of the same caption are not each other's negatives; with ``'negative'`` (the release) they are, though their targets
    may be one and the same entry, which costs at least ln k where k pairs share it.

    Args:
        width: D, of the features.
        size: how many captions the bank holds.
        same_caption, chunk_mib: as of :class:`interngv.amateur.losses.contrastive.ContrastiveLoss`.
    """

    image_views = text_views = 2

    def __init__(
        self, width: int, size: int = 65_536, same_caption: str = "ignore", chunk_mib: float = CHUNK_MIB
    ) -> None:
        super().__init__(same_caption, chunk_mib)
        self.bank = FeatureBank(width, size)

    def forward(self, outputs: TowerOutputs) -> Tensor:
        """(), of (N, D) features of two views and two forms; raises as InfoNCE does."""
        images, texts = self.paired(outputs)
        if (width := texts[0].shape[1]) != (expected := self.bank.entries.shape[1]):
            raise ValueError(f"NearestNeighbourLoss was made for features {expected} wide, got {width}")
        targets = [self._nearest(text) for text in texts]
        if self.training:
            self._remember(texts[0], outputs.caption_ids)
        rows = [image * outputs.logit_scale for image in images]
        return torch.stack([self._of_pair(of_view, *of_form) for of_view in rows for of_form in targets]).mean()

    def _nearest(self, text: Tensor) -> tuple[Tensor, Ids]:
        """(M, D) entries that are nearest to everybody's captions, and the ids of those entries' captions."""
        found = self.bank.search(text)
        (everybodys,) = gather(found)  # places serve, as the bank is the same everywhere
        ids = None if self.same_caption == "negative" else (self.bank.ids[found], self.bank.ids[everybodys])
        return self.bank.entries[everybodys], ids

    def _remember(self, text: Tensor, ids: Tensor | None) -> None:
        self.bank.update(*gather(text.detach(), *(() if ids is None else (ids,))))

    def _of_pair(self, rows: Tensor, columns: Tensor, ids: Ids) -> Tensor:
        sums = log_sums(rows, columns.to(rows), first_row(rows), ids, with_columns=False, chunk_mib=self.chunk_mib)
        return (sums.rows - sums.own).mean()
