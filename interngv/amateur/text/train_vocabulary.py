"""Train a vocabulary of byte-level BPE on texts.

On the command line: ``python -m interngv.amateur.text.train_vocabulary data/wordnet --size 4096`` writes
``data/vocabulary/bpe-4096.json``, which a config takes as ``dict(type='interngv.BPETokenizer', vocabulary=FILE)``.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from interngv.amateur.data import PairFile
from interngv.amateur.text import BPETokenizer
from interngv.errors import UserError
from interngv.gvd.wordnet import WordNet

SIZE = 4096


def train_vocabulary(
    sources: Sequence[str | os.PathLike], size: int = SIZE, out: str | os.PathLike | None = None
) -> Path:
    """Train on the texts of all sources and write ``out`` (default ``data/vocabulary/bpe-<size>.json``).

    Args:
        sources: of :func:`texts`; their order changes nothing.
        size: number of ids, of which 515 are fixed; there are fewer where the texts give no more.
        out: replaced in one move where it is there.

    Returns:
        The written file.

    Raises:
        UserError: a source that is missing, cannot be read or has no text; a size without room for a merge; a file
            that cannot be written.
    """
    for source in sources:
        if not Path(source).exists():
            raise UserError(f"there is no {source}; expected a folder of WordNet, a .jsonl of pairs or a text file")
    target = Path(out) if out is not None else Path("data/vocabulary") / f"bpe-{size}.json"
    tokenizer = BPETokenizer.train((text for source in sources for text in texts(source)), size)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def texts(source: str | os.PathLike) -> Iterator[str]:
    """The texts of a source; raises UserError where it cannot be read or has none.

    A folder of WordNet gives ``lemma, lemma: gloss`` of each synset, a ``.jsonl`` of pairs all captions, any other
    file, UTF-8, the lines that are not blank.
    """
    path = Path(source)
    if path.is_dir():
        yield from (f"{', '.join(lemmas)}: {gloss}" for lemmas, gloss in WordNet(path).glosses())
    elif path.suffix == ".jsonl":
        pairs = PairFile(path)
        for start, stop in pairs.spans().tolist():
            yield from pairs.pair(start, stop)["captions"]
    else:
        yield from _lines(path)


def _lines(path: Path) -> Iterator[str]:
    is_blank = True
    try:
        with path.open(encoding="utf-8") as file:
            for line in filter(str.strip, file):
                is_blank = False
                yield line.strip()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text file in UTF-8 ({error.reason}); expected a text a line") from error
    if is_blank:
        raise UserError(f"{path} has no text; expected one a line")


def main() -> None:
    """Train a vocabulary on texts; print its file, its number of ids and the mean number of ids a text."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    sources = "folder of WordNet, .jsonl of pairs, or text file with a text a line"
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=sources)
    parser.add_argument("--size", type=int, default=SIZE, help=f"number of ids; default: {SIZE}")
    parser.add_argument("--out", type=Path, help="default: data/vocabulary/bpe-SIZE.json")
    args = parser.parse_args()
    try:
        path = train_vocabulary(args.sources, args.size, args.out)
        tokenizer = BPETokenizer(path)
        counts = [len(tokenizer.encode(text)) for source in args.sources for text in texts(source)]
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{path}: {tokenizer.vocab_size} ids, {sum(counts) / len(counts):.1f} ids a text")


if __name__ == "__main__":
    main()
