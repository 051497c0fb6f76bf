"""Checkpoints are data from elsewhere: read without running anything in them, and compared before they are used."""

import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import nn

from interngv.errors import UserError, did_you_mean

_HISTORY_METHODS = ("min", "max", "mean", "current")


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict:
    """Read a checkpoint with ``weights_only=True``; the config text inside it is dropped, never executed.

    mmengine's ``Runner.resume`` runs ``meta['config']`` as Python; without the entry it has nothing to run.

    Raises:
        UserError: no such file, a truncated or foreign file, or one that holds more than numbers and plain containers.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist{_similar(path)}")
    try:
        with torch.serialization.safe_globals(_allowed()):
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
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


@contextmanager
def safe_loading() -> Iterator[None]:
    """Within this context mmengine reads every local checkpoint through :func:`read_checkpoint`.

    mmengine's own loader falls back to full unpickling, which runs code that the file names. Files at a URL are
    fetched by torch with ``weights_only=True``.
    """
    before = CheckpointLoader._schemes
    CheckpointLoader.register_scheme("", _load_from_local, force=True)
    CheckpointLoader.register_scheme(("http://", "https://"), _load_from_http, force=True)
    try:
        yield
    finally:
        CheckpointLoader._schemes = before


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint: its ``state_dict`` entry or the checkpoint itself, without a ``module.`` prefix."""
    weights = checkpoint.get("state_dict", checkpoint)
    return {name.removeprefix("module."): value for name, value in weights.items() if torch.is_tensor(value)}


@dataclass(frozen=True)
class Match:
    """Which tensors of a checkpoint fit a model: by name and shape, names in the model's order."""

    loaded: list[str]
    new: list[str]  # wanted by the model, not in the checkpoint
    dropped: list[str]  # in the checkpoint, not in the model
    reshaped: list[str]  # in both, with different shapes

    def __str__(self) -> str:
        line = f"{len(self.loaded)} tensors loaded, {len(self.new)} new, {len(self.dropped)} dropped"
        return line + (f", {len(self.reshaped)} of another shape" if self.reshaped else "")


def match(model: nn.Module, checkpoint: Mapping[str, Any]) -> Match:
    """Compare a checkpoint's weights with a model's (which may stand on the meta device)."""
    wanted, given = model.state_dict(), state_dict_of(checkpoint)
    both = [name for name in wanted if name in given]
    # mmengine, too, does without the counters of batches: old checkpoints lack them and nothing reads them.
    new = [name for name in wanted if name not in given and not name.endswith("num_batches_tracked")]
    return Match(
        loaded=[name for name in both if wanted[name].shape == given[name].shape],
        new=new,
        dropped=[name for name in given if name not in wanted],
        reshaped=[name for name in both if wanted[name].shape != given[name].shape],
    )


def require_whole(model: nn.Module, checkpoint: Mapping[str, Any], path: str | Path) -> Match:
    """Compare, and refuse a checkpoint that leaves a tensor of the model without its trained value.

    Raises:
        UserError: names the first missing or differently shaped tensors.
    """
    found = match(model, checkpoint)
    lacking = found.reshaped + found.new
    if lacking:
        names = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
        raise UserError(f"checkpoint {path} is of another model: {found}; no fitting value for {names}")
    return found


def require_some(model: nn.Module, checkpoint: Mapping[str, Any], path: str | Path) -> Match:
    """Compare, and refuse a checkpoint of which nothing fits (to start from: a new head is welcome).

    Raises:
        UserError: names what the model wants and what the checkpoint has.
    """
    found = match(model, checkpoint)
    if not found.loaded:
        wanted, given = next(iter(model.state_dict()), "nothing"), next(iter(state_dict_of(checkpoint)), "nothing")
        raise UserError(f"checkpoint {path} is of another model: {found}; wanted names like {wanted}, it has {given}")
    return found


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint that the last run in a work dir names, also after the folder was moved; None where there is none.

    Raises:
        UserError: the named file is gone.
    """
    pointer = Path(work_dir) / "last_checkpoint"
    if not pointer.is_file():
        return None
    named = Path(pointer.read_text().strip())
    for path in (named, pointer.parent / named.name):
        if path.is_file():
            return path
    raise UserError(f"nothing to resume: {pointer} names {named}, which does not exist; give --resume a file")


def _load_from_local(filename: str, map_location: Any) -> dict:
    return read_checkpoint(filename, map_location)


def _load_from_http(filename: str, map_location: Any) -> dict:
    with torch.serialization.safe_globals(_allowed()):
        return torch.hub.load_state_dict_from_url(filename, map_location=map_location, weights_only=True)


def _allowed() -> list[Any]:
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
    names = [file.name for file in path.parent.glob("*.pth")] if path.parent.is_dir() else []
    return did_you_mean(path.name, names)
