"""Synonyms from a small dictionary written here in WordNet's form, and from the real one where it can be fetched."""

import multiprocessing
import pickle
import random
import re
import time
from pathlib import Path

import pytest

from interngv.amateur.text import WordNet
from interngv.amateur.text.wordnet import DETACHMENT
from interngv.errors import UserError
from interngv.gvd import layouts

LICENCE = "".join(f"  {number} This is a line of the licence.  \n" for number in range(1, 30))
# part -> synsets, in the order in which each of their words has them as senses
SYNSETS = {
    "noun": [
        ["dog", "domestic_dog", "Canis_familiaris"],
        ["frank", "hot_dog", "dog"],
        ["goose"],
        ["fathead", "goose", "zany"],
        ["box", "loge"],
        ["church", "church_building"],
        ["city", "metropolis"],
        ["fireman", "stoker"],
        ["bos", "genus_Bos"],
        ["boss", "chief"],
        ["rat", "rotter"],
        ["a", "angstrom"],
        ["cat", "kitty"],
        ["cat's-paw", "tool"],
        [f"name_{letter}" for letter in "bcdefghijklmnopqrs"],  # more than ten: the count is hexadecimal
    ],
    "verb": [["dog", "chase", "tag"], ["rate", "value"], ["rat", "fink"], ["try", "attempt"], ["go", "move"]],
    "adj": [["big(a)", "large"], ["awake(p)", "wakeful"], ["galore(ip)", "abounding"], ["nice", "dainty"], ["good"]],
    "adv": [["well", "easily"]],
}
EXCEPTIONS = {"noun": "geese goose\n", "verb": "went go\ngoes go\ntried try\n", "adj": "better good well\n", "adv": ""}


def bare(name: str) -> str:
    return name.partition("(")[0].lower()


def write_part(folder: Path, part: str) -> None:
    """The files of one part of speech.

    A line of data: offset, file number, type, count in hexadecimal, words with a number each, pointers, gloss. One of
    the index: lemma, type, count of senses, pointers with their count, counts of senses and of tagged ones, offsets.
    """
    data, offsets = LICENCE, {}
    for synset in SYNSETS[part]:
        offset = f"{len(data):08d}"
        words = " ".join(f"{name} 0" for name in synset)
        data += (
            f'{offset} 05 {part[0]} {len(synset):02x} {words} 001 @ 00001740 {part[0]} 0000 | a gloss; "with dog 0"  \n'
        )
        for name in synset:
            offsets.setdefault(bare(name), []).append(offset)
    lines = [f"{name} {part[0]} {len(at)} 2 @ ~ {len(at)} 0 {' '.join(at)}  \n" for name, at in offsets.items()]
    (folder / f"data.{part}").write_text(data)
    (folder / f"index.{part}").write_text(LICENCE + "".join(sorted(lines)))
    (folder / f"{part}.exc").write_text(EXCEPTIONS[part])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wordnet")
    for part in SYNSETS:
        write_part(path, part)
    return path


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


def test_a_copy_in_another_process_answers_alike(wordnet: WordNet) -> None:
    assert pickle.loads(pickle.dumps(wordnet)).synonyms("dogs") == wordnet.synonyms("dogs")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert (
            pool.map(wordnet.synonyms, ["dog", "cat"] * 20) == [wordnet.synonyms("dog"), wordnet.synonyms("cat")] * 20
        )


@pytest.mark.parametrize("missing", ["index.noun", "data.verb", "adj.exc"])
def test_a_folder_without_the_files_is_refused(missing: str, tmp_path: Path) -> None:
    for part in SYNSETS:
        write_part(tmp_path, part)
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
