"""What one pass through both towers gives to the losses."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class MaskedText:
    """Captions whose words are to be guessed.

    Attributes:
        tokens: (M, T) word features of the text tower on the masked captions, before its projection.
        targets: (M, T) the ids that stood there; -100 where nothing is to be guessed.
    """

    tokens: Tensor
    targets: Tensor


@dataclass(frozen=True)
class TowerOutputs:
    """Features of a batch of N image-text pairs on one process. Nothing is normalised yet.

    Attributes:
        image: one (N, D) a view of the images, in the space that images and texts share.
        text: one (N, D) a form of the captions (as they are; augmented), in the same space.
        logit_scale: () multiplier of cosine similarities, ``exp`` of the learnt parameter.
        logit_bias: () added to the scaled similarities (SigLIP); None where the model has none.
        pooled: one (N, W) a view: the trunk's feature before its projection to the shared space.
        image_tokens: one (N, P, D) a view, cells or patches in the shared space; empty where no loss asks for them.
        text_tokens: one (N, T, D) a form; empty where no loss asks for them.
        text_lengths: one (N,) a form: how many of the T tokens are not padding.
        caption_ids: (N,) two pairs have the same number where their captions are the same text; None: all differ.
        masked_text: captions with masked words; None where no loss asks for them.
    """

    image: tuple[Tensor, ...]
    text: tuple[Tensor, ...]
    logit_scale: Tensor
    logit_bias: Tensor | None = None
    pooled: tuple[Tensor, ...] = ()
    image_tokens: tuple[Tensor, ...] = ()
    text_tokens: tuple[Tensor, ...] = ()
    text_lengths: tuple[Tensor, ...] = field(default=())
    caption_ids: Tensor | None = None
    masked_text: MaskedText | None = None
