"""Synonyms, hypernyms and glosses from WordNet's own files (Miller, CACM 1995).

They are read as its manual pages wndb(5WN) and morphy(7WN) describe them.

``python -m interngv.gvd.layouts wordnet`` writes the files of WordNet 3.0 to ``data/wordnet``.
"""

import mmap
import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from interngv.errors import UserError

CACHED_WORDS = 2**16
# Ending of an inflected form > that of its base form; the first that gives a known word holds.
DETACHMENT = {
    "noun": "s> ses>s xes>x zes>z ches>ch shes>sh men>man ies>y",
    "verb": "s> ies>y es>e es> ed>e ed> ing>e ing>",
    "adj": "er> est> er>e est>e",
    "adv": "",
}
MARKERS = ("(a)", "(p)", "(ip)")  # where an adjective may stand
HYPERNYMS = ("@", "@i")  # pointers to what a synset is a kind of, and what it is an instance of


class WordNet:
    """A folder with ``index.*``, ``data.*`` and ``*.exc`` for noun, verb, adj and adv.

    The files are mapped, not read: opening takes milliseconds, and processes share the memory. Raises UserError for a
    folder without them.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        try:
            self._parts = {part: _opened(self.folder, part) for part in DETACHMENT}
        except (OSError, ValueError) as error:
            raise UserError(
                f"{folder} does not hold WordNet's files ({error}); python -m interngv.gvd.layouts wordnet writes them "
                "to data/wordnet"
            ) from error
        self._cached = lru_cache(CACHED_WORDS)(self._synonyms)

    def synonyms(self, word: str) -> tuple[str, ...]:
        """Every other word of the synsets that hold ``word`` or its base form: nouns first, then by sense.

        Base forms are what the exception lists and the rules of detachment say (geese: goose, dogs: dog); they are left
        out, as the word itself is, and synonyms are not inflected. A compound has blanks between its parts. Empty for
        what WordNet does not know.
        """
        return self._cached(word.lower().replace(" ", "_")) if word.isascii() else ()

    def hypernyms(self, offset: int) -> tuple[str, ...]:
        """The first lemma of each synset above a noun synset, the nearest first, up to the root, with blanks.

        Of several hypernyms the first is followed. ``offset`` is the byte of ``data.noun`` at which the synset's line
        starts: 2123045 for ImageNet's n02123045. Raises UserError where none starts there.
        """
        chain, above = [offset], _hypernym(self._noun(offset))
        while above is not None and above not in chain:
            chain.append(above)
            above = _hypernym(self._noun(above))
        return tuple(_words(self._noun(one))[0].replace("_", " ") for one in chain[1:])

    def gloss(self, offset: int) -> str:
        """The definition of a noun synset without examples; offset and errors as with :meth:`hypernyms`."""
        return _gloss(self._noun(offset)).partition('; "')[0].strip()

    def glosses(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Lemmas (with blanks) and whole gloss, examples included, of every synset of the four parts of speech."""
        for part in self._parts.values():
            for line in part.data[:].decode("ascii").splitlines():
                if not line.startswith(" "):  # the licence
                    yield tuple(word.replace("_", " ") for word in _words(line)), _gloss(line)

    def _noun(self, offset: int) -> str:
        """The line of the noun synset that starts at this byte."""
        data = self._parts["noun"].data
        line = _line(data, offset).decode("ascii") if 0 <= offset < len(data) else ""
        if not line.startswith(f"{offset:08d} "):
            raise UserError(f"{self.folder / 'data.noun'}: no synset starts at byte {offset}")
        return line

    def _synonyms(self, word: str) -> tuple[str, ...]:
        found: dict[str, None] = {}
        forms = {word}
        for name, part in self._parts.items():
            for form in (word, *_bases(word, name, part)):
                forms.add(form)
                found |= dict.fromkeys(_lemmas(part, form))
        return tuple(lemma.replace("_", " ") for lemma in found if lemma.lower() not in forms)

    def __reduce__(self) -> tuple:
        return type(self), (self.folder,)


@dataclass(frozen=True)
class _PartOfSpeech:
    index: mmap.mmap
    data: mmap.mmap
    exceptions: dict[str, tuple[str, ...]]


def _opened(folder: Path, name: str) -> _PartOfSpeech:
    lines = (folder / f"{name}.exc").read_text(encoding="ascii").splitlines()
    exceptions = {inflected: tuple(bases) for inflected, *bases in map(str.split, filter(str.strip, lines))}
    return _PartOfSpeech(_mapped(folder / f"index.{name}"), _mapped(folder / f"data.{name}"), exceptions)


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _bases(word: str, name: str, part: _PartOfSpeech) -> tuple[str, ...]:
    """What the word may be an inflected form of."""
    if word in part.exceptions:
        return part.exceptions[word]
    if name == "noun" and (word.endswith("ss") or len(word) <= 2):  # boss is no plural of bos
        return ()
    for rule in DETACHMENT[name].split():
        ending, _, base_ending = rule.partition(">")
        base = word.removesuffix(ending) + base_ending
        if word.endswith(ending) and _entry(part.index, base):
            return (base,)
    return ()


def _lemmas(part: _PartOfSpeech, lemma: str) -> list[str]:
    """The lemmas of all synsets of one lemma, in the order of its senses."""
    fields = _entry(part.index, lemma).split()
    found: list[str] = []
    for offset in fields[-int(fields[2]) :] if fields else []:
        found += _words(_line(part.data, int(offset)).decode("ascii"))
    return found


def _words(synset: str) -> list[str]:
    """The lemmas of a line of data, with underscores."""
    fields = synset.split()
    names = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
    return [name[: name.rindex("(")] if name.endswith(MARKERS) else name for name in names]


def _hypernym(synset: str) -> int | None:
    """The offset that the first pointer upwards of a line of data gives; None at a root."""
    fields = synset.split()
    count_at = 4 + 2 * int(fields[3], 16)
    pointers = range(count_at + 1, count_at + 1 + 4 * int(fields[count_at]), 4)
    return next((int(fields[at + 1]) for at in pointers if fields[at] in HYPERNYMS), None)


def _gloss(synset: str) -> str:
    return synset.partition("|")[2].strip()


def _entry(index: mmap.mmap, lemma: str) -> bytes:
    """The line of one lemma in an index, whose lines are sorted; empty where there is none."""
    wanted = lemma.encode()
    # The lines of the licence, which come first, begin with blanks: their key is empty, less than that of any lemma.
    at = bisect_left(range(len(index)), wanted, key=lambda at: _line(index, at).partition(b" ")[0])
    line = _line(index, at) if wanted and at < len(index) else b""
    return line if line.partition(b" ")[0] == wanted else b""


def _line(file: mmap.mmap, at: int) -> bytes:
    """The line that holds the byte ``at``."""
    return file[file.rfind(b"\n", 0, at) + 1 : file.find(b"\n", at)]
