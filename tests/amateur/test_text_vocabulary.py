"""Trained vocabularies: against a naive count of pairs, and against the library that reads their file alone."""

import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from interngv.amateur.text import BPETokenizer
from interngv.amateur.text.vocabulary import END_OF_WORD, read_merges, tokens
from interngv.amateur.text.words import BYTE_LETTERS, clean, letters, words
from interngv.errors import UserError

library = pytest.importorskip("tokenizers")
for other in ("ftfy", "regex"):
    pytest.importorskip(other)

SYLLABLES = ["do", "ca", "pho", "lawn", "ze", "moun", "café", "\u6f22", "naï", "ri", "ver", "ing", "isn't"]


def corpus(size: int = 300, seed: int = 0) -> list[str]:
    """Captions of three words of up to three syllables, the first ones frequent."""
    draw = random.Random(seed)
    weights = [1 / rank for rank in range(1, len(SYLLABLES) + 1)]
    made = ["".join(draw.choices(SYLLABLES, weights, k=draw.randrange(1, 4))) for _ in range(3 * size)]
    return [f"A {one} {two}, {draw.randrange(99)} {three}!" for one, two, three in zip(*[iter(made)] * 3, strict=True)]


def merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """The word with every occurrence of the pair joined, from the left."""
    joined: list[str] = []
    for part in word:
        joined.append(part)
        if tuple(joined[-2:]) == pair:
            joined[-2:] = ["".join(pair)]
            joined.append("")  # what was joined is no first part of the same pair's next occurrence
    return tuple(part for part in joined if part)


def test_every_merge_is_the_most_frequent_pair_of_its_time() -> None:
    tokenizer = BPETokenizer.train(corpus(), 600)
    counts = Counter(word for text in corpus() for word in words(clean(text)))
    parts = {word: (*letters(word)[:-1], letters(word)[-1] + END_OF_WORD) for word in counts}
    assert len(tokenizer.merges) == 600 - 515
    for pair in tokenizer.merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in counts.items():
            for found in pairwise(parts[word]):
                pairs[found] += count
        assert pairs[pair] == max(pairs.values()), pair
        parts = {word: merged(split, pair) for word, split in parts.items()}


def test_ids_follow_the_merges_in_their_order() -> None:
    tokenizer = BPETokenizer.train(corpus(), 600)
    every = tokens(tokenizer.merges)
    for word in [*SYLLABLES[:-1], "sunshine", "domounver"]:
        parts = (*letters(word)[:-1], letters(word)[-1] + END_OF_WORD)
        for pair in tokenizer.merges:
            parts = merged(parts, pair)
        assert [every[index] for index in tokenizer.encode(word)] == list(parts)


def test_neither_chance_nor_order_changes_a_training() -> None:
    texts = corpus()
    first = BPETokenizer.train(texts, 640).merges
    for seed in range(3):
        random.Random(seed).shuffle(texts)
        assert BPETokenizer.train(iter(texts), 640).merges == first


def test_sizes_and_order_of_ids() -> None:
    tokenizer = BPETokenizer.train(corpus(), 600)
    every = tokens(tokenizer.merges)
    assert tokenizer.vocab_size == len(every) == len(set(every)) == 600
    assert every[-3:] == ["<start_of_text>", "<end_of_text>", "<|mask|>"]
    assert (tokenizer.start_id, tokenizer.end_id, tokenizer.mask_id) == (597, 598, 599)
    assert every[:3] == ["!", '"', "#"] and every[256] == "!</w>"  # so begins CLIP's vocabulary
    assert sorted(BYTE_LETTERS) == list(range(256)) and len(set(BYTE_LETTERS.values())) == 256
    few = BPETokenizer.train(corpus(), 10_000)
    assert 600 < few.vocab_size < 10_000
    assert BPETokenizer.train(corpus(), 10_000, min_frequency=30).vocab_size < few.vocab_size


def test_the_library_alone_reads_a_saved_file(tmp_path: Path) -> None:
    tokenizer = BPETokenizer.train(corpus(), 600)
    tokenizer.save(tmp_path / "bpe.json")
    alone = library.Tokenizer.from_file(str(tmp_path / "bpe.json"))
    for text in [
        *corpus(50, seed=1),
        "Café \u6f22\u5b57\u6f22 \U0001f600 4x4 we're",
        "a <end_of_text> b",
        "<|mask|>",
    ]:
        assert alone.encode(text).ids == tokenizer.encode(text)
    assert BPETokenizer(tmp_path / "bpe.json").merges == tokenizer.merges
    assert [path.name for path in tmp_path.iterdir()] == ["bpe.json"]


def test_files_of_older_releases_hold_merges_as_strings(tmp_path: Path) -> None:
    tokenizer = BPETokenizer.train(corpus(), 600)
    tokenizer.save(tmp_path / "bpe.json")
    content = json.loads((tmp_path / "bpe.json").read_text())
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert read_merges(tmp_path / "old.json") == tokenizer.merges


def broken(kind: str, content: dict) -> str:
    model = content["model"]
    if kind == "no JSON":
        return "{"
    if kind == "no model":
        return "[]"
    if kind == "another model":
        model = {"type": "WordPiece", "vocab": {"a": 0}}
    elif kind == "another order":
        model["vocab"]["a"], model["vocab"]["b"] = model["vocab"]["b"], model["vocab"]["a"]
    elif kind == "without ends of words":
        model["end_of_word_suffix"] = None
    elif kind == "merges of three":
        model["merges"][0] = ["a", "b", "c"]
    return json.dumps({**content, "model": model})


KINDS = ["no JSON", "no model", "another model", "another order", "without ends of words", "merges of three"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_refused(kind: str, tmp_path: Path) -> None:
    BPETokenizer.train(corpus(), 600).save(tmp_path / "bpe.json")
    (tmp_path / "bad.json").write_text(broken(kind, json.loads((tmp_path / "bpe.json").read_text())))
    with pytest.raises(UserError, match=r"bad.json: .*BPETokenizer.save"):
        BPETokenizer(tmp_path / "bad.json")


def test_a_training_without_anything_to_merge_is_refused() -> None:
    for texts in ([], ["", "a b c"], ["ab"]):
        with pytest.raises(UserError, match="nothing to merge"):
            BPETokenizer.train(texts, 600)
    with pytest.raises(UserError, match="vocab_size 515 leaves no room for merges: 515 tokens"):
        BPETokenizer.train(corpus(), 515)
