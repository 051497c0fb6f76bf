"""How mmengine comes to read checkpoints safely, and whether one fits a model."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from mmengine.runner import CheckpointLoader
from torch import nn

from interngv.checkpoint import call_reader, read_checkpoint, state_dict_of, weights_only
from interngv.errors import UserError
from interngv.load_report import LoadReport, WeightsError, compare


@contextmanager
def safe_loading(ready: dict[str, dict] | None = None) -> Iterator[None]:
    """Within this context mmengine reads every checkpoint, local or behind a scheme, as tensors and plain data only.

    mmengine's own loaders fall back to full unpickling, which runs code that the file names, and know no folders.

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


def match(model: nn.Module, checkpoint: Mapping[str, Any]) -> LoadReport:
    """Compare a checkpoint's weights with a model's (which may stand on the meta device), by name and shape."""
    given = {name.removeprefix("module."): value for name, value in state_dict_of(checkpoint).items()}
    return compare(model.state_dict(), given)


def require_whole(model: nn.Module, checkpoint: Mapping[str, Any], path: str | Path) -> LoadReport:
    """Compare, and refuse a checkpoint that leaves a tensor of the model without its trained value.

    Raises:
        WeightsError: names the first missing or differently shaped tensors.
    """
    found = match(model, checkpoint)
    if found.lacking:
        raise WeightsError(f"checkpoint {path} is of another model: {found}")
    return found


def require_some(model: nn.Module, checkpoint: Mapping[str, Any], path: str | Path) -> LoadReport:
    """Compare, and refuse a checkpoint of which nothing fits (to start from: a new head is welcome).

    Raises:
        WeightsError: names what the model wants and what the checkpoint has.
    """
    found = match(model, checkpoint)
    if not found.loaded:
        raise WeightsError(f"checkpoint {path} is of another model: {found}")
    return found


def require_state(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Refuse to resume from a checkpoint that holds weights only.

    Raises:
        UserError: says what it lacks.
    """
    lacking = [key for key in ("optimizer", "message_hub", "meta") if key not in checkpoint]
    if lacking:
        raise UserError(
            f"checkpoint {path} cannot be resumed: it has no {', '.join(lacking)}; "
            "to start from its weights use --cfg-options load_from=FILE"
        )


def _safe(loader: Callable[..., Any], ready: dict[str, dict]) -> Callable[..., dict]:
    if hasattr(loader, "is_safe"):  # a context within another
        return loader
    is_local = loader is CheckpointLoader._schemes[""]

    @wraps(loader)  # mmengine logs the loader's name
    def load(filename: str, map_location: Any = None) -> dict:
        if is_local:
            return ready.pop(filename, None) or read_checkpoint(filename, map_location)
        with weights_only(filename):
            return call_reader(loader, filename, map_location, failure="cannot be fetched and read")

    load.is_safe = True  # type: ignore[attr-defined]
    return load
