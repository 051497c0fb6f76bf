"""One trunk under many host models: every task is an unmodified mmpretrain, mmdet or mmseg model."""

import copy
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from interngv.engine.config.types import scope_of
from interngv.engine.dry_run import meta_model
from interngv.errors import UserError, did_you_mean
from interngv.registry import MODELS


class TrunkReference(nn.Module):
    """What a host model holds as its ``backbone``: the owner's trunk, of which it gives the task's levels.

    The trunk is looked up in the owner at each use: a copy of the owner has references to its own trunk, and a trunk
    that was wrapped is the one that runs. Its parameters are not this module's; its public attributes are found here.
    """

    def __init__(self, owner: "MultiTaskModel", positions: Sequence[int] | None) -> None:
        super().__init__()
        self._owner = (owner,)  # in a tuple, so that it is not registered as a child
        self.positions = positions

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("trunk", "is_init"):
            return super().__getattr__(name)
        return getattr(self.trunk, name)

    @property
    def trunk(self) -> nn.Module:
        """The module that all tasks share."""
        return self._owner[0].trunk

    def init_weights(self) -> None:
        """Does nothing: the owner initialises the trunk, once."""

    def forward(self, *inputs: Any, **others: Any) -> Any:
        """The trunk's output; of its sequence of maps, those at this task's positions."""
        maps = self.trunk(*inputs, **others)
        return maps if self.positions is None else type(maps)([maps[i] for i in self.positions])


