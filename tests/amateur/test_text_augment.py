"""Changed captions: what each way may do, how often, and what always stays."""

import pickle
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from interngv.amateur.text import TextAugment
from interngv.amateur.text.augment import FUNCTION_WORDS
from interngv.amateur.text.words import LONGEST

DRAWS = 3000
LONG = " ".join(f"noun{index}x" for index in range(40))


def marked(word: str) -> tuple[str, ...]:
    return (f"<{word}>", f"[{word}]")


def unknown(word: str) -> tuple[str, ...]:
    return ()


def is_subsequence(few: Sequence[str], many: Sequence[str]) -> bool:
    rest = iter(many)
    return all(word in rest for word in few)


def kind(before: str, after: str) -> str:
    """Which of the three ways leads from one caption, of different words, to the other."""
    old, new = before.split(), after.split()
    if any(word[0] in "<[" for word in new):
        changed = [(one, other) for one, other in zip(old, new, strict=True) if one != other]
        assert len(changed) == len(old) // 10 and all(other[1:-1] == one for one, other in changed)
        return "synonyms"
    if sorted(new) == sorted(old) and new != old:
        assert sum(one != other for one, other in zip(old, new, strict=True)) <= 2 * (len(old) // 10)
        return "swap"
    assert is_subsequence(new, old)
    return "deletion"


def test_each_way_is_taken_in_a_third_of_the_cases() -> None:
    augment, draw = TextAugment(marked), random.Random(0)
    results = [augment(LONG, draw) for _ in range(DRAWS)]
    counts = Counter(kind(LONG, result) for result in results)
    sigma = (DRAWS * 2 / 9) ** 0.5
    # Of the swaps, those that undo themselves pass for deletions of nothing: less than one of 700.
    assert all(abs(counts[way] - DRAWS / 3) < 4 * sigma for way in ("synonyms", "swap", "deletion"))
    kept = [len(result.split()) for result in results if kind(LONG, result) == "deletion"]
    assert abs(sum(kept) - 36 * len(kept)) < 4 * (len(kept) * 40 * 0.1 * 0.9) ** 0.5 + 5
    assert {mark for result in results for mark in "<[" if mark in result} == {"<", "["}


def test_the_same_draws_give_the_same_caption() -> None:
    augment = pickle.loads(pickle.dumps(TextAugment(marked)))
    first = [augment(LONG, random.Random(seed)) for seed in range(50)]
    assert first == [TextAugment(marked)(LONG, random.Random(seed)) for seed in range(50)]
    assert len(set(first)) > 40


@pytest.mark.parametrize("rate", [0.1, 0.99])
@pytest.mark.parametrize("synonyms", [marked, unknown])
@pytest.mark.parametrize(
    "caption", ["dog", "a dog", "the", "!", "\u6f22\u5b57", "café \U0001f600", "\ud800 \ufffd", "a\u3000b"]
)
def test_a_caption_with_words_keeps_one(caption: str, synonyms, rate: float) -> None:
    augment, draw = TextAugment(synonyms, rate), random.Random(0)
    words = caption.split()
    for _ in range(100):
        result = augment(caption, draw)
        assert result.split() and len(result.split()) <= len(words)
        if len(words) == 1 and synonyms is unknown:
            assert result == caption


@pytest.mark.parametrize("caption", ["", " ", "\n\t"])
def test_a_caption_without_words_stays(caption: str) -> None:
    assert TextAugment(marked)(caption, random.Random(0)) == caption


def test_without_synonyms_the_words_stay() -> None:
    draw = random.Random(0)
    for _ in range(300):
        result = TextAugment(unknown)("one two three four", draw).split()
        assert set(result) <= {"one", "two", "three", "four"}


def test_signs_stay_and_function_words_are_no_matter() -> None:
    asked = []

    def synonyms(word: str) -> tuple[str, ...]:
        asked.append(word)
        return ("canine",) if word == "dog" else ()

    augment, draw = TextAugment(synonyms), random.Random(0)
    results = {augment('In the "DOG\u2019s", (Dog)!?', draw) for _ in range(300)}
    assert 'In the "DOG\u2019s", (canine)!?' in results
    assert set(asked) == {"dog", "dog\u2019s"} and {"in", "the"} <= FUNCTION_WORDS


def test_a_million_characters_are_cut() -> None:
    augment, draw = TextAugment(unknown), random.Random(0)
    for caption in ["dog " * 250_000, " " * 10**6 + "dog", "a!" * 500_000]:
        for _ in range(6):
            assert 0 < len(augment(caption, draw)) <= LONGEST


@pytest.mark.parametrize("rate", [0, 1, -0.1, 2, float("nan")])
def test_a_wrong_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate must lie between 0 and 1"):
        TextAugment(marked, rate)
