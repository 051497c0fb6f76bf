"""The transform that makes ids of captions."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS as ROOT
from torch import Tensor

from interngv.amateur.text import TextAugment, mask_tokens
from interngv.amateur.text.words import clean
from interngv.errors import UserError, did_you_mean
from interngv.gvd.wordnet import WordNet
from interngv.registry import TRANSFORMS

CHOICES = ("random", "first", "all")


@TRANSFORMS.register_module()
class EncodeCaption:
    """Encodes the ``captions`` of a sample for an :class:`interngv.amateur.model.ImageTextModel`.

    Adds, for ``PackInputs(algorithm_keys=('text', 'caption_id', 'masked_text', 'masked_targets'))``:

    * ``text``: (V, T) int64 ids: the chosen caption and, with ``augment``, a changed form of it; or all captions.
    * ``caption_id``: () int64, or (V,) for all captions: :func:`caption_id`.
    * ``masked_text``, ``masked_targets``: (T,) int64, with ``mask``: the chosen caption with words to guess
      (:func:`interngv.amateur.text.mask_tokens`).

    What is random is drawn from python's and torch's global generators, which interngv's loader seeds for each sample:
    a resumed run draws the same. It belongs after ``MultiView``, which copies all that a sample has.

    Args:
        tokenizer: config, such as ``dict(type='interngv.BPETokenizer', context_length=77)``.
        choose: ``'random'``: one caption of several, for training; ``'first'``; ``'all'``: for retrieval.
        augment: of :class:`interngv.amateur.text.TextAugment`: ``wordnet``, the folder of synonyms (None in a language
            without), and ``rate``, the share of words that change. None: there is no second form.
        mask: whether to hide words.

    Raises:
        ValueError: an unknown choice or setting; a second form or a mask of all captions.
    """

    def __init__(
        self,
        tokenizer: Mapping[str, Any],
        choose: str = "random",
        augment: Mapping[str, Any] | None = None,
        mask: bool = False,
    ) -> None:
        if choose not in CHOICES:
            raise ValueError(f"choose={choose!r}{did_you_mean(choose, CHOICES)}; expected one of {', '.join(CHOICES)}")
        if choose == "all" and (augment is not None or mask):
            raise ValueError("choose='all' is for evaluation: leave augment and mask out")
        self.tokenizer = ROOT.build(dict(tokenizer))
        self.augment = None if augment is None else _augment(augment)
        self.choose, self.mask = choose, mask

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """The sample with the ids of its captions; raises UserError where it has none."""
        captions = results.get("captions")
        if not captions:
            name = results.get("img_path", "a sample")
            raise UserError(f"{name} has no captions; interngv.ImageTextPairs gives them")
        if self.choose == "all":
            ids = torch.tensor([caption_id(caption) for caption in captions])
            return {**results, "text": self.tokenizer(captions), "caption_id": ids}
        caption = random.choice(captions) if self.choose == "random" else captions[0]
        text = self.tokenizer(self._forms(caption))
        encoded = {"text": text, "caption_id": torch.tensor(caption_id(caption))}
        return {**results, **encoded, **(self._masked(text[:1]) if self.mask else {})}

    def _forms(self, caption: str) -> list[str]:
        if self.augment is None:
            return [caption]
        return [caption, self.augment(caption, random.Random(random.getrandbits(64)))]

    def _masked(self, ids: Tensor) -> dict[str, Tensor]:
        hidden, targets = mask_tokens(ids, self.tokenizer)
        return {"masked_text": hidden[0], "masked_targets": targets[0]}


def caption_id(caption: str) -> int:
    """A number of 64 bits, signed, that two captions share where they differ in case and blanks at most.

    Of the caption's sha256, so it is the same in every process and on every machine.
    """
    text = " ".join(clean(caption).split())
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def _augment(config: Mapping[str, Any]) -> TextAugment:
    settings = dict(config)
    if "wordnet" not in settings or set(settings) - {"wordnet", "rate"}:
        raise ValueError(f"augment={settings}: expected dict(wordnet=FOLDER or None) and, if wanted, rate")
    folder = settings.pop("wordnet")
    return TextAugment(_no_synonyms if folder is None else WordNet(folder).synonyms, **settings)


def _no_synonyms(word: str) -> Sequence[str]:
    return ()
