"""A checkpoint on disk: a folder that is whole or not there, and whose every byte is checked when it is read.

``weights.safetensors``  the model's ``state_dict``
``state.safetensors``, ``state.json``  what a resume needs besides (see :mod:`interngv.checkpoint.codec`); not in all
``meta.json``  iteration, epoch, seed, lineage, ...; size and sha256 of the files; a sha256 of its own

A folder is written under a hidden name, brought to the disk, read again and compared, and only then renamed.
"""

import hashlib
import json
import os
import re
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from interngv.checkpoint.codec import DTYPES, TAG, NotStorable, decode, encode
from interngv.checkpoint.files import folder_to_disk, remove_folder, temporary, to_disk
from interngv.checkpoint.tensors import read_tensors, serialize
from interngv.errors import UserError
from interngv.version import __version__

META, WEIGHTS, STATE, TREE = "meta.json", "weights.safetensors", "state.safetensors", "state.json"
FORMAT = 1
_FILES = {META, WEIGHTS, STATE, TREE}
_OWN = "checkpoint"  # the key of meta.json that belongs to this module
_LEFT_OVER = re.compile(r"\.(?P<name>.+)\.\d+\.(?P<ending>tmp|old)")


class Damaged(UserError):
    """A checkpoint's folder that is not as it was written; the message names the file."""


