"""Files that a crash leaves as they were or as they shall be, never in between."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replaced(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write; it appears under ``path`` when the context ends well, in place of what was there.

    Raises:
        OSError: the disk is full, the folder read-only, ...; ``path`` is as it was.
    """
    path = Path(path)
    partial = temporary(path)
    try:
        with open(partial, "wb") as file:
            yield file
            to_disk(file)
        os.replace(partial, path)
        folder_to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def temporary(path: Path, ending: str = "tmp") -> Path:
    """A hidden name beside ``path`` that no other process takes."""
    return path.with_name(f".{path.name}.{os.getpid()}.{ending}")


def to_disk(file: BinaryIO) -> None:
    """Return when the disk has what was written to an open file."""
    file.flush()
    os.fsync(file.fileno())


def folder_to_disk(folder: Path) -> None:
    """Return when the disk has a folder's entries: which files there are and what they are called."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_folder(path: Path) -> None:
    """Remove a folder: it disappears at once, also where the process is killed before its files are gone."""
    hidden = temporary(path)
    shutil.rmtree(hidden, ignore_errors=True)
    os.rename(path, hidden)
    shutil.rmtree(hidden)
