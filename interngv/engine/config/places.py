"""What mmengine reads at the places of a config whose meaning is fixed: runner sections, hooks, loops, loaders.

Derived from mmengine's own signatures and source wherever these say it; the tables hold only the rest.
"""

import inspect
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.runner import FlexibleRunner, Runner
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from interngv.engine.config.params import keys_read, keys_taken, parameters

# Read by the train and test tools, by mmengine's config loader, and by the runner registry.
_TOOL_KEYS = frozenset(
    {
        "custom_imports",
        "runner_type",
        "tta_model",
        "tta_pipeline",
        "model_wrapper_cfg",
        "strategy",
        "upstream",
        "licences",
    }
)


@dataclass(frozen=True)
class Place:
    """What may stand at one place of a config."""

    registry: str | None = None  # root registry in which the type must be
    implied: str | None = None  # type where the dict names none
    extra: frozenset[str] = frozenset()  # keys that the reader takes out before it builds
    supplied: frozenset[str] | None = None  # arguments that the reader adds; None: not known, so nothing is required
    strict: bool = False  # a type must be given (or implied) here, and be in that registry
    parent: Any = None  # the class whose argument this is


def _place(registry: str, supplied: str | None = "", **kwargs: Any) -> Place:
    return Place(registry, supplied=None if supplied is None else frozenset(supplied.split()), strict=True, **kwargs)


ANY = Place()
TRANSFORM = _place("transform")
HOOK = _place("hook", extra=frozenset({"priority"}))
METRIC = _place("metric")
OPTIMIZER = _place("optimizer", "params")
SCHEDULER = _place("parameter scheduler", "optimizer", extra=frozenset({"convert_to_iter_based", "epoch_length"}))
CONSTRUCTOR = _place("optimizer wrapper constructor", None)
OPTIM_WRAPPER = _place(
    "optim_wrapper", "optimizer", implied="OptimWrapper", extra=frozenset({"optimizer", "constructor", "paramwise_cfg"})
)

# Places by dotted key (list positions left out), then by the name of the argument, wherever it stands.
BY_KEY: dict[str, Place] = {
    "model": _place("model"),
    "tta_model": _place("model", "module"),
    "data_preprocessor": _place("model"),
    "param_scheduler": SCHEDULER,
    "optim_wrapper": OPTIM_WRAPPER,
    "optim_wrapper.optimizer": OPTIMIZER,
    "custom_hooks": HOOK,
    "visualizer": _place("visualizer", "name save_dir", implied="Visualizer"),
    "visualizer.vis_backends": _place("vis_backend", "save_dir"),
    "log_processor": _place("log_processor", implied="LogProcessor"),
    "model_wrapper_cfg": _place("model_wrapper", "module"),
    "strategy": _place("strategy", None),
    "val_evaluator.metrics": METRIC,
    "test_evaluator.metrics": METRIC,
    "train_cfg": _place("loop", "runner dataloader", implied="EpochBasedTrainLoop", extra=frozenset({"by_epoch"})),
    "val_cfg": _place("loop", "runner dataloader evaluator", implied="ValLoop"),
    "test_cfg": _place("loop", "runner dataloader evaluator", implied="TestLoop"),
}
LOADER_PARTS: dict[str, Place] = {
    "dataset": _place("dataset"),
    "sampler": _place("data sampler", "dataset seed"),
    "batch_sampler": _place("data sampler", "sampler batch_size"),
    "collate_fn": _place("function", None),
    "worker_init_fn": _place("function", None),
}
BY_ARGUMENT: dict[str, Place] = {
    "init_cfg": Place("weight initializer"),
    "override": Place("weight initializer", extra=frozenset({"name"})),
    "norm_cfg": Place(extra=frozenset({"requires_grad"})),
    "policies": Place("transform", extra=frozenset({"magnitude_key", "magnitude_range"})),
    "dcn": Place(extra=frozenset({"fallback_on_stride"})),
}
# Arguments whose dicts a class interprets itself: their types are names of its own or of a library.
OWN_TYPES: dict[str, frozenset[str]] = {
    "Albu": frozenset({"transforms", "bbox_params"}),
    "Albumentations": frozenset({"transforms", "bbox_params"}),
    "LoRAModel": frozenset({"targets"}),
    "ProfilerHook": frozenset({"on_trace_ready"}),
    "FPG": frozenset(["same_down_trans", "same_up_trans", "output_trans"])
    | frozenset(f"across_{way}_trans" for way in ("lateral", "down", "up", "skip")),
}
PIPELINES = frozenset({"pipeline", "transforms", "tta_pipeline"})
SOURCE_KEYS = frozenset({"dataset", "batch_size", "weight", "task", "collate_fn"})
NAMED_LOOPS = frozenset({"MetaValLoop", "MetaTestLoop"})  # several loaders and evaluators, by name
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
EVALUATORS = ("val_evaluator", "test_evaluator")


