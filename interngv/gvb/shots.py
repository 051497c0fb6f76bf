"""Percentage-shot of GV-B: p % of the *whole* training set, long tail kept (INTERN, arXiv 2111.08687, §GV-B).

Unlike K-shot, every class keeps its share: class c with n_c samples gives ``max(1, round(n_c * p / 100))``. The paper
names neither the rounding nor the choice; that its Flowers at 10 % are two of twenty a class shows the share [I].

Every sample has a pseudo-random rank and a class keeps its samples of lowest rank, so what a smaller percentage keeps
is always among what a larger one does. The rank is the sha256 of (seed, name): a selection depends on no random
generator and on no order of the list. Where samples are too many to have names, :mod:`interngv.gvb.shot_stream` ranks
their positions instead, and all else is the same.

    shots = Shots.parse("10")
    kept = select(names, labels, shots, seed=0, classes=102)
    print(table({"flowers": statistics(labels, kept, classes=102, k=shots.k)}))

On the command line: ``python -m interngv.gvb.shots data/mnist-5k/meta/train.txt 10`` writes ``train_10p.txt`` beside
the list and prints its sha256, which identifies the selection, and the samples a class.
"""

import argparse
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from interngv.checkpoint.files import replaced
from interngv.errors import did_you_mean
from interngv.gvb.class_counts import SamplesError, Statistics, grouped, statistics, table

LEAST_PERCENT = Decimal("0.000001")  # one sample of 10**8


