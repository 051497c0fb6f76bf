"""Checkpoints of a run: which one is the last, whether it fits the model, and how mmengine comes to read it safely."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from mmengine.runner import CheckpointLoader
from torch import nn

from interngv.checkpoint import call_reader, read_checkpoint, state_dict_of, weights_only
from interngv.errors import UserError


@contextmanager
def safe_loading(ready: dict[str, dict] | None = None) -> Iterator[None]:
    """Within this context mmengine reads every checkpoint, local or behind a scheme, as tensors and plain data only.

    mmengine's own loaders fall back to full unpickling, which runs code that the file names.

    Args:
        ready: checkpoints by file name that were read before; each is handed out once instead of its file.
    """
    taken = CheckpointLoader.__dict__["_get_checkpoint_loader"]
    find = CheckpointLoader._get_checkpoint_loader
    # Every reading passes here, also by a scheme that a plug-in registers later.
    CheckpointLoader._get_checkpoint_loader = staticmethod(lambda path: _safe(find(path), ready or {}))
    try:
        yield
    finally:
        CheckpointLoader._get_checkpoint_loader = taken


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
    wanted = model.state_dict()
    given = {name.removeprefix("module."): value for name, value in state_dict_of(checkpoint).items()}
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


def _safe(loader: Callable[..., Any], ready: dict[str, dict]) -> Callable[..., dict]:
    is_local = loader is CheckpointLoader._schemes[""]

    @wraps(loader)  # mmengine logs the loader's name
    def load(filename: str, map_location: Any = None) -> dict:
        if is_local:
            return ready.pop(filename, None) or read_checkpoint(filename, map_location)
        with weights_only(filename):
            return call_reader(loader, filename, map_location, failure="cannot be fetched and read")

    return load
