"""What is looked at before anything is built or written: work dir, data folders, picture sizes, output file."""

import inspect
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from interngv.engine.config.types import find
from interngv.errors import UserError, did_you_mean

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_SIZE_KEYS = ("scale", "crop_size", "size", "img_scale")


def check_writable(path: str | Path, what: str) -> None:
    """See whether a folder can be made or written to, leaving nothing behind.

    Raises:
        UserError: it is below a regular file, or the nearest folder above it takes no new file.
    """
    path = Path(path).expanduser().absolute()
    there = next(folder for folder in (path, *path.parents) if folder.exists() or folder.is_symlink())
    if not there.is_dir():
        raise UserError(f"{what} {path} cannot be made: {there} is a file; give another folder")
    try:
        # Permission bits do not tell: they mean nothing to root, and a file system may be mounted read-only.
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(f"{what} {path} is not writable: {error.strerror or error}; give another folder") from error


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """See whether the data sets' folders and annotation files are there, for the named data loaders.

    Passed over are data sets that download themselves and those that read from a storage of their own.

    Raises:
        UserError: names the data loader, the key and the path that is missing.
    """
    for split in splits:
        for where, dataset in datasets(cfg.get(split), split):
            if downloads(dataset, cfg.get("default_scope") or "mmengine") or not is_local(dataset):
                continue
            for key, path in _paths(dataset):
                if not Path(path).exists():
                    raise UserError(f"{where}.{key}: {Path(path).absolute()} does not exist{_hint(path)}")
                if Path(path).is_dir() and not any(Path(path).iterdir()):
                    raise UserError(f"{where}.{key}: {Path(path).absolute()} is an empty folder")


def check_sizes(cfg: Config, splits: tuple[str, ...]) -> None:
    """Refuse a picture size of 0 or below in the pipelines (-1, "the other side", is a host's own meaning).

    Raises:
        UserError: names the transform's key and the size.
    """
    for split in splits:
        for where, dataset in datasets(cfg.get(split), split):
            for index, transform in enumerate(dataset.get("pipeline") or []):
                for key in _SIZE_KEYS:
                    if any(number == 0 or number < -1 for number in _numbers(transform.get(key))):
                        name = f"{where}.pipeline[{index}] ({transform.get('type')}).{key}"
                        raise UserError(f"{name}={transform[key]}: a picture has at least 1 x 1 pixels")


def check_batch_norm(model: nn.Module, world: int, device: str) -> None:
    """Refuse synchronised batch norm over several processes without a GPU, which torch does not have.

    Raises:
        UserError: names the layer.
    """
    if world == 1 or device != "cpu":
        return
    for name, module in model.named_modules():
        if isinstance(module, nn.SyncBatchNorm) or type(module).__name__ == "SyncBatchNorm":
            raise UserError(f"{name} is a SyncBatchNorm, which needs a GPU; use norm type 'BN', or one process")


def datasets(config: Any, where: str) -> Iterator[tuple[str, dict]]:
    """Data sets of a data loader (or several) with their dotted places: what wrappers hold, not the wrappers."""
    if not config:
        return
    if isinstance(config, list | tuple):
        for index, one in enumerate(config):
            yield from datasets(one, f"{where}[{index}]")
        return
    if hasattr(config, "get") and (named := named_loaders(config)):
        for name, one in named.items():
            yield from datasets(one, f"{where}.{name}")
        return
    inner = config.get("dataset") if hasattr(config, "get") else None
    several = config.get("datasets") if hasattr(config, "get") else None
    if isinstance(inner, dict):
        yield from datasets(inner, f"{where}.dataset")
    for index, one in enumerate(several or []):
        yield from datasets(one, f"{where}.datasets[{index}]")
    if not inner and not several:
        yield where, config


def named_loaders(loader: Mapping[str, Any]) -> Mapping[str, Any]:
    """Sources of a meta loader, or several loaders by name; empty for a loader or a data set."""
    if "sources" in loader:
        return loader["sources"]
    is_named = bool(loader) and all(isinstance(one, Mapping) and "dataset" in one for one in loader.values())
    return loader if is_named else {}


def downloads(dataset: Mapping[str, Any], scope: str) -> bool:
    """Whether a data set's config asks for a download where data are missing, itself or by its class' default."""
    if "download" in dataset:
        return bool(dataset["download"])
    kind = dataset.get("type")
    targets = [one.target for one in find(kind, dataset.get("_scope_") or scope)] if isinstance(kind, str) else [kind]
    owners = [owner for target in targets if isinstance(target, type) for owner in target.__mro__[:-1]]
    inits = [inspect.signature(vars(owner)["__init__"]).parameters for owner in owners if "__init__" in vars(owner)]
    return next((bool(taken["download"].default) for taken in inits if "download" in taken), False)


def is_local(reader: Mapping[str, Any]) -> bool:
    """Whether what has these arguments (a data set, a transform) reads plain files, not lmdb, petrel and the like."""
    storages = [reader.get(key) or {} for key in ("backend_args", "file_client_args")]
    return all(storage.get("backend", "local") in ("local", "disk") for storage in storages)


def _paths(dataset: dict) -> Iterator[tuple[str, str]]:
    root = dataset.get("data_root") or ""
    if isinstance(root, str) and root and "://" not in root:
        yield "data_root", root
    prefix = dataset.get("data_prefix") or {}
    parts = {"data_prefix": prefix} if isinstance(prefix, str) else {f"data_prefix.{k}": v for k, v in prefix.items()}
    for key, part in ({"ann_file": dataset.get("ann_file")} | parts).items():
        if isinstance(part, str) and part and "://" not in part + root:
            yield key, os.path.join(root, part)


def _numbers(value: Any) -> list[float]:
    values = value if isinstance(value, list | tuple) else [value]
    return [number for number in values if isinstance(number, int | float) and not isinstance(number, bool)]


def _hint(path: str) -> str:
    parent = Path(path).absolute().parent
    return did_you_mean(Path(path).name, [entry.name for entry in parent.iterdir()]) if parent.is_dir() else ""
