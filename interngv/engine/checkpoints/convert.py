"""Between checkpoint folders, ``.pth`` files of host projects and released weights, and ``.safetensors`` files."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from interngv.checkpoint import directory, read_checkpoint, state_dict_of
from interngv.checkpoint.files import replaced
from interngv.errors import UserError

_PICKLES = (".pth", ".pt")


def convert(source: str | Path, target: str | Path, state: bool = False) -> str:
    """Write what is in ``source`` to ``target`` and return a line that says what it is.

    Args:
        source: a checkpoint's folder, a ``.safetensors`` file, or a ``.pth`` file of any origin, read safely.
        target: ``NAME.pth`` for mmengine and its hosts, ``NAME.safetensors`` for weights only, else a checkpoint's
            folder.
        state: also optimizer, schedulers and all else that a resume needs; weights and ``meta`` only where left out.

    Raises:
        UserError: the source cannot be read or holds no weights, or the target is there already or cannot be written.
    """
    target = Path(target).expanduser()
    if target.exists():
        raise UserError(f"{target} is there already; remove it or give another name")
    if state and target.suffix == ".safetensors":
        raise UserError(f"{target}: a .safetensors file holds weights only; leave the state out or give another kind")
    found = read_checkpoint(source)
    checkpoint = {"state_dict": _weights(found, source), "meta": _meta(found)}
    if state:
        others = {key: value for key, value in found.items() if key not in (*checkpoint, "model")}
        if not others or found.keys().isdisjoint(("state_dict", "model")):
            raise UserError(f"checkpoint {source} holds no state besides weights; leave the state out")
        checkpoint |= others
    if target.suffix in _PICKLES:
        write_pickle(target, checkpoint)
    elif target.suffix == ".safetensors":
        _write_weights(target, checkpoint["state_dict"])
    else:
        directory.write(target, checkpoint)
    names = [key for key in checkpoint if key not in ("state_dict", "meta")]
    return ", ".join([f"{target}: {len(checkpoint['state_dict'])} tensors", *names])


def publish(path: str | Path, keys: Iterable[str]) -> Path:
    """Write the named entries of a checkpoint's folder to a ``.pth`` file beside it, named by the weights' sha256."""
    checkpoint = read_checkpoint(path)
    target = Path(f"{path}-{directory.weights_sha256(path)[:8]}.pth")
    write_pickle(target, {key: checkpoint[key] for key in keys if key in checkpoint})
    return target


def write_pickle(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a ``.pth`` file, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with replaced(path) as file:
            torch.save(dict(checkpoint), file)
    except (OSError, RuntimeError) as error:  # torch's writer has an error of its own for a full disk
        raise UserError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error


def _write_weights(path: Path, state_dict: Mapping[str, Any]) -> None:
    try:
        with replaced(path) as file:
            for chunk in directory.serialize_weights(state_dict):
                file.write(chunk)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def _weights(checkpoint: Mapping[str, Any], source: str | Path) -> Mapping[str, Any]:
    own = checkpoint.get("state_dict")
    # As it stands where it is a state_dict: with the versions of its modules.
    weights = own if isinstance(own, Mapping) and own else state_dict_of(checkpoint)
    if not weights:
        raise UserError(f"checkpoint {source} holds no weights")
    return weights


def _meta(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    meta = checkpoint.get("meta")
    return dict(meta) if isinstance(meta, Mapping) else {}
