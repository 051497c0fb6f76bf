"""The tokenizer of the text tower: byte-level BPE, with CLIP's vocabulary or one trained on a corpus."""

import math
import os
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from interngv.amateur.text.vocabulary import (
    END_OF_WORD,
    Merge,
    bpe_model,
    read_merges,
    tokens,
    train_merges,
    write_merges,
)
from interngv.amateur.text.words import BYTE_LETTERS, END, START, clean, letters, needed, words
from interngv.errors import UserError
from interngv.registry import MODELS

CACHED_PIECES = 2**16  # some 20 MB when full
CACHED_LENGTH = 64


@MODELS.register_module()
class BPETokenizer:
    """Captions as ids, those of CLIP's released tokenizer where the vocabulary is CLIP's.

    They are equal to open_clip's for captions of up to 4096 characters; a longer one is cut there before it is read.

    Args:
        vocabulary: ``'clip'`` (read from an installed open_clip: 49 408 tokens and the mask), a file of :meth:`save`,
            or the merges themselves.
        context_length: ids a caption, start and end included.

    Attributes:
        vocab_size: number of ids.
        start_id, end_id, mask_id: the last three of them. A caption that spells ``<start_of_text>`` or
            ``<end_of_text>`` gets that id in its midst, as with CLIP; ``<|mask|>`` in a caption is plain text.
        pad_id: 0, which is also the id of an exclamation mark inside a word: padding is what follows the end.

    Raises UserError for a vocabulary that cannot be read and a library that is missing, ValueError for a context
    without room for a word.
    """

    pad_id = 0

    def __init__(self, vocabulary: str | os.PathLike | Sequence[Merge] = "clip", context_length: int = 77) -> None:
        if context_length < 3:
            raise ValueError(f"context_length must be at least 3 (start, a token, end), got {context_length}")
        needed("ftfy")  # here, not at the first caption that is not plain ASCII
        self.merges = read_merges(vocabulary) if isinstance(vocabulary, str | os.PathLike) else tuple(vocabulary)
        self.context_length = context_length
        self._model = bpe_model(self.merges)
        self.vocab_size = len(tokens(self.merges))
        self.start_id, self.end_id, self.mask_id = range(self.vocab_size - 3, self.vocab_size)
        self._cached_ids = lru_cache(CACHED_PIECES)(self._piece_ids)

    @classmethod
    def clip(cls, context_length: int = 77) -> "BPETokenizer":
        """With CLIP's vocabulary; raises UserError where open_clip, which brings it, is not installed."""
        return cls("clip", context_length)

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, context_length: int = 77, min_frequency: int = 2
    ) -> "BPETokenizer":
        """With a vocabulary of at most ``vocab_size`` ids (fewer where the texts give no more), 515 of them fixed.

        Args:
            texts: captions, in any order; it changes nothing.
            min_frequency: how often a pair must occur to be merged.
        """
        if isinstance(texts, str):
            raise UserError("texts must be captions, got one string; give a list of them")
        return cls(train_merges(texts, vocab_size, min_frequency), context_length)

    def save(self, path: str | os.PathLike) -> None:
        """Write the vocabulary in the ``tokenizers`` library's JSON form."""
        write_merges(self.merges, path)

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """(N, context_length) int64: start, tokens, end, then padding; a longer caption loses its last tokens."""
        texts = [texts] if isinstance(texts, str) else texts
        ids = np.full((len(texts), self.context_length), self.pad_id, np.int64)
        for row, text in enumerate(texts):
            found = self._ids(text, self.context_length - 2)[: self.context_length - 2]
            ids[row, : len(found) + 2] = [self.start_id, *found, self.end_id]
        return torch.from_numpy(ids)

    def encode(self, text: str) -> list[int]:
        """All ids of a caption, without start and end."""
        return self._ids(text)

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """The text of one row of ids up to its end, in lower case, with a blank after each word; a mask shows as such.

        Raises ValueError for an id that is not in the vocabulary.
        """
        row = [int(index) for index in ids]
        if self.end_id in row:
            row = row[: len(row) - row[::-1].index(self.end_id) - 1]
        if wrong := [index for index in row if not 0 <= index < self.vocab_size]:
            raise ValueError(f"id {wrong[0]} is not in the vocabulary, 0..{self.vocab_size - 1}")
        return b"".join(self._token_bytes[index] for index in row if index != self.start_id).decode(errors="replace")

    def _ids(self, text: str, enough: float = math.inf) -> list[int]:
        ids: list[int] = []
        for piece in clean(text).split():
            ids += self._cached_ids(piece) if len(piece) <= CACHED_LENGTH else self._piece_ids(piece)
            if len(ids) >= enough:
                break
        return ids

    def _piece_ids(self, piece: str) -> tuple[int, ...]:
        """Ids of what stands between two blanks."""
        special = {START: self.start_id, END: self.end_id}
        ids: list[int] = []
        for word in words(piece):
            ids += [special[word]] if word in special else [token.id for token in self._model.tokenize(letters(word))]
        return tuple(ids)

    @cached_property
    def _token_bytes(self) -> list[bytes]:
        byte_of = {letter: byte for byte, letter in BYTE_LETTERS.items()}
        *parts, start, end, mask = tokens(self.merges)
        bare = [bytes(byte_of[letter] for letter in part.removesuffix(END_OF_WORD)) for part in parts]
        spaced = [text + b" " * part.endswith(END_OF_WORD) for text, part in zip(bare, parts, strict=True)]
        return [*spaced, *(f"{special} ".encode() for special in (start, end, mask))]

    def __reduce__(self) -> tuple:
        return type(self), (self.merges, self.context_length)