def write(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint's folder: ``state_dict`` to its weights, ``meta`` to meta.json, all other keys to its state.

    A folder of this name that holds a checkpoint is replaced when the new one is whole. A process that is killed leaves
    the old one or the new one, and maybe a hidden folder, see :func:`tidy`.

    Raises:
        UserError: the disk is full, the folder read-only, or a value is of a type that is not stored; what was there
            is untouched.
    """
    path = Path(path)
    partial = temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _write_files(partial, checkpoint, 1 + max(map(serial, checkpoints(path.parent)), default=0))
        folder_to_disk(partial)
        verify(partial, from_disk=True)
        _publish(partial, path)
    except Damaged as error:
        raise UserError(f"checkpoint {path} is not on the disk as it was written: {error}") from error
    except OSError as error:
        raise UserError(f"checkpoint {path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint's folder into the dict that was written, every file checked against its sha256.

    Raises:
        Damaged: a file is missing or not as it was written.
        UserError: the folder is no checkpoint, or one of a later format.
        Exception: of any other kind, where the folder was made to look whole.
    """
    path = Path(path)
    meta = verify(path)
    files = meta.pop(_OWN)["files"]
    checkpoint = {"state_dict": read_weights(path / WEIGHTS, map_location), "meta": decode(meta)}
    if TREE in files:
        tensors, _ = read_tensors(path / STATE, map_location)
        checkpoint = checkpoint | decode(json.loads((path / TREE).read_text()), tensors)
    return checkpoint


def read_weights(path: str | Path, map_location: Any = "cpu") -> "OrderedDict[str, Any]":
    """A ``state_dict`` from a safetensors file, ours or another program's.

    Raises:
        Exception: of any kind, where the file is damaged.
    """
    tensors, notes = read_tensors(path, map_location)
    others = decode(notes.get("others", {}))
    names = notes.get("names", tensors)
    state: Any = OrderedDict((name, others[name] if name in others else tensors[name]) for name in names)
    if notes.get("versions") is not None:
        state._metadata = decode(notes["versions"])
    return state


def serialize_weights(state_dict: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file with a ``state_dict``: tensors, versions of modules, entries of other types."""
    tensors = {name: one for name, one in state_dict.items() if isinstance(one, Tensor) and one.dtype in DTYPES}
    others = {name: encode(one, name) for name, one in state_dict.items() if name not in tensors}
    notes = {"versions": encode(getattr(state_dict, "_metadata", None))}
    if others:
        notes |= {"others": others, "names": list(state_dict)}
    return serialize(tensors, notes)


def read_meta(path: str | Path) -> dict[str, Any]:
    """A checkpoint's ``meta.json`` as JSON; no other file is looked at.

    Raises:
        Damaged: it is missing or not as it was written.
        UserError: it is of a later format.
    """
    path = Path(path)
    try:
        text = (path / META).read_text()
        meta = json.loads(text)
        own = meta[_OWN]
        version = own["format"]
        del own["sha256"]
        is_whole = _sealed(meta) == text and {WEIGHTS} <= set(own["files"]) <= _FILES and type(own["serial"]) is int
    except FileNotFoundError as error:
        raise Damaged(f"{path} is no checkpoint, or a damaged one: it has no {META}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path / META} is damaged ({_reason(error)})") from error
    if version != FORMAT:
        raise UserError(f"{path / META} is of format {version!r}, this version of interngv reads {FORMAT}")
    if not is_whole:
        raise Damaged(f"{path / META} is damaged: its sha256 is not the one that it names")
    return meta


def weights_sha256(path: str | Path) -> str:
    """The sha256 of a checkpoint's weights, as its ``meta.json`` names it; raises as :func:`read_meta`."""
    return read_meta(path)[_OWN]["files"][WEIGHTS]["sha256"]


def verify(path: str | Path, from_disk: bool = False) -> dict[str, Any]:
    """Compare every file of a checkpoint with its size and sha256 and return ``meta.json``, see :func:`read_meta`.

    Args:
        from_disk: read what the disk has, not what memory still holds of it, where the system can tell them apart.

    Raises:
        Damaged: names the file.
        UserError: see :func:`read_meta`.
    """
    path = Path(path)
    meta = read_meta(path)
    for name, expected in meta[_OWN]["files"].items():
        try:
            found = _measure(path / name, from_disk)
        except OSError as error:
            raise Damaged(f"{path / name} cannot be read ({error.strerror})") from error
        if found != expected:
            raise Damaged(
                f"{path / name} is damaged: {META} names another size or sha256 ({found['bytes']} bytes found)"
            )
    return meta


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a folder that looks like a checkpoint, whole or not."""
    return path.is_dir() and any((path / name).exists() for name in (META, WEIGHTS))


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, whole or not.

    Among them is a hidden one where a process was killed while it put a new checkpoint in the place of an old one.
    """
    found = []
    for path in folder.iterdir():
        hidden = _LEFT_OVER.fullmatch(path.name)
        if is_checkpoint(path) and (hidden is None or _is_displaced(path, hidden)):
            found.append(path)
    return found


def serial(path: Path) -> int:
    """The place of a checkpoint in the order in which those of its folder were written; 0 where it cannot be read."""
    try:
        return read_meta(path)[_OWN]["serial"]
    except UserError:
        return 0


def is_resumable(path: Path) -> bool:
    """Whether a checkpoint with a readable ``meta.json`` holds the state of a training, not weights only."""
    return TREE in read_meta(path)[_OWN]["files"]


def remove(path: Path) -> None:
    """Remove a checkpoint's folder."""
    if not is_checkpoint(path):
        raise UserError(f"{path} is no checkpoint and stays")
    remove_folder(path)


def tidy(folder: Path) -> None:
    """Clear away what killed processes left in a folder; for the one run that writes there (see its lock)."""
    for path in list(folder.glob(".*")):
        hidden = _LEFT_OVER.fullmatch(path.name)
        if (
            hidden is None
            or not path.is_dir()
            or not {one.name for one in path.iterdir()} <= {META, WEIGHTS, STATE, TREE}
        ):
            continue
        if _is_displaced(path, hidden):
            os.rename(path, folder / hidden["name"])
        else:
            shutil.rmtree(path)


def _is_displaced(path: Path, hidden: re.Match) -> bool:
    return hidden["ending"] == "old" and not (path.parent / hidden["name"]).exists()


def _write_files(folder: Path, checkpoint: Mapping[str, Any], number: int) -> None:
    files = {WEIGHTS: _write(folder / WEIGHTS, serialize_weights(checkpoint["state_dict"]))}
    state = {key: value for key, value in checkpoint.items() if key not in ("state_dict", "meta")}
    if state:
        tensors: dict[str, Tensor] = {}
        tree = encode(state, "state", tensors)
        files[STATE] = _write(folder / STATE, serialize(tensors))
        files[TREE] = _write(folder / TREE, [json.dumps(tree).encode()])
    own = {"format": FORMAT, "interngv": __version__, "serial": number, "files": files}
    meta = encode(checkpoint.get("meta", {}), "meta")
    if {TAG, _OWN} & set(meta):
        raise NotStorable(f"meta has keys that are no text, or {TAG!r} or {_OWN!r}, which are taken")
    _write(folder / META, [_sealed({_OWN: own} | meta).encode()])


def _write(path: Path, chunks: Iterable[bytes | memoryview]) -> dict[str, Any]:
    """Write a file, bring it to the disk and return its ``bytes`` and ``sha256``."""
    digest, size = hashlib.sha256(), 0
    with open(path, "xb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        to_disk(file)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _measure(path: Path, from_disk: bool) -> dict[str, Any]:
    with open(path, "rb") as file:
        if from_disk and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        digest = hashlib.file_digest(file, "sha256")
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}


def _sealed(meta: dict[str, Any]) -> str:
    """meta.json's text; among its own entries is the sha256 of the text without it."""
    meta[_OWN]["sha256"] = hashlib.sha256(json.dumps(meta).encode()).hexdigest()
    return json.dumps(meta, indent=1) + "\n"


def _publish(partial: Path, path: Path) -> None:
    """Give a written folder its name. At no instant is there neither the new checkpoint nor the old one."""
    displaced = None
    if path.is_dir():
        if not is_checkpoint(path):
            raise UserError(f"{path} is a folder that is no checkpoint; move it away")
        displaced = temporary(path, "old")
        shutil.rmtree(displaced, ignore_errors=True)
        os.rename(path, displaced)
    try:
        os.rename(partial, path)
    except OSError:
        if displaced:
            os.rename(displaced, path)
        raise
    folder_to_disk(path.parent)
    if displaced:
        shutil.rmtree(displaced, ignore_errors=True)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
