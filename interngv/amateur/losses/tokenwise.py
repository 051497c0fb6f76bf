"""FILIP's token-wise late interaction (Yao et al., ICLR 2022, arXiv 2111.07783, section 3)."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from interngv.amateur.losses.base import unit
from interngv.amateur.losses.contrastive import ContrastiveLoss
from interngv.amateur.losses.gather import first_row
from interngv.amateur.losses.similarities import CHUNK_MIB, Ids
from interngv.amateur.outputs import TowerOutputs
from interngv.registry import MODELS

Tokens = tuple[Tensor, Tensor]  # (N, P, D) unit features and (N, P), which of them are no padding


@MODELS.register_module()
class TokenwiseLoss(ContrastiveLoss):
    """InfoNCE whose similarity of an image and a caption is that of their tokens, each with its best match.

        s(I→T) = mean over the image's tokens p of max over the caption's tokens t of cos(I_p, T_t), and s(T→I) alike

    L is the mean of the cross-entropies of s(I→T) over all captions and of s(T→I) over all images. Padding is no token;
    a caption without tokens keeps its first. Matches may be restricted to the ``top_tokens`` of either side that are
    most similar, in sum, to the tokens of their own partner: less to compute and to send. (FILIP restricts them too;
    DeCLIP's release takes 16. That the sum decides is our reading.)

    Rows are worked off in chunks that are computed again in the backward pass. A chunk holds the token similarities of
    one image at least, P x M x K numbers; autograd holds about three such blocks.

    Args:
        top_tokens: how many tokens of an image or a caption the other side may match; None: all.
        same_caption, chunk_mib: as of :class:`ContrastiveLoss`.
    """

    image_views = text_views = 1
    tokens = True

    def __init__(self, top_tokens: int | None = 16, same_caption: str = "ignore", chunk_mib: float = CHUNK_MIB) -> None:
        super().__init__(same_caption, chunk_mib)
        if top_tokens is not None and top_tokens < 1:
            raise ValueError(f"top_tokens={top_tokens}: expected a number of tokens, or None for all")
        self.top_tokens = top_tokens

    def forward(self, outputs: TowerOutputs) -> Tensor:
        """(), of (N, P, D) and (N, T, D) tokens; raises as InfoNCE does."""
        image, text = self._tokens(outputs)
        with torch.autocast(image[0].device.type, enabled=False):
            matched = (image, text) if self.top_tokens is None else selected(image, text, self.top_tokens)
            (images, texts), ids = self.gathered((_without_padding(matched[0]), _without_padding(matched[1])), outputs)
            of_images = self._direction(image, texts, outputs.logit_scale, ids)
            of_texts = self._direction(text, images, outputs.logit_scale, ids)
        return (of_images + of_texts) / 2

    def _tokens(self, outputs: TowerOutputs) -> tuple[Tokens, Tokens]:
        (image,) = self.needed(outputs.image_tokens, 1, "image views' tokens")
        (text,) = self.needed(outputs.text_tokens, 1, "text forms' tokens")
        (lengths,) = self.needed(outputs.text_lengths, 1, "text forms' lengths")
        if len(image) != len(text):
            raise ValueError(f"TokenwiseLoss needs as many captions as images, got {len(text)} and {len(image)}")
        words = torch.arange(text.shape[1], device=text.device) < lengths.clamp(min=1)[:, None]
        return (unit(image), words.new_ones(image.shape[:2])), (unit(text), words)

    def _direction(self, rows: Tokens, columns: Tensor, scale: Tensor, ids: Ids) -> Tensor:
        """Mean cross-entropy of this process's rows over all columns."""
        tokens, real = rows
        of_one = tokens.shape[1] * columns.shape[0] * columns.shape[1] * tokens.element_size()  # bytes
        size = max(1, int(self.chunk_mib * 2**20) // of_one)
        losses = [
            checkpoint(
                _cross_entropies,
                (tokens[start : start + size], real[start : start + size]),
                columns,
                scale,
                first_row(tokens) + start,
                None if ids is None else (ids[0][start : start + size], ids[1]),
                use_reentrant=False,
                preserve_rng_state=False,
            )
            for start in range(0, len(tokens), size)
        ]
        return torch.cat(losses).mean()


def selected(image: Tokens, text: Tokens, count: int) -> tuple[Tokens, Tokens]:
    """The ``count`` tokens of each image and each caption that are most similar, in sum, to all of the partner's."""
    with torch.no_grad():
        cosines = torch.einsum("npd,ntd->npt", image[0], text[0])
        cosines *= image[1][:, :, None] & text[1][:, None]
    return _highest(image, cosines.sum(2), count), _highest(text, cosines.sum(1), count)


def _highest(tokens: Tokens, scores: Tensor, count: int) -> Tokens:
    features, real = tokens
    index = scores.masked_fill(~real, -torch.inf).topk(min(count, scores.shape[1])).indices
    return features.gather(1, index[:, :, None].expand(-1, -1, features.shape[2])), real.gather(1, index)


def _without_padding(tokens: Tokens) -> Tensor:
    # In place of padding the first token once more: a copy changes no maximum, and no similarity has to be masked.
    return torch.where(tokens[1][:, :, None], tokens[0], tokens[0][:, :1])


def _cross_entropies(rows: Tokens, columns: Tensor, scale: Tensor, own: int, ids: Ids) -> Tensor:
    """(b,) of b rows' tokens (b, P, D) against M columns' (M, K, D)."""
    logits = scale * similarities(rows, columns)
    targets = own + torch.arange(len(logits), device=logits.device)
    if ids is not None:
        same = ids[0][:, None] == ids[1]
        same.diagonal(own).fill_(False)
        logits = logits.masked_fill(same, -torch.inf)
    return cross_entropy(logits, targets, reduction="none")


def similarities(rows: Tokens, columns: Tensor) -> Tensor:
    """(b, M) means over a row's tokens of the highest similarity to any of a column's tokens."""
    tokens, real = rows
    cosines = tokens.flatten(0, 1) @ columns.flatten(0, 1).T
    best = cosines.view(*real.shape, *columns.shape[:2]).max(-1).values
    weights = real.to(best)
    return torch.einsum("bpm,bp->bm", best, weights / weights.sum(1, keepdim=True))
