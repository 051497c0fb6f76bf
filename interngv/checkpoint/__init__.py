"""Reading checkpoints: our own folders, and files from elsewhere, from which no code may run."""

import os
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from interngv.checkpoint import directory
from interngv.errors import UserError, did_you_mean

_HISTORY_METHODS = ("min", "max", "mean", "current")
# torch's switches that overrule what a caller of torch.load asks for.
_FORCE = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0"}


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict:
    """Read a checkpoint's folder, a ``.safetensors`` or a ``.pth`` file (``weights_only=True``) to a dict.

    Config text inside is dropped: mmengine's ``Runner.resume`` runs ``meta['config']`` as Python; without the entry it
    has nothing to run.

    Args:
        path: a folder that :mod:`interngv.checkpoint.directory` wrote, of which every file is checked; or a file.
        map_location: device for the tensors, as in ``torch.load``.

    Raises:
        UserError: a URL, no such file, a truncated, altered or foreign file, or one that holds more than numbers and
            plain containers; a ``.pth`` with a torch that does not read it safely.
    """
    if "://" in str(path):
        raise UserError(f"checkpoint {path}: a URL is not read here; download it first and give the file")
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"checkpoint {path} does not exist{_similar(path)}")
    read: Callable[[str, Any], Any] = _read_pickle
    if path.is_dir():
        read = directory.read
    elif path.suffix == ".safetensors":
        read = directory.read_weights
    return call_reader(read, str(path), map_location, failure="is truncated or no checkpoint")


def call_reader(read: Callable[[str, Any], Any], name: str, map_location: Any, failure: str) -> dict:
    """Read ``name`` by ``read(name, map_location)`` and drop the config text; ``failure`` says what an error means.

    Raises:
        UserError: the reader raised anything (a damaged file makes torch stumble in any way), or gave no dict.
    """
    try:
        checkpoint = read(name, map_location)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(f"checkpoint {name} is not read: {_unsafe(error)}") from error
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"checkpoint {name} {failure} ({reason})") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"checkpoint {name} holds a {type(checkpoint).__name__}, expected a dict with 'state_dict'")
    if isinstance(checkpoint.get("meta"), dict):
        checkpoint["meta"].pop("config", None)
    return checkpoint


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint: its ``state_dict`` or ``model`` entry, else the checkpoint itself."""
    for entry in ("state_dict", "model"):
        if isinstance(checkpoint.get(entry), Mapping):
            checkpoint = checkpoint[entry]
    return {name: value for name, value in checkpoint.items() if isinstance(name, str) and torch.is_tensor(value)}


@contextmanager
def weights_only(name: str) -> Iterator[None]:
    """Every ``torch.load`` within this context reads tensors and plain data only, whatever its caller asks for.

    Raises:
        UserError: torch is older than 2.6, whose ``weights_only`` can be made to run code (CVE-2025-32434).
    """
    if torch.__version__ < "2.6":  # by numbers: a TorchVersion
        raise UserError(
            f"checkpoint {name}: reading .pth files safely needs torch >= 2.6, this is {torch.__version__}; "
            "convert to safetensors or upgrade torch"
        )
    kept = {variable: os.environ.get(variable) for variable in _FORCE}
    os.environ.update(_FORCE)
    try:
        with torch.serialization.safe_globals(allowed_globals()):
            yield
    finally:
        for variable, value in kept.items():
            os.environ.pop(variable) if value is None else os.environ.update({variable: value})


def _read_pickle(name: str, map_location: Any) -> Any:
    with weights_only(name):
        return torch.load(name, map_location=map_location, weights_only=True)


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
    # torch's own message goes on to advise weights_only=False, which we never do. mmengine tries a second time.
    tries = " ".join(map(str, _with_causes(error)))
    named = re.search(r"GLOBAL ([\w.]+)|asks for (attribute .*)", tries)
    if named is None:
        return "it is no checkpoint, or a damaged one"
    return f"it names {named[1] or named[2]}, and only tensors, numbers and plain containers are read"


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__context__


def _similar(path: Path) -> str:
    entries = path.parent.glob("*")
    names = [one.name for one in entries if one.suffix in (".pth", ".safetensors") or directory.is_checkpoint(one)]
    return did_you_mean(path.name, names)
