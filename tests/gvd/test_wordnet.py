"""Answers of a small dictionary in WordNet's form, and of the real one where it can be fetched."""

import multiprocessing
import pickle
import random
import re
import time
from pathlib import Path

import pytest
import small_wordnet
from small_wordnet import SYNSETS, bare

from interngv.errors import UserError
from interngv.gvd import layouts
from interngv.gvd.wordnet import DETACHMENT, WordNet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_wordnet.write(tmp_path_factory.mktemp("wordnet"))


@pytest.fixture(scope="module")
def wordnet(folder: Path) -> WordNet:
    return WordNet(folder)


def test_every_word_has_all_that_stands_in_its_synsets(wordnet: WordNet) -> None:
    """Against a search through the table; for words that no rule takes for an inflected form of another."""
    everything = {bare(name) for synsets in SYNSETS.values() for synset in synsets for name in synset}
    for word in everything - {"rate"}:
        held = [synset for synsets in SYNSETS.values() for synset in synsets if word in map(bare, synset)]
        names = dict.fromkeys(name.partition("(")[0] for synset in held for name in synset if bare(name) != word)
        assert wordnet.synonyms(word) == tuple(name.replace("_", " ") for name in names), word


INFLECTED = {
    "dogs": "dog", "boxes": "box", "churches": "church", "cities": "city", "firemen": "fireman", "geese": "goose",
    "tries": "try", "tried": "try", "rated": "rate", "trying": "try", "goes": "go", "went": "go", "bigger": "",
    "larger": "large", "nicest": "nice", "dogged": "", "Dogs": "dog", "CITIES": "city",
}  # fmt: skip


@pytest.mark.parametrize(("word", "base"), INFLECTED.items())
def test_inflected_words_have_the_synonyms_of_their_base(word: str, base: str, wordnet: WordNet) -> None:
    found = wordnet.synonyms(word)
    assert found == (wordnet.synonyms(base) if base else ()) and base not in found


def test_the_first_rule_that_gives_a_word_holds(wordnet: WordNet) -> None:
    """'rating' is of 'rate', not of 'rat'; 'boss' is no plural of 'bos'; an exception has all its bases."""
    assert wordnet.synonyms("rating") == ("value",)
    assert wordnet.synonyms("boss") == ("chief",)
    assert wordnet.synonyms("better") == ()  # of the adjective 'well' there is none here
    assert wordnet.synonyms("as") == ()  # no plural of 'a'


@pytest.mark.parametrize(
    "word", ["", " ", "zebra", "do", "dogg", "\n", "licence", "1", "café", "\u6f22", "\ud800", "a" * 10**5]
)
def test_what_it_does_not_know_has_no_synonyms(word: str, wordnet: WordNet) -> None:
    assert wordnet.synonyms(word) == ()


def test_compounds_have_blanks(wordnet: WordNet) -> None:
    assert wordnet.synonyms("hot dog") == wordnet.synonyms("hot_dog") == ("frank", "dog")
    assert wordnet.synonyms("Dog") == ("domestic dog", "Canis familiaris", "frank", "hot dog", "chase", "tag")


CHAINS = {
    "kitty": ("cat", "living thing", "entity"),  # by the first of two hypernyms, which is not the first pointer
    "name_b": ("living thing", "entity"),  # an instance
    "entity": (),
    "goose": (),
    "ouroboros": ("snake",),
    "snake": ("ouroboros",),
}


@pytest.mark.parametrize(("lemma", "chain"), CHAINS.items())
def test_hypernyms_lead_to_the_root(lemma: str, chain: tuple[str, ...], wordnet: WordNet) -> None:
    assert wordnet.hypernyms(small_wordnet.noun_offsets()[lemma]) == chain


def test_a_gloss_ends_before_its_examples(wordnet: WordNet) -> None:
    for at in small_wordnet.noun_offsets().values():
        assert wordnet.gloss(at) == "a gloss; of two parts"


@pytest.mark.parametrize("shift", [-(10**6), -1, 1, 10**9])
def test_an_offset_at_which_no_synset_starts_is_refused(shift: int, wordnet: WordNet) -> None:
    offset = small_wordnet.noun_offsets()["cat"] + shift
    for method in (wordnet.hypernyms, wordnet.gloss):
        with pytest.raises(UserError, match=rf"data.noun: no synset starts at byte {offset}$"):
            method(offset)


@pytest.mark.parametrize("offset", [0, 50])
def test_the_licence_is_no_synset(offset: int, wordnet: WordNet) -> None:
    with pytest.raises(UserError, match="no synset starts at byte"):
        wordnet.gloss(offset)


