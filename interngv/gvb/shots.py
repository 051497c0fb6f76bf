"""Percentage-shot lists of GV-B: p % of the *whole* training list, long tail kept (INTERN, arXiv 2111.08687, §GV-B).

Unlike K-shot, every class keeps its share: class c with n_c samples gives ``max(1, round(n_c * p / 100))``. Within a
class the samples are ranked by the sha256 of (seed, sample), so that a selection depends on no random generator and on
no line order, and the samples of a smaller percentage are always among those of a larger one.

On the command line: ``python -m interngv.gvb.shots data/mnist-5k/meta/train.txt 10`` writes ``train_10p.txt`` beside
the list and prints its sha256, which identifies the selection.
"""

import argparse
import hashlib
import os
import tempfile
from collections import defaultdict
from collections.abc import Hashable, Sequence
from fractions import Fraction
from pathlib import Path


def shot_size(count: int, percent: float) -> int:
    """Number of samples that ``percent`` of ``count`` leaves: rounded half up, at least one.

    The percentage is read as written (0.1 is a tenth, not the nearest binary fraction), so sizes never depend on
    floating point. Raises ValueError for a percentage outside (0, 100] or a count below one.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"a percentage-shot needs 0 < percent <= 100, got {percent}")
    if count < 1:
        raise ValueError(f"a class needs at least one sample, got {count}")
    return max(1, int(count * Fraction(str(percent)) / 100 + Fraction(1, 2)))


def percentage_shot(samples: Sequence[str], labels: Sequence[Hashable], percent: float, seed: int = 0) -> list[int]:
    """Indices, ascending, of the samples that a percentage-shot keeps.

    ``samples`` are names that tell the samples apart (paths), ``labels`` their classes; equal names rank by position.
    Raises ValueError for lists of different length and for a percentage outside (0, 100].
    """
    if len(samples) != len(labels):
        raise ValueError(f"as many labels as samples are needed, got {len(labels)} and {len(samples)}")
    classes: dict[Hashable, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        classes[label].append(index)
    kept: list[int] = []
    for members in classes.values():
        members.sort(key=lambda index: _rank(samples[index], seed))
        kept += members[: shot_size(len(members), percent)]
    return sorted(kept)


def _rank(sample: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {sample}".encode()).digest()


def shot_list(list_file: str | os.PathLike, percent: float, seed: int = 0) -> tuple[Path, str]:
    """Write the percentage-shot of a list file (``<path> <class>`` a line) beside it; returns the path and its sha256.

    ``train.txt`` at 10 % becomes ``train_10p.txt``; a seed other than 0 is part of the name: ``train_10p_seed1.txt``.
    Raises ValueError with file and line for a line without a class, and for an empty list.
    """
    source = Path(list_file)
    lines = [line for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{source}: the list file has no samples")
    pairs = [line.rsplit(maxsplit=1) for line in lines]
    for number, pair in enumerate(pairs, start=1):
        if len(pair) != 2:
            raise ValueError(f"{source}: sample {number}, '{pair[0]}': expected '<path> <class>'")
    kept = percentage_shot([path for path, _ in pairs], [label for _, label in pairs], percent, seed)
    text = "".join(f"{lines[index]}\n" for index in kept)
    target = source.with_name(f"{source.stem}_{percent:g}p{f'_seed{seed}' if seed else ''}{source.suffix}")
    _write_whole(target, text)
    return target, hashlib.sha256(text.encode()).hexdigest()


def _write_whole(target: Path, text: str) -> None:
    handle, work = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    os.chmod(work, 0o644)
    os.replace(work, target)


def main() -> None:
    """Write the percentage-shot of a list file and print its path and sha256."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("list_file", help="list file, '<path> <class>' a line")
    parser.add_argument("percent", type=float, help="percentage of the whole list to keep, in (0, 100]")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        path, digest = shot_list(args.list_file, args.percent, args.seed)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{path}  sha256 {digest}")


if __name__ == "__main__":
    main()