@dataclass(frozen=True)
class Shots:
    """How much of a training set is used: a percentage of every class, or k samples of each.

    Made by :meth:`parse`; ``str`` gives the one spelling of each: '10', 'k=2', 'all'. ``k`` is 0 for a percentage, and
    ``percent`` 100 for a k.
    """

    percent: Decimal
    k: int = 0

    @classmethod
    def parse(cls, given: "str | float | Shots") -> "Shots":
        """Reads '10' or '12.5 %' (of every class), 'k=2' (samples a class), or 'all', which is 100 %.

        A percentage is taken as written: 0.1 is a tenth, not the nearest binary fraction. Raises SamplesError for
        what is no such amount.
        """
        text = str(given).strip().lower()
        if wanted := re.fullmatch(r"k ?= ?([1-9][0-9]{0,17})", text):
            return cls(Decimal(100), int(wanted[1]))
        try:
            percent = Decimal("100" if text == "all" else text.removesuffix("%").rstrip()).normalize()
        except ArithmeticError:
            percent = Decimal("nan")
        if not (percent.is_finite() and LEAST_PERCENT <= percent <= 100):
            raise SamplesError(
                f"shots {given!r} say no amount of training samples{did_you_mean(text, ['all', 'k=1'])}; expected a "
                f"percentage with {LEAST_PERCENT:f} <= percent <= 100, 'k=2' for two samples a class, or 'all'"
            )
        return cls(percent)

    def __str__(self) -> str:
        if self.k:
            return f"k={self.k}"
        return "all" if self.percent == 100 else f"{self.percent:f}"

    @property
    def suffix(self) -> str:
        """As in the names of list files: '10p', 'k2', '100p'."""
        return f"k{self.k}" if self.k else f"{self.percent:f}p"

    def sizes(self, counts: np.ndarray) -> np.ndarray:
        """How many samples classes with these counts keep, (C,) int64.

        Rounded half up, in integers, so that sizes never depend on floating point; at least one where there is one. A
        class with fewer than k samples keeps them all.
        """
        share = Fraction(self.percent) / 100
        up, down = share.numerator, share.denominator
        wanted = [self.k or max(1, (2 * n * up + down) // (2 * down)) for n in counts.tolist()]
        return np.minimum(counts, np.array(wanted, np.int64))


def tries(count: int) -> range:
    """The seeds of ``count`` tries: 0, 1, ..."""
    if count < 1:
        raise SamplesError(f"at least one try is needed, got {count}")
    return range(count)


def select(
    names: Sequence[str], labels: ArrayLike | None, shots: Shots, seed: int = 0, classes: int | None = None
) -> np.ndarray:
    """Indices of the samples that are kept.

    Args:
        names: (N,) what tells the samples apart, as a rule their paths; equal names rank by position.
        labels: (N,) class of every sample. None takes all samples as one class: whole images, for detection,
            segmentation and depth.
        shots: how many of every class.
        seed: another seed, another selection.
        classes: number of classes, where every label must be one of ``range(classes)``. None takes labels as they
            are, be they integers or strings.

    Returns:
        (K,) int64, ascending.

    Raises:
        SamplesError: no samples, another number of labels, a label outside the classes.
    """
    if not len(names):
        raise SamplesError("a selection needs samples, got an empty set")
    groups, count = grouped(np.zeros(len(names), np.intp) if labels is None else labels, classes)
    if len(groups) != len(names):
        raise SamplesError(f"as many labels as samples are needed, got {len(groups)} and {len(names)}")
    return lowest(name_ranks(names, seed), groups, shots.sizes(np.bincount(groups, minlength=count)))


def name_ranks(names: Sequence[str], seed: int) -> np.ndarray:
    """Rank of every name, (N,) uint64: the first eight bytes of the sha256 of ``<seed> <name>``."""
    digests = (hashlib.sha256(f"{seed} {name}".encode(errors="surrogatepass")).digest() for name in names)
    return np.fromiter((int.from_bytes(digest[:8], "big") for digest in digests), np.uint64, len(names))


def lowest(ranks: np.ndarray, labels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Ascending int64 indices of the ``sizes[c]`` samples of lowest rank in every class c; equal ranks by position."""
    order = np.lexsort((ranks, labels))
    by_class = labels[order]
    place = np.arange(len(order)) - np.searchsorted(by_class, by_class)  # within the class
    return np.sort(order[place < sizes[by_class]])


def list_sha256(names: Iterable[str]) -> str:
    """The sha256 that identifies a list: that of a text file with these names, a line each, in this order.

    So ``sha256sum`` of a written list says the same. A selection is listed in the order of its data set
    (:func:`select` ascends), and another order is another list. Raises SamplesError for a name with a line break.
    """
    digest = hashlib.sha256()
    for name in names:
        if "\n" in name:
            raise SamplesError(f"sample {name!r}: a name of a list has no line breaks")
        digest.update(f"{name}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()


def shot_list(list_file: str | os.PathLike, shots: str | float | Shots, seed: int = 0) -> tuple[Path, str]:
    """Write the selection of a list file (``<path> <class>`` a line) beside it; returns the path and its sha256.

    ``train.txt`` at 10 % becomes ``train_10p.txt``, at k = 2 ``train_k2.txt``; a seed other than 0 is part of the name:
    ``train_10p_seed1.txt``. Raises SamplesError with file and sample for a line without a class, and for an empty list.
    """
    lines, _ = _selected(Path(list_file), Shots.parse(shots), seed)
    return _write_list(Path(list_file), lines, Shots.parse(shots), seed)


def _selected(source: Path, shots: Shots, seed: int) -> tuple[list[str], Statistics]:
    """The lines of a list file that are kept, in its order, and their statistics."""
    lines = [line for line in source.read_text(encoding="utf-8").split("\n") if line.strip()]
    if not lines:
        raise SamplesError(f"{source}: the list file has no samples")
    pairs = [line.rsplit(maxsplit=1) for line in lines]
    for number, pair in enumerate(pairs, start=1):
        if len(pair) != 2:
            raise SamplesError(f"{source}: sample {number}, '{pair[0]}': expected '<path> <class>'")
    names, labels = zip(*pairs, strict=True)
    kept = select(names, labels, shots, seed)
    return [lines[index] for index in kept], statistics(labels, kept, k=shots.k)


def _write_list(source: Path, lines: list[str], shots: Shots, seed: int) -> tuple[Path, str]:
    target = source.with_name(f"{source.stem}_{shots.suffix}{f'_seed{seed}' if seed else ''}{source.suffix}")
    with replaced(target) as file:
        file.writelines(f"{line}\n".encode() for line in lines)
    return target, list_sha256(lines)


def main() -> None:
    """Write the selection of a list file and print its path, its sha256 and the samples a class."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("list_file", type=Path, help="list file, '<path> <class>' a line")
    parser.add_argument("shots", help="percentage of every class, k=2 for two samples a class, or all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        shots = Shots.parse(args.shots)
        lines, found = _selected(args.list_file, shots, args.seed)
        path, digest = _write_list(args.list_file, lines, shots, args.seed)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{path}  sha256 {digest}\n{table({path.name: found})}")


if __name__ == "__main__":
    main()
