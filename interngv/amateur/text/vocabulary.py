"""Vocabularies of byte-level BPE (Sennrich et al., ACL 2016): CLIP's, files of the ``tokenizers`` library, training.

A list of merges says all. The ids follow from it in CLIP's order: 256 letters, the same 256 at the end of a word
(``</w>``), what each merge makes, then ``<start_of_text>``, ``<end_of_text>`` and, which CLIP has not, ``<|mask|>``.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from interngv import compat
from interngv.amateur.text.words import BYTE_LETTERS, END, MASK, PATTERN, START, clean, letters, needed, words
from interngv.checkpoint.files import replaced
from interngv.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from tokenizers.models import BPE

Merge = tuple[str, str]

END_OF_WORD = "</w>"
CLIP_FILE = "bpe_simple_vocab_16e6.txt.gz"
CLIP_MERGES = 49_408 - 512 - 2  # of the 262 144 that its file lists
PARALLELISM = "TOKENIZERS_PARALLELISM"


def tokens(merges: Iterable[Merge]) -> list[str]:
    """All tokens by id; the last three are start, end and mask."""
    alphabet = list(BYTE_LETTERS.values())
    merged = dict.fromkeys(first + second for first, second in merges)
    return [*alphabet, *(letter + END_OF_WORD for letter in alphabet), *merged, START, END, MASK]


def bpe_model(merges: Sequence[Merge]) -> "BPE":
    """The library's model, which merges the letters of a word."""
    ids = {token: index for index, token in enumerate(tokens(merges))}
    return needed("tokenizers").models.BPE(ids, list(merges), end_of_word_suffix=END_OF_WORD)


def read_merges(vocabulary: str | os.PathLike) -> tuple[Merge, ...]:
    """The merges of ``'clip'`` or of a file of the ``tokenizers`` library; raises UserError for anything else."""
    if vocabulary == "clip":
        return _clip_merges()
    if not Path(vocabulary).is_file():
        hint = did_you_mean(str(vocabulary), ["clip"])
        remedy = "python -m interngv.amateur.text.train_vocabulary SOURCE writes one"
        raise UserError(f"vocabulary '{vocabulary}' is neither 'clip' nor a file of BPETokenizer.save{hint}; {remedy}")
    try:
        model = json.loads(Path(vocabulary).read_text(encoding="utf-8"))["model"]
        # Releases before 0.20 wrote a merge as one string.
        merges = tuple(_merge(*(pair.split(" ") if isinstance(pair, str) else pair)) for pair in model["merges"])
        known = [model["vocab"].get(token) for token in tokens(merges)[:-3]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{vocabulary}: no file of BPETokenizer.save ({type(error).__name__}: {error})") from error
    if model.get("end_of_word_suffix") != END_OF_WORD or known != list(range(len(known))):
        raise UserError(f"{vocabulary}: its tokens are not in CLIP's order; expected a file of BPETokenizer.save")
    return merges


def _merge(first: str, second: str) -> Merge:
    return first, second


def _clip_merges() -> tuple[Merge, ...]:
    """CLIP's merges, read from open_clip's files without importing it."""
    found = compat.spec("open_clip")
    if found is None:
        raise UserError("CLIP's vocabulary is read from open_clip, which is not installed: pip install open_clip_torch")
    file = Path((found.submodule_search_locations or [""])[0]) / CLIP_FILE
    try:
        lines = gzip.decompress(file.read_bytes()).decode().split("\n")[1 : CLIP_MERGES + 1]
        merges = tuple(_merge(*line.split()) for line in lines)
    except (OSError, EOFError, zlib.error, ValueError, TypeError) as error:
        raise UserError(f"{file}: CLIP's vocabulary cannot be read ({error}): pip install open_clip_torch") from error
    if len(merges) != CLIP_MERGES:
        raise UserError(f"{file}: {len(merges)} merges, CLIP has {CLIP_MERGES}: pip install open_clip_torch")
    return merges


def write_merges(merges: Sequence[Merge], path: str | os.PathLike) -> None:
    """Write the library's own JSON form; the library alone reads it too, and misses only what ftfy mends."""
    library = needed("tokenizers")
    whole = library.Tokenizer(bpe_model(merges))
    whole.add_special_tokens([START, END])
    normal, cut = library.normalizers, library.pre_tokenizers
    whole.normalizer = normal.Sequence([normal.NFC(), normal.Lowercase()])
    split = cut.Split(library.Regex(PATTERN), "removed", invert=True)
    whole.pre_tokenizer = cut.Sequence([split, cut.ByteLevel(add_prefix_space=False, use_regex=False)])
    with replaced(Path(path)) as file:
        file.write(whole.to_str(pretty=True).encode())


def train_merges(texts: Iterable[str], vocab_size: int, min_frequency: int) -> tuple[Merge, ...]:
    """The merges that a corpus gives, in the order of their frequency; the order of its texts does not matter.

    Raises UserError where ``vocab_size`` has no room for a merge or no pair of letters is frequent enough.
    """
    alphabet = list(BYTE_LETTERS.values())
    fixed = len(tokens(()))
    if vocab_size <= fixed:
        raise UserError(f"vocab_size {vocab_size} leaves no room for merges: {fixed} tokens are in every vocabulary")
    library = needed("tokenizers")
    tokenizer = library.Tokenizer(library.models.BPE(end_of_word_suffix=END_OF_WORD))
    tokenizer.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size - 3,
        min_frequency=min_frequency,
        initial_alphabet=alphabet,
        # Named here, they get fixed ids; left to the trainer they get ids of a random order, by which it breaks ties.
        special_tokens=[letter + END_OF_WORD for letter in alphabet],
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    lines = (" ".join(map(letters, words(clean(text)))) for text in texts)
    with _one_thread():
        tokenizer.train_from_iterator(lines, trainer)
    merges = tuple(_merge(*pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"])
    if not merges:
        raise UserError(f"no two letters stand side by side {min_frequency} times in the texts: nothing to merge")
    return merges


@contextmanager
def _one_thread() -> Iterator[None]:
    """No threads in the library, unless the user asks for them: after them, releases to 0.22.1 warn at every fork."""
    given = os.environ.get(PARALLELISM)
    os.environ.setdefault(PARALLELISM, "false")
    try:
        yield
    finally:
        if given is None:
            del os.environ[PARALLELISM]
