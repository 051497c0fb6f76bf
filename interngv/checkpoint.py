"""Reading checkpoints: data from elsewhere, from which no code may run."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from interngv.errors import UserError, did_you_mean

_HISTORY_METHODS = ("min", "max", "mean", "current")


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict:
    """Read a ``.pth`` (``weights_only=True``) or ``.safetensors`` file; config text inside is dropped, never executed.

    mmengine's ``Runner.resume`` runs ``meta['config']`` as Python; without the entry it has nothing to run.

    Raises:
        UserError: no such file, a truncated or foreign file, or one that holds more than numbers and plain containers.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist{_similar(path)}")
    try:
        checkpoint = _load(path, map_location)
    except pickle.UnpicklingError as error:
        raise UserError(f"checkpoint {path} is not read: {_unsafe(error)}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"checkpoint {path} is truncated or no checkpoint ({reason})") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"checkpoint {path} holds a {type(checkpoint).__name__}, expected a dict with 'state_dict'")
    if isinstance(checkpoint.get("meta"), dict):
        checkpoint["meta"].pop("config", None)
    return checkpoint


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint: its ``state_dict`` or ``model`` entry, else the checkpoint itself."""
    for entry in ("state_dict", "model"):
        if isinstance(checkpoint.get(entry), Mapping):
            checkpoint = checkpoint[entry]
    return {name: value for name, value in checkpoint.items() if torch.is_tensor(value)}


def _load(path: Path, map_location: Any) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path, device=str(map_location))
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    with torch.serialization.safe_globals(allowed_globals()):
        return torch.load(path, map_location=map_location, weights_only=True)


def allowed_globals() -> list[Any]:
    """What a training checkpoint of mmengine holds besides tensors: numpy arrays and histories of logged values."""
    dtypes = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")]
    builders = [np.array(0).__reduce__()[0], np.float64(0).__reduce__()[0]]
    return [*builders, np.ndarray, np.dtype, *dtypes, slice, HistoryBuffer, (_history_method, "builtins.getattr")]


def _history_method(owner: Any, name: str) -> Any:
    """Stand-in for ``getattr``, by which a HistoryBuffer's file names its four methods; hands out nothing else."""
    if owner is HistoryBuffer and name in _HISTORY_METHODS:
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f"asks for attribute {name!r} of {owner!r}")


def _unsafe(error: Exception) -> str:
    # torch's own message goes on to advise weights_only=False, which we never do.
    named = re.search(r"GLOBAL ([\w.]+)|asks for (attribute .*)", str(error))
    if named is None:
        return "it is no checkpoint, or a damaged one"
    return f"it names {named[1] or named[2]}, and only tensors, numbers and plain containers are read"


def _similar(path: Path) -> str:
    names = [file.name for file in path.parent.glob("*") if file.suffix in (".pth", ".safetensors")]
    return did_you_mean(path.name, names)