def test_all_glosses_come_with_their_lemmas(wordnet: WordNet) -> None:
    every = [[name.partition("(")[0].replace("_", " ") for name in one] for part in SYNSETS.values() for one in part]
    assert [(list(lemmas), gloss) for lemmas, gloss in wordnet.glosses()] == [
        (names, small_wordnet.GLOSS) for names in every
    ]


def test_a_copy_in_another_process_answers_alike(wordnet: WordNet) -> None:
    assert pickle.loads(pickle.dumps(wordnet)).synonyms("dogs") == wordnet.synonyms("dogs")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert (
            pool.map(wordnet.synonyms, ["dog", "cat"] * 20) == [wordnet.synonyms("dog"), wordnet.synonyms("cat")] * 20
        )


@pytest.mark.parametrize("missing", ["index.noun", "data.verb", "adj.exc"])
def test_a_folder_without_the_files_is_refused(missing: str, tmp_path: Path) -> None:
    small_wordnet.write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(UserError, match=rf"does not hold WordNet's files .*{missing}.*layouts wordnet"):
        WordNet(tmp_path)
    (tmp_path / missing).touch()
    if not missing.endswith(".exc"):
        with pytest.raises(UserError, match="does not hold WordNet's files"):
            WordNet(tmp_path)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layouts.prepare("wordnet", tmp_path_factory.mktemp("real") / "wordnet")


@pytest.mark.slow
def test_the_real_dictionary(real: Path) -> None:
    start = time.perf_counter()
    wordnet = WordNet(real)
    assert time.perf_counter() - start < 1
    # The senses that Princeton's own search shows for these words.
    frank = {"frank", "frankfurter", "hotdog", "hot dog", "wiener", "wienerwurst", "weenie"}
    assert frank | {"domestic dog", "cad", "pawl", "andiron", "chase after"} <= set(wordnet.synonyms("dogs"))
    assert wordnet.synonyms("galore") == ("abounding",)
    # ImageNet's n02123045 and the root.
    chain = wordnet.hypernyms(2123045)
    assert chain[:4] == ("domestic cat", "cat", "feline", "carnivore") and chain[-1] == "entity"
    assert wordnet.gloss(2123045) == "a cat with a grey or tawny coat mottled with black"
    assert wordnet.hypernyms(1740) == ()
    assert sum(1 for _ in wordnet.glosses()) == 117_659  # wnstats(7WN), synsets


@pytest.mark.slow
def test_hypernyms_are_those_that_a_reading_line_by_line_finds(real: Path) -> None:
    wordnet = WordNet(real)
    lines = [line for line in (real / "data.noun").read_text().splitlines() if not line.startswith(" ")]
    names = {int(line[:8]): line.split()[4].replace("_", " ") for line in lines}
    above = {int(line[:8]): int(found[1]) for line in lines if (found := re.search(r" @i? (\d{8}) n 0000", line))}
    assert set(names) - set(above) == {1740}  # all nouns of release 3.0 hang below 'entity'
    for offset in random.Random(0).sample(sorted(names), 2000):
        expected, at = [], offset
        while at in above:
            at = above[at]
            expected.append(names[at])
        assert list(wordnet.hypernyms(offset)) == expected, offset


@pytest.mark.slow
def test_every_real_word_is_found_as_a_reading_line_by_line_finds_it(real: Path) -> None:
    wordnet = WordNet(real)
    count, senses = 0, {}
    for part in DETACHMENT:
        for line in (real / f"index.{part}").read_text().splitlines():
            if not line.startswith(" "):
                fields = line.split()
                senses.setdefault(fields[0], []).extend((part, int(at)) for at in fields[-int(fields[2]) :])
                count += 1
    assert (len(senses), count) == (147_306, 117_798 + 11_529 + 21_479 + 4_481)  # wnstats(7WN), unique strings
    data = {part: (real / f"data.{part}").read_bytes() for part in DETACHMENT}
    rules = [rule.split(">") for part in DETACHMENT.values() for rule in part.split()]
    irregular = {line.split()[0] for part in DETACHMENT for line in (real / f"{part}.exc").read_text().splitlines()}
    compared = 0
    for word in random.Random(0).sample(sorted(senses), 2000):
        if word in irregular or any(
            word.removesuffix(end) + base in senses for end, base in rules if word.endswith(end)
        ):
            continue  # an inflected form too
        names: set[str] = set()
        for part, offset in senses[word]:
            fields = data[part][offset : data[part].index(b"\n", offset)].decode().split()
            names |= {re.sub(r"\(\w+\)$", "", fields[4 + 2 * index]) for index in range(int(fields[3], 16))}
        expected = {name.replace("_", " ") for name in names if name.lower() != word}
        assert set(wordnet.synonyms(word)) == expected, word
        compared += 1
    assert compared > 1500
