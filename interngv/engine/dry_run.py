"""The dry run: what a config would do, without training and without writing a file."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from torch import nn

from interngv.engine.config.types import scope_of
from interngv.engine.pictures import name_pictures
from interngv.engine.preflight import check_data, datasets, downloads, named_loaders
from interngv.engine.schedule import batch_lines, schedule_lines
from interngv.errors import UserError
from interngv.gva.complexity import multiply_adds, parameters

Shape = tuple[int, int, int]


def report(cfg: Config, model: nn.Module, split: str, world: int, shape: Shape | None = None) -> list[str]:
    """The dry run's lines for a model and the loader ``split`` (``train_dataloader`` adds the schedule).

    ``shape`` is (channels, height, width); without it the size is that of the split's first sample, else the config's.

    Raises:
        UserError: the input size is not given and found in neither data nor config, or is not positive.
    """
    lines = ["resolved config:", cfg.pretty_text.rstrip(), "", f"parameters: {parameters(model)}"]
    named = named_loaders(cfg[split]) if isinstance(cfg[split], Mapping) else {}
    samples: int | None = None
    model.eval()  # a task's host model does not pass it on to the trunk
    for name, loader in (named or {"": _first(cfg[split])}).items():
        host = getattr(model, "tasks", {name: model})[loader.get("task") or name]
        dataset = _dataset(cfg, loader)
        origin, size = _input_shape(host, loader, f"{split} {name}".rstrip(), shape, dataset)
        count, scope = _multiply_adds(host, size)
        about = [
            f"multiply-adds: {count if count is not None else 'not counted'}{scope}",
            f"input: {' x '.join(map(str, size))} ({origin})",
            *batch_lines(loader, world, cfg.optim_wrapper.get("accumulative_counts", 1) if is_training(split) else 1),
        ]
        lines += [f"{name}: {line}" if name else line for line in about]
        samples = None if dataset is None else len(dataset)
    return lines + (schedule_lines(cfg, world, samples) if is_training(split) else [])


def meta_model(cfg: Config) -> nn.Module:
    """Build the config's model without memory for its weights; on the CPU where a constructor computes with values.

    Raises:
        UserError: one of interngv's constructors refuses a value of the config.
    """
    config = copy.deepcopy(cfg.model)
    if cfg.get("data_preprocessor") is not None:
        config.setdefault("data_preprocessor", copy.deepcopy(cfg.data_preprocessor))
    try:
        try:
            with torch.device("meta"):
                return MODELS.build(copy.deepcopy(config))
        except (NotImplementedError, RuntimeError):
            return MODELS.build(config)
    except ValueError as error:
        if not _raised_by_us(error):
            raise
        raise UserError(f"the config's model cannot be built: {error}") from error


def is_training(split: str) -> bool:
    """Whether a loader's key is that of the training data."""
    return split == "train_dataloader"


def config_shape(loader: Mapping, preprocessor: Any = None) -> Shape | None:
    """Input size that a loader's pipeline states (last crop or resize), else the preprocessor; or None."""
    channels = _channels(preprocessor) or 3
    for _, dataset in datasets(loader, ""):
        for transform in reversed(list(_steps(dataset.get("pipeline") or []))):
            height, width = _transform_size(transform)
            if height and width:
                return channels, height, width
    size = getattr(preprocessor, "size", None)
    return (channels, *_pair(size)) if size else None


def _raised_by_us(error: Exception) -> bool:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("interngv.")


def _input_shape(model: nn.Module, loader: Mapping, name: str, given: Shape | None, dataset: Any) -> tuple[str, Shape]:
    preprocessor = getattr(model, "data_preprocessor", None)
    if given is not None:
        source, shape = "--shape", given
    elif (sampled := _sample_shape(dataset, _channels(preprocessor))) is not None:
        source, shape = f"first sample of {name}", sampled
    elif (stated := config_shape(loader, preprocessor)) is not None:
        source, shape = f"{name}'s pipeline, no data here", stated
    else:
        raise UserError(f"input size unknown: no data at {name} and no size in its pipeline; give --shape C H W")
    if min(shape) < 1:
        raise UserError(f"input size {' x '.join(map(str, shape))} ({source}): every number must be at least 1")
    return source, shape


def _first(given: Any) -> Any:
    return given[0] if isinstance(given, list | tuple) else given


def _dataset(cfg: Config, loader: Any) -> Any:
    config = copy.deepcopy(loader.dataset)
    scope = cfg.get("default_scope") or "mmengine"
    if "sampler" not in loader or "task" in loader:
        config.setdefault("_scope_", scope_of(config))
    fetching = [one for _, one in datasets(config, "") if downloads(one, scope)]
    for one in fetching:
        one["download"] = False
    try:
        check_data(Config(dict(default_scope=scope, loader=loader)), ("loader",))
        dataset = DATASETS.build(config)
    except UserError:
        return None
    except RuntimeError:
        if not fetching:
            raise
        return None
    name_pictures(dataset)
    return dataset


def _sample_shape(dataset: Any, channels: int) -> Shape | None:
    if dataset is None or not len(dataset):
        return None
    inputs = _first(dataset[0].get("inputs"))  # of several views
    if not torch.is_tensor(inputs) or inputs.ndim != 3:
        return None
    # Subtracting three means makes three channels of a grey picture.
    return max(inputs.shape[0], channels), *inputs.shape[1:]


def _channels(preprocessor: Any) -> int:
    """Channels of what a built preprocessor gives, by its means; 0 where it has none."""
    mean = getattr(preprocessor, "mean", None)
    return 0 if mean is None else len(mean)


def _steps(pipeline: Any) -> Iterator[Mapping]:
    """The transforms of a pipeline, those inside of others too."""
    for step in pipeline:
        if isinstance(step, Mapping):
            yield step
            yield from _steps(step.get("transforms") or ())
        elif isinstance(step, list | tuple):
            yield from _steps(step)


def _transform_size(transform: Mapping) -> tuple[int, int]:
    if transform.get("crop_size") is not None:
        return _pair(transform["crop_size"])
    width, height = _pair(transform.get("scale"))  # mm* write a scale as (width, height)
    return height, width


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, int) and not isinstance(size, bool):
        return size, size
    if isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size):
        return size[0], size[1]
    return 0, 0


def _multiply_adds(model: nn.Module, shape: Shape) -> tuple[int | None, str]:
    """The count and what it leaves out. Detectors want annotations to run whole: their trunk and neck are counted."""
    picture = torch.zeros(1, *shape, device=next(model.parameters()).device)
    ways: list[tuple[Callable[[], int], str]] = [(lambda: multiply_adds(model, picture, mode="tensor"), "")]
    if hasattr(model, "extract_feat"):
        ways.append((lambda: multiply_adds(_Features(model), picture), " (backbone and neck)"))
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, nn.Module):
        ways.append((lambda: multiply_adds(backbone, picture), " (backbone)"))
    for count, scope in ways:
        try:
            return count(), scope
        except (TypeError, AttributeError, NotImplementedError, RuntimeError, AssertionError, IndexError):
            continue
    return None, ""


class _Features(nn.Module):
    """A host model's ``extract_feat`` as a forward pass."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, picture: torch.Tensor) -> Any:
        return self.model.extract_feat(picture)
