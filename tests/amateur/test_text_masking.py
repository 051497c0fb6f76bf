"""Masked captions: shares, places, and what stands in the place of a word."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from interngv.amateur.text import BPETokenizer, mask_tokens

SPECIAL = SimpleNamespace(pad_id=0, start_id=47, end_id=48, mask_id=49, vocab_size=50)
LENGTH = 24


def captions(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of 0 to 22 words (id 0 among them) between start and end, and where these words are."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 47, (rows, LENGTH), generator=draw)
    sizes = torch.randint(0, LENGTH - 1, (rows, 1), generator=draw)
    place = torch.arange(LENGTH)
    ids[place.expand_as(ids) > sizes + 1] = SPECIAL.pad_id
    ids[:, 0] = SPECIAL.start_id
    ids.scatter_(1, sizes + 1, SPECIAL.end_id)
    return ids, (place > 0) & (place <= sizes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def within(count: int, total: int, share: float) -> bool:
    return abs(count - total * share) < 4 * (total * share * (1 - share)) ** 0.5


@pytest.fixture(scope="module")
def sample() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ids, words = captions(8000)
    return ids, words, *mask_tokens(ids, SPECIAL, generator())


def test_fifteen_of_a_hundred_words_are_chosen(sample) -> None:
    _, words, _, targets = sample
    assert within(int((targets != -100).sum()), int(words.sum()), 0.15)


def test_eighty_ten_ten(sample) -> None:
    ids, _, masked, targets = sample
    chosen = targets != -100
    total, kinds = int(chosen.sum()), 46  # an id is drawn from 46, so one of 46 draws gives what stood there
    others = chosen & (masked != SPECIAL.mask_id) & (masked != ids)
    stood = ids[chosen & (ids != 0)]  # a word of id 0 is never what is drawn
    assert within(int((masked[chosen] == SPECIAL.mask_id).sum()), total, 0.8)
    assert within(int(others.sum()), total, 0.1 * (1 - len(stood) / total / kinds))
    assert within(int((masked == ids)[chosen].sum()), total, 0.1 + 0.1 * len(stood) / total / kinds)


def test_every_place_is_as_likely(sample) -> None:
    _, words, _, targets = sample
    chosen = targets != -100
    assert all(within(int(chosen[:, at].sum()), int(words[:, at].sum()), 0.15) for at in range(1, LENGTH - 1))


def test_only_words_change_and_targets_say_what_stood_there(sample) -> None:
    ids, words, masked, targets = sample
    chosen = targets != -100
    assert not (chosen & ~words).any()
    assert torch.equal(targets[chosen], ids[chosen]) and torch.equal(masked[~chosen], ids[~chosen])
    assert (chosen & (ids == 0)).any(), "id 0 between start and end is a word"
    assert masked.dtype == targets.dtype == torch.int64


def test_a_random_word_is_any_word_and_no_special_id(sample) -> None:
    ids, _, masked, _ = sample
    drawn = masked[(masked != ids) & (masked != SPECIAL.mask_id)]
    counts = drawn.bincount(minlength=50)
    assert counts[[0, 47, 48, 49]].sum() == 0
    assert all(within(int(count), len(drawn), 1 / 46) for count in counts[1:47])


@pytest.mark.parametrize(("start", "end", "mask"), [(1, 2, 3), (49, 7, 20)])
def test_special_ids_may_stand_anywhere(start: int, end: int, mask: int) -> None:
    special = SimpleNamespace(pad_id=0, start_id=start, end_id=end, mask_id=mask, vocab_size=50)
    words = [index for index in range(50) if index not in (0, start, end, mask)]
    ids = torch.tensor([[start, *words, end]]).repeat(400, 1)
    masked, targets = mask_tokens(ids, special, generator())
    assert set(masked[(masked != ids) & (masked != mask)].tolist()) == set(words)
    assert set(targets.unique().tolist()) == {-100, *words}


def test_the_generator_decides_and_ids_stay() -> None:
    ids, _ = captions(64)
    before = ids.clone()
    first, again, other = (mask_tokens(ids, SPECIAL, generator(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1]) and torch.equal(ids, before)
    torch.manual_seed(3)
    default = mask_tokens(ids, SPECIAL)
    torch.manual_seed(3)
    assert torch.equal(mask_tokens(ids, SPECIAL)[0], default[0])


def test_special_ids_inside_a_caption_are_left_alone() -> None:
    row = [47, 5, 47, 6, 49, 7, 48, 8, 48, 0]  # the text tower reads up to the first end
    hit: set[int] = set()
    for seed in range(300):
        _, targets = mask_tokens(torch.tensor([row]), SPECIAL, generator(seed))
        hit.update((targets[0] != -100).nonzero()[:, 0].tolist())
    assert hit == {1, 3, 5}


@pytest.mark.parametrize("rows", [torch.full((4, 9), 5), torch.zeros(4, 9, dtype=torch.long), torch.zeros(0, 9).long()])
def test_rows_without_an_end_have_no_words(rows: Tensor) -> None:
    masked, targets = mask_tokens(rows, SPECIAL, generator())
    assert torch.equal(masked, rows) and (targets == -100).all() and targets.shape == rows.shape


def test_captions_of_a_tokenizer() -> None:
    for library in ("tokenizers", "ftfy", "regex"):
        pytest.importorskip(library)
    tokenizer = BPETokenizer.train(["a dog runs", "a dog sleeps"] * 3, 530, context_length=16)
    ids = tokenizer(["a dog runs!x", "", "a dog sleeps " * 9] * 200)
    masked, targets = mask_tokens(ids, tokenizer, generator())
    assert (masked == tokenizer.mask_id).any() and not (targets[1::3] != -100).any()
    assert torch.equal(masked == tokenizer.start_id, ids == tokenizer.start_id)
    assert torch.equal(masked == tokenizer.end_id, ids == tokenizer.end_id)