@MODELS.register_module()
class MultiTaskModel(BaseModel):
    """Host models that share one trunk; each keeps its own data preprocessor, neck, heads, losses and predictions.

    Args:
        trunk: config of any backbone. It is built with the levels that the tasks ask for, all together; its own
            ``out_indices`` is what a task gets that asks for none.
        tasks: a complete model config of a host for each task's name, without a backbone or with the levels only:
            ``dict(type='mmdet.FasterRCNN', backbone=dict(out_indices=(0, 1, 2, 3)), neck=...)``. Types without a
            prefix inside it are looked up in the scope of its own type.
        loss_weights: factor of a task's whole loss in the sum; 1 where none is given.

    ``state_dict`` has the trunk once, as ``trunk.*``, and the tasks' own tensors as ``tasks.NAME.*``. ``train_step``
    takes a batch for each of some tasks, ``{task: batch}``, and steps on the weighted sum of their losses.

    Raises:
        UserError: no task; a task with a backbone of its own, a name that cannot be used, or levels that cannot be
            put together with the other tasks'; a weight that is no number, is negative, or is for an unknown task.
    """

    def __init__(
        self,
        trunk: Mapping[str, Any],
        tasks: Mapping[str, Mapping[str, Any]],
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        super(BaseModel, self).__init__()  # BaseModel's own would add a preprocessor: each task has one
        if not tasks:
            raise UserError("a MultiTaskModel needs at least one task: tasks=dict(NAME=dict(type=...))")
        levels = {name: _levels(name, config, trunk) for name, config in tasks.items()}
        union = _union(levels)
        self._configs = {
            name: _in_scope({**config, "backbone": _with_levels(trunk, levels[name])}) for name, config in tasks.items()
        }
        self.trunk = MODELS.build(_with_levels(trunk, union))
        self.tasks = nn.ModuleDict()
        for name, config in self._configs.items():
            chosen = levels[name]
            self.tasks[name] = self._build(config, None if chosen == union else [union.index(i) for i in chosen])
        self.loss_weights = dict.fromkeys(tasks, 1.0)
        for name, weight in (loss_weights or {}).items():
            self._host(name)
            if not isinstance(weight, Real) or not 0 <= weight < float("inf"):
                raise UserError(f"loss weight of task {name!r} must be a number of at least 0, got {weight!r}")
            self.loss_weights[name] = float(weight)

    def _build(self, config: ConfigDict, positions: Sequence[int] | None) -> BaseModel:
        def reference(**given: Any) -> TrunkReference:
            if given:
                raise UserError(f"{config.type} gives its backbone {sorted(given)}: the trunk is shared, set it there")
            return TrunkReference(self, positions)

        return MODELS.build(ConfigDict({**copy.deepcopy(config), "backbone": {"type": reference}}))

    def _host(self, task: str) -> BaseModel:
        if task not in self.tasks:
            hint = did_you_mean(task, self.tasks)
            raise UserError(f"unknown task {task!r}{hint or ';'} this model has {', '.join(self.tasks)}")
        return self.tasks[task]

    def init_weights(self) -> None:
        """Initialise every part once, by its own ``init_cfg``.

        The first task is initialised with the trunk in its place, as the plain host model would be: an ``init_cfg`` of
        that whole model reaches the trunk too, those of the other tasks do not.
        """
        hosts: list[Any] = list(self.tasks.values())
        first = hosts[0]
        reference, first.backbone = first.backbone, self.trunk
        try:
            first.init_weights()
        finally:
            first.backbone = reference
        for host in hosts[1:]:
            host.init_weights()

    def forward(
        self, inputs: Any, data_samples: Any = None, mode: str = "tensor", *, task: str | None = None, **others: Any
    ) -> Any:
        """Run one task's host model on what its preprocessor gave; returns what the host returns for ``mode``.

        Without ``task``, ``inputs`` is such a batch for each of several tasks, by name, and so is the result.

        Raises:
            UserError: no task of that name.
        """
        if task is not None:
            return self._host(task)(inputs, data_samples, mode=mode, **others)
        if not isinstance(inputs, Mapping):
            raise TypeError("forward needs task=NAME, or inputs as a dict by the tasks' names")
        return {name: self._host(name)._run_forward(batch, mode) for name, batch in inputs.items()}

    def preprocess(self, task: str, batch: Any, training: bool = False) -> Any:
        """Apply one task's own data preprocessor to a collated batch."""
        return self._host(task).data_preprocessor(batch, training)

    def data_preprocessor(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Preprocess a batch for each of several tasks, by name: ``forward``'s arguments."""
        return {"inputs": {task: self.preprocess(task, batch, training) for task, batch in data.items()}}

    def parse_losses(self, losses: Mapping[str, Mapping[str, Any]]) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the tasks' losses; and the hosts' unweighted log variables, named ``TASK.NAME``."""
        total: Any = 0
        log: dict[str, Tensor] = {}
        for task, own in losses.items():
            loss, variables = self._host(task).parse_losses(own)
            total += self.loss_weights[task] * loss
            log |= {f"{task}.{name}": value for name, value in variables.items()}
        return total, {"loss": total, **log}

    def val_step(self, data: Mapping[str, Any]) -> Any:
        """The host's predictions for a batch of one task, ``{task: batch}``.

        Raises:
            UserError: several tasks, or none, or an unknown one.
        """
        if len(data) != 1:
            raise UserError(f"val_step and test_step take a batch of one task, got {', '.join(data) or 'none'}")
        (predictions,) = super().val_step(data).values()
        return predictions

    test_step = val_step

    def host_config(self, task: str) -> ConfigDict:
        """Config of the plain host model that computes the same: the task's, with the trunk's as its backbone."""
        self._host(task)
        return copy.deepcopy(self._configs[task])

    def host_state_dict(self, task: str) -> dict[str, Tensor]:
        """The tensors of :meth:`host_config`'s model, by its names: the task's own, and what it has of the trunk."""
        state = self._host(task).state_dict() | {f"backbone.{k}": v for k, v in self.trunk.state_dict().items()}
        with torch.random.fork_rng(devices=[]):
            plain = meta_model(Config(dict(model=self._configs[task])))
        return {name: state[name] for name in plain.state_dict()}


def _levels(name: str, config: Mapping[str, Any], trunk: Mapping[str, Any]) -> Any:
    """The levels of the trunk that a task asks for, None where nobody names any."""
    if not name or "." in name or hasattr(nn.ModuleDict(), name):
        raise UserError(f"task name {name!r} cannot be used: take another word, without a dot")
    if "type" not in config:
        raise UserError(f"task {name!r} lacks the host's model: type='HOST.MODEL', such as 'mmdet.FasterRCNN'")
    own = config.get("backbone") or {}
    if set(own) - {"out_indices"}:
        raise UserError(
            f"task {name!r} has a backbone of its own ({own.get('type', ', '.join(own))}): the trunk is shared; "
            "leave backbone out, or say backbone=dict(out_indices=...)"
        )
    levels = own.get("out_indices", trunk.get("out_indices"))
    return tuple(levels) if isinstance(levels, Sequence) else levels


def _union(levels: Mapping[str, Any]) -> Any:
    """The levels of all tasks together; where all are the same, those, whatever they are."""
    if len(set(levels.values())) == 1:
        return next(iter(levels.values()))
    for name, chosen in levels.items():
        if not isinstance(chosen, tuple) or min(chosen, default=-1) < 0 or list(chosen) != sorted(set(chosen)):
            raise UserError(
                f"task {name!r} has out_indices={chosen!r}: where tasks take different levels of the trunk, "
                "each names them, ascending from 0"
            )
    return tuple(sorted({level for chosen in levels.values() for level in chosen}))


def _with_levels(trunk: Mapping[str, Any], levels: Any) -> ConfigDict:
    return _in_scope(trunk if levels is None else {**trunk, "out_indices": levels})


def _in_scope(config: Mapping[str, Any]) -> ConfigDict:
    """A copy that says in which scope the types inside it are looked up: that of its own type, else the current one."""
    current = DefaultScope.get_current_instance()
    scope = scope_of(config) or (current and current.scope_name)
    return ConfigDict(copy.deepcopy({"_scope_": scope, **config} if scope else {**config}))
