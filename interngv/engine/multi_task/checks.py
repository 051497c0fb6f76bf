"""Whether sources, model and runner go together, seen before the first step."""

from collections.abc import Mapping
from logging import WARNING
from typing import Any

from mmengine.logging import print_log
from torch import nn

from interngv.engine.distributed import unwrapped
from interngv.engine.multi_task.loader import MetaDataLoader
from interngv.engine.multi_task.logs import CONFLICT
from interngv.errors import UserError, did_you_mean


def check_tasks(model: nn.Module, loader: MetaDataLoader, clip: Mapping[str, Any]) -> None:
    """Compare the tasks that the sources feed with the model's and those that ``clip`` names.

    Raises:
        UserError: names what does not go together.
    """
    inner = unwrapped(model)
    fed = set(loader.tasks.values())
    hosts: Any = getattr(inner, "tasks", None)
    if hosts is None and len(fed) > 1:
        raise UserError(
            f"the sources feed the tasks {', '.join(sorted(fed))}, and {type(inner).__name__} is a model of one; "
            "use interngv.MultiTaskModel, or give all sources the same task"
        )
    for source, task in loader.tasks.items():
        if hosts is not None and task not in hosts:
            raise UserError(
                f"source '{source}' feeds task '{task}'{did_you_mean(task, hosts) or ';'} "
                f"the model's tasks are {', '.join(hosts)}"
            )
    for task in set(clip) - fed - {"max_norm"}:
        raise UserError(f"train_cfg.clip names task '{task}', which no source feeds{did_you_mean(task, fed)}")
    for task in set(hosts or ()) - fed:
        print_log(f"task '{task}' has no source: it is not trained", logger="current", level=WARNING)
    if CONFLICT in loader.tasks:
        raise UserError(f"a source cannot be called '{CONFLICT}', under which the logs have the gradients' cosines")


def check_runner(runner: Any, loader: MetaDataLoader) -> None:
    """Refuse settings of the runner that a step of several tasks cannot heed, and wrappers that it would break.

    Raises:
        UserError: names the setting.
    """
    model, has_several = runner.model, len(set(loader.tasks.values())) > 1
    if (runner.auto_scale_lr or {}).get("enable"):
        raise UserError("auto_scale_lr: the sources have batch sizes of their own; set the learning rate yourself")
    if runner.cfg.get("compile"):
        raise UserError("compile: it would compile the model's train_step, which a MetaTrainLoop does not call")
    if getattr(model, "gradient_as_bucket_view", False):
        raise UserError(
            "gradient_as_bucket_view: a step's gradients are added up outside of DDP's buckets; leave it out"
        )
    if loader.schedule != "rank" and has_several and getattr(model, "find_unused_parameters", True) is False:
        raise UserError("a step of one task leaves the others' parameters unused: set find_unused_parameters=True")
    if loader.schedule == "rank" and any(hasattr(param, "to_local") for param in model.parameters()):
        raise UserError("schedule 'rank' does not go with FSDPStrategy, under which all processes run the same modules")
