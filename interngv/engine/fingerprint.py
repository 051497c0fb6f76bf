"""What identifies a run's config, data and weights: a sha256 each, the same on every machine that has the same."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

# Where and how a run goes, not what it trains; what it starts from is another thing with a sha256 of its own.
_OF_THE_RUN = frozenset({"work_dir", "launcher", "resume", "load_from", "model_wrapper_cfg"})
_MOST_SAMPLES, _FEW_SAMPLES = 1_000_000, 1_000
_JSON = json.JSONEncoder(sort_keys=True)


def file_sha256(path: str | Path) -> str:
    """The sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_sha256(cfg: Config) -> str:
    """A config's sha256 over its resolved keys in sorted order, without what belongs to a run only (work dir, ...)."""
    settings = {key: value for key, value in cfg.to_dict().items() if key not in _OF_THE_RUN}
    return _sha256(settings)


def samples_sha256(dataset: Any) -> str | None:
    """A data set's sha256 over its list of samples in any order; pictures are named in it (paths below ``data_root``).

    Of a data set with an annotation file that file's bytes count, and a thousand samples spread over the list, which
    tell another selection; of one without (a folder for each class, arrays in memory) every sample; a wrapper's is made
    of the data sets in it. None where a data set lists no samples.

    A file costs 0.7 s a GB, a sample about 10 µs; beyond a million samples spread-out ones stand for all.
    """
    if inner := _inner(dataset):
        parts = [samples_sha256(one) for one in inner]
        chosen = [getattr(dataset, name, None) for name in ("indices", "repeat_indices")]
        return None if None in parts else _sha256([type(dataset).__name__, len(dataset), parts, chosen])
    if not hasattr(dataset, "get_data_info"):
        return None
    base = _base(dataset)
    annotations = getattr(dataset, "ann_file", None)
    listed = isinstance(annotations, str) and os.path.isfile(annotations)
    step = -(-len(dataset) // (_FEW_SAMPLES if listed else _MOST_SAMPLES)) or 1
    samples = [_sha256(dataset.get_data_info(index), base) for index in range(0, len(dataset), step)]
    return _sha256([file_sha256(str(annotations)) if listed else None, len(dataset), sorted(samples)])


def leaves(dataset: Any) -> Iterator[Any]:
    """The data sets in a wrapper, also in wrappers in it; a data set itself where it is no wrapper."""
    inner = _inner(dataset)
    for one in inner:
        yield from leaves(one)
    if not inner:
        yield dataset


def _inner(dataset: Any) -> list[Any]:
    """The data sets in a wrapper, none where it is no wrapper."""
    several, one = getattr(dataset, "datasets", None), getattr(dataset, "dataset", None)
    return list(several) if several is not None else [one] if one is not None else []


def _base(dataset: Any) -> str:
    """What the paths of a data set's samples start with on this machine: its root, else the folder of its pictures'."""
    root = getattr(dataset, "data_root", None)
    if not root:
        prefixes = getattr(dataset, "data_prefix", None)
        folders = prefixes.values() if isinstance(prefixes, Mapping) else [prefixes]
        root = os.path.dirname(next((str(folder).rstrip("/") for folder in folders if folder), ""))
    return f"{str(root).rstrip('/')}/" if root else ""


def _sha256(value: Any, base: str = "") -> str:
    return hashlib.sha256(_JSON.encode(_plain(value, base)).encode()).hexdigest()


def _plain(value: Any, base: str = "") -> Any:
    """A value as JSON takes it: paths without ``base``, arrays by their hash, classes and functions by their name."""
    if isinstance(value, str):
        return value.removeprefix(base)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one, base) for key, one in value.items() if key != "sample_idx"}
    if isinstance(value, list | tuple):
        return [_plain(one, base) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(_JSON.encode(_plain(one, base)) for one in value)
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.hasobject:
            return _plain(array.tolist(), base)
        return [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
    # The text that every object has by default tells its address.
    text = "" if type(value).__repr__ is object.__repr__ else str(value)
    return f"{type(value).__qualname__} {text}"
