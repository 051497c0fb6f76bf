"""Words to guess: the masked language modelling of BERT (Devlin et al., NAACL 2019, section 3.1) on captions."""

from typing import Protocol

import torch
from torch import Tensor

CHOSEN, MASKED, REPLACED = 0.15, 0.8, 0.1  # of all words; of the chosen ones, the rest of which stay
IGNORED = -100  # what torch's cross entropy leaves out


class SpecialIds(Protocol):
    """What masking must know of a tokenizer."""

    pad_id: int
    start_id: int
    end_id: int
    mask_id: int
    vocab_size: int


def mask_tokens(ids: Tensor, special: SpecialIds, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Hides 15 % of the words between start and end: 80 % become the mask, 10 % another id, 10 % stay.

    A row without an end has no word. What comes in a word's place is drawn evenly from all ids that are not special, so
    it may be the word itself.

    Args:
        ids: (N, T) of the tokenizer; not changed.
        special: the tokenizer.
        generator: draws on its own device, so that a CPU's gives the same on every device; None: torch's own.

    Returns:
        (N, T) ids for the text tower and (N, T) targets: the id that stood there, -100 where nothing was chosen.
    """
    device = torch.device("cpu") if generator is None else generator.device
    chance, fate = torch.rand((2, *ids.shape), generator=generator, device=device).to(ids.device)
    named = sorted({special.pad_id, special.start_id, special.end_id, special.mask_id})
    other = torch.randint(special.vocab_size - len(named), ids.shape, generator=generator, device=device).to(ids.device)
    for index in named:  # ascending: each step leaves a gap where a special id is
        other += other >= index
    chosen = _words(ids, special) & (chance < CHOSEN)
    hidden = torch.where(fate < MASKED, special.mask_id, torch.where(fate < MASKED + REPLACED, other, ids))
    return torch.where(chosen, hidden, ids), torch.where(chosen, ids, IGNORED)


def _words(ids: Tensor, special: SpecialIds) -> Tensor:
    """(N, T) True for words: before the row's first end, and no special id but 0, which pads and is a word's id too."""
    before_end = (ids == special.end_id).cumsum(1) == 0
    never = torch.tensor([special.start_id, special.end_id, special.mask_id], device=ids.device)
    has_end = (ids == special.end_id).any(1, keepdim=True)
    return before_end & has_end & ~torch.isin(ids, never)