@lru_cache(maxsize=1)
def runner_keys() -> frozenset[str]:
    """Top-level keys that a runner, mmengine's loader or the tools read."""
    named = set(inspect.signature(Runner).parameters) | set(inspect.signature(FlexibleRunner).parameters)
    source = inspect.getsource(Runner) + inspect.getsource(FlexibleRunner)
    read = set(re.findall(r"\bcfg(?:\.get\(|\[)['\"](\w+)['\"]", source))
    return frozenset((named | read | _TOOL_KEYS) - {"cfg"})


@lru_cache(maxsize=1)
def default_hooks() -> dict[str, str]:
    """Name and type of the hooks that the runner registers by itself."""
    source = inspect.getsource(Runner.register_default_hooks)
    return dict(re.findall(r"(\w+)=dict\(type='(\w+)'", source))


@lru_cache(maxsize=1)
def loader_keys() -> frozenset[str]:
    """Keys of a data loader's dict: torch's arguments and what the runner takes out."""
    torch_keys = set(inspect.signature(DataLoader).parameters) - {"self"}
    return frozenset(torch_keys | keys_read(Runner.build_dataloader, "dataloader_cfg"))


@lru_cache(maxsize=1)
def meta_loader_keys() -> frozenset[str]:
    """Keys of a :class:`~interngv.engine.multi_task.MetaDataLoader` in a config; the loop gives the rest."""
    from interngv.engine.multi_task import MetaDataLoader

    return parameters(MetaDataLoader).names - {"self", "seed", "rank", "world_size"}


@lru_cache(maxsize=1)
def section_keys() -> dict[str, frozenset[str]]:
    """Keys of the sections that build nothing, from the runner's methods that read them."""
    from mmengine.utils.dl_utils import set_multi_processing

    return {
        "auto_scale_lr": keys_read(Runner.scale_lr, "auto_scale_lr"),
        "env_cfg": keys_read(Runner.setup_env, "env_cfg"),
        "env_cfg.mp_cfg": parameters(set_multi_processing).names,
        "randomness": parameters(Runner.set_randomness).names - {"self"},
    }


def train_loop(section: dict[str, Any]) -> Place:
    """The training loop that ``train_cfg`` asks for; without a type ``by_epoch`` decides, as in the runner."""
    implied = "EpochBasedTrainLoop" if section.get("by_epoch", True) else "IterBasedTrainLoop"
    return replace(BY_KEY["train_cfg"], implied=implied)


def paramwise_keys(constructor: Any) -> frozenset[str] | None:
    """Keys of ``paramwise_cfg`` that a constructor and its bases read; None where that is not known."""
    if not (inspect.isclass(constructor) and issubclass(constructor, DefaultOptimWrapperConstructor)):
        return None
    return keys_taken(constructor, "paramwise_cfg")


@lru_cache(maxsize=512)
def group_keys(used: Any) -> frozenset[str]:
    """Settings of a parameter group that a class reads: an optimizer (which also takes its arguments there), a hook."""
    is_optimizer = inspect.isclass(used) and issubclass(used, Optimizer)
    taken = parameters(used).names if is_optimizer else frozenset()
    if not inspect.isclass(used):
        return taken
    if used.__module__.startswith("torch."):
        return taken
    return taken | keys_taken(used, "group") | keys_taken(used, "param_group")


def implied_type(parent: Any, argument: str) -> str | None:
    """The type that a class gives to an argument's dict that names none (``argument.setdefault('type', '...')``)."""
    for owner in getattr(parent, "__mro__", ())[:-1]:
        init = vars(owner).get("__init__")
        try:
            source = inspect.getsource(init) if init else ""
        except (OSError, TypeError):
            source = ""
        match = re.search(argument + r"\.setdefault\(\s*['\"]type['\"],\s*['\"]([\w.]+)['\"]", source)
        if match:
            return match[1]
    return None
