"""Files of image-text pairs: a JSON object a line, checked in one pass and read again line by line when asked for.

``{"image": "a/0.jpg", "captions": ["A dog.", "A dog on a lawn."], "split": "train", "label": 3}``; ``caption`` with one
text may stand for ``captions``, ``split`` and ``label`` may be missing, other keys are not read.
"""

import json
import os
from array import array
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

import numpy as np

from interngv.errors import UserError, did_you_mean

_SHOWN = 120  # characters of a faulty line


class PairFileError(UserError, ValueError):
    """A file of pairs that cannot be used; the message names the file and, where there is one, the line."""


class PairFile:
    """A JSON-lines file of pairs, of which memory holds 16 bytes a line: 15 million pairs take 229 MiB.

    What a process reads is neither kept nor pickled, so worker processes share all there is. The file must not change
    while it is read.

    Args:
        path: the file, UTF-8.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        self._file: BinaryIO | None = None

    def __reduce__(self) -> tuple:
        return type(self), (self.path,)

    def spans(self, splits: Collection[str] | None = None) -> np.ndarray:
        """Reads and checks the whole file.

        Args:
            splits: take the lines of these splits; None takes all.

        Returns:
            (N, 2) int64, where each taken line starts and stops in the file, in bytes.

        Raises:
            PairFileError: it cannot be read; a line is no pair; a picture stands in two lines; it has no pairs of the
                splits.
        """
        spans, hashes = array("q"), array("q")
        seen: dict[str | None, None] = {}
        for number, start, line in self._lines():
            pair = self._parsed(line, number)
            hashes.append(hash(pair["image"]))
            split = pair.get("split")
            seen.setdefault(split)
            if splits is None or split in splits:
                spans.extend((start, start + len(line)))
        self._check_splits(splits, seen)
        self._check_duplicates(np.frombuffer(hashes, np.int64))
        return np.frombuffer(spans, np.int64).reshape(-1, 2)

    def pair(self, start: int, stop: int) -> dict[str, Any]:
        """The pair of one span: ``image``, ``captions`` and, where they are given, ``split`` and ``label``."""
        if self._file is None:
            self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 (stays open, in each process its own)
        line = os.pread(self._file.fileno(), stop - start, start)
        return self._parsed(line, f"byte {start}")

    def _lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Number, from 1, start in bytes and content of every line that is not blank."""
        start = 0
        try:
            with open(self.path, "rb") as file:
                for number, line in enumerate(file, start=1):
                    if not line.isspace():
                        yield number, start, line
                    start += len(line)
        except OSError as error:
            raise PairFileError(f"{self.path} cannot be read: {error.strerror or error}") from error

    def _parsed(self, line: bytes, place: int | str) -> dict[str, Any]:
        try:
            return _pair(json.loads(line.decode()), has_escapes=b"\\u" in line)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            shown = line[:_SHOWN].decode(errors="replace").strip()
            fault = f"expected UTF-8 with a JSON object, got {shown!r} ({error})"
        except ValueError as error:
            fault = str(error)
        raise PairFileError(f"{self.path}, {f'line {place}' if isinstance(place, int) else place}: {fault}")

    def _check_splits(self, splits: Collection[str] | None, seen: dict[str | None, None]) -> None:
        if not seen:
            raise PairFileError(f"{self.path} has no pairs")
        known = [split for split in seen if split is not None]
        for split in splits or ():
            if split not in seen:
                has = f"it has {', '.join(known)}" if known else "none of its lines has a 'split'"
                raise PairFileError(f"{self.path} has no pairs of split {split!r}{did_you_mean(split, known)}; {has}")

    def _check_duplicates(self, hashes: np.ndarray) -> None:
        ordered = np.sort(hashes)
        doubtful = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        first: dict[str, int] = {}
        for number, _, line in self._lines() if doubtful else ():
            image = self._parsed(line, number)["image"]
            if hash(image) in doubtful and first.setdefault(image, number) != number:
                raise PairFileError(
                    f"{self.path}, line {number}: {image!r} stands in line {first[image]} as well; give all captions "
                    "of a picture in one line"
                )


def _pair(given: Any, has_escapes: bool) -> dict[str, Any]:
    """The keys that are read, checked; raises ValueError. Only what was written as an escape needs a look inside."""
    if not isinstance(given, dict):
        raise ValueError(f"expected a JSON object, got a {type(given).__name__}")
    captions = _captions(given)
    pair = {"image": given["image"], "captions": captions}
    for text in (given["image"], *captions):
        if not isinstance(text, str) or not text or text.isspace():
            raise ValueError(f"expected texts that are not blank for 'image' and each caption, got {text!r}")
        if has_escapes:
            _check_characters(text)
    if (split := given.get("split")) is not None:
        pair["split"] = _of_kind(split, str, "'split': expected a text")
    if (label := given.get("label")) is not None:
        pair["label"] = _of_kind(label, int, "'label': expected a class number")
    return pair


def _of_kind(value: Any, kind: type, said: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no {said}")
    return value


def _captions(given: dict[str, Any]) -> list[Any]:
    """The captions, still to be checked one by one; names what is missing."""
    if "image" not in given:
        raise ValueError(f"the key 'image' is missing{did_you_mean('image', given)}")
    if ("captions" in given) == ("caption" in given):
        raise ValueError(f"expected one of the keys 'captions' and 'caption'{did_you_mean('captions', given)}")
    captions = given["captions"] if "captions" in given else [given["caption"]]
    if not isinstance(captions, list) or not captions:
        raise ValueError(f"'captions' is {captions!r}, expected a list with at least one text")
    return captions


def _check_characters(text: str) -> None:
    try:
        is_whole = "\0" not in text and bool(text.encode())
    except UnicodeEncodeError:
        is_whole = False
    if not is_whole:
        raise ValueError(f"{text!r} has a NUL or half of a surrogate pair; remove it")
