"""The sources of the meta loader: what a config says of each, checked and built."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mmengine.registry import DATASETS, FUNCTIONS

from interngv.engine.config.types import scope_of
from interngv.engine.multi_task.order import is_number
from interngv.engine.pictures import name_pictures
from interngv.errors import UserError, did_you_mean

_KEYS = ("dataset", "batch_size", "weight", "task", "collate_fn")


@dataclass(frozen=True)
class Source:
    """One data set of the loader; ``batch_size`` is a process's."""

    dataset: Any
    task: str
    batch_size: int
    weight: float
    collate: Callable[[list], Any]

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.dataset)


def build_sources(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Source]:
    """Check the config of a loader's sources and build their data sets, by the source's name.

    Raises:
        UserError: an unknown, missing or wrong key; a data set without samples.
    """
    if not isinstance(sources, Mapping) or not sources:
        raise UserError("a MetaDataLoader needs sources=dict(NAME=dict(dataset=..., batch_size=...), ...)")
    for name, cfg in sources.items():
        _check(name, cfg)
    return {name: _source(name, cfg) for name, cfg in sources.items()}


def _check(name: str, cfg: Mapping[str, Any]) -> None:
    unknown = [key for key in cfg if key not in _KEYS]
    if unknown:
        raise UserError(
            f"source '{name}' does not take '{unknown[0]}'{did_you_mean(unknown[0], _KEYS)}; "
            f"it takes {', '.join(_KEYS)}"
        )
    missing = [key for key in ("dataset", "batch_size") if key not in cfg]
    if missing:
        raise UserError(f"source '{name}' lacks {' and '.join(missing)}")
    size, weight = cfg["batch_size"], cfg.get("weight", 1.0)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise UserError(f"source '{name}': batch_size is a number of samples from 1 up, got {size!r}")
    if not is_number(weight) or weight < 0:
        raise UserError(f"source '{name}': weight is a number from 0 up, got {weight!r}")


def _source(name: str, cfg: Mapping[str, Any]) -> Source:
    dataset = _dataset(name, cfg["dataset"])
    collate = _collate(name, cfg.get("collate_fn") or dict(type="pseudo_collate"))
    return Source(dataset, cfg.get("task") or name, cfg["batch_size"], float(cfg.get("weight", 1.0)), collate)


def _dataset(name: str, cfg: Any) -> Any:
    dataset = cfg
    if isinstance(cfg, Mapping):
        dataset = DATASETS.build({"_scope_": scope_of(cfg), **copy.deepcopy(cfg)})
        if hasattr(dataset, "full_init"):
            dataset.full_init()
    if not len(dataset):
        raise UserError(f"source '{name}': its data set has no sample; see its paths and filters")
    name_pictures(dataset)
    return dataset


def _collate(name: str, cfg: Any) -> Callable[[list], Any]:
    if callable(cfg):
        return cfg
    kind = cfg.get("type")
    function = FUNCTIONS.get(kind) if isinstance(kind, str) else kind
    if function is None:
        raise UserError(
            f"source '{name}': collate_fn {kind!r} is not registered{did_you_mean(str(kind), FUNCTIONS.module_dict)}"
        )
    return partial(function, **{key: value for key, value in cfg.items() if key != "type"})
