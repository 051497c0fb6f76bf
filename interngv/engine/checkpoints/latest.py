"""Which checkpoint of a work dir a run goes on from."""

import math
from collections.abc import Callable
from pathlib import Path

from interngv.checkpoint import directory
from interngv.errors import UserError

POINTER = "last_checkpoint"  # mmengine's file: the path of the checkpoint that was written last


def latest_checkpoint(
    work_dir: str | Path, say: Callable[[str], object] = print, until: int | None = None
) -> Path | None:
    """The newest whole checkpoint of a work dir that can be resumed; None where there is none at all.

    A damaged one is passed over and named. The ``.pth`` file that a run of mmengine's own left is taken where no
    checkpoint is newer.

    Args:
        say: takes a line for every damaged checkpoint.
        until: only those of this iteration or an earlier one.

    Raises:
        UserError: there are checkpoints and none of them is whole, or mmengine's file names one that is gone.
    """
    folder = Path(work_dir)
    named = _named(folder)
    ours = directory.checkpoints(folder) if folder.is_dir() else []
    if not ours and named and named.is_dir():  # the hook's out_dir
        ours = directory.checkpoints(named.parent)
    if named and named.is_file() and all(_written(one) < named.stat().st_mtime for one in ours):
        return named
    damaged = []
    for path in sorted(ours, key=lambda path: directory.serial(path) or math.inf, reverse=True):
        try:
            if directory.is_resumable(path) and (until is None or directory.read_meta(path)["iter"] <= until):
                directory.verify(path)
                return path
        except UserError as error:
            damaged.append(path)
            say(f"PASSED OVER: {error}")
    if named and named.is_file():
        return named
    if damaged:
        raise UserError(f"nothing to resume: no checkpoint in {folder} is whole; give --resume another one")
    if named and not named.exists():
        raise UserError(
            f"nothing to resume: {folder / POINTER} names {named}, which does not exist; give --resume a file"
        )
    return None


def _named(folder: Path) -> Path | None:
    """What mmengine's file names, also after the folder was moved."""
    pointer = folder / POINTER
    text = pointer.read_text().strip() if pointer.is_file() else ""
    if not text:
        return None
    return next((path for path in (Path(text), folder / Path(text).name) if path.exists()), Path(text))


def _written(path: Path) -> float:
    return (path / directory.META).stat().st_mtime if (path / directory.META).exists() else 0.0
