"""Loading trunk weights with a report: released checkpoints in, host checkpoints in, nothing silent.

The released gv-benchmark files name a trunk's tensors ``stem.*``, ``blocks.N.*`` and ``head.*``, bare or below a prefix
(``backbone.``, ``module.``, ``model.backbone.TASK.``). The names inside a block are not documented, so tensors whose
names differ are matched by structure: within one block, tensors of the same role (batch-norm statistic, other weight,
bias, free parameter) and shape correspond in the order in which they were registered, which is the order of use. The
same matching reads UniNet's release, over the whole net where its block numbers differ.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmengine.logging import print_log
from torch import Tensor, nn

from interngv.checkpoint import read_checkpoint, state_dict_of
from interngv.errors import UserError, did_you_mean
from interngv.registry import WEIGHT_INITIALIZERS

StateDict = Mapping[str, Tensor]
_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_TRUNK_KEY = re.compile(r"^(?P<prefix>(?:.*\.)?)(?=stem\.)")
_MOST_NAMES = 8  # names shown in a message before "..."


class WeightsError(UserError):
    """Weights that do not fit the model; the message names the tensors."""


@dataclass(frozen=True)
class LoadReport:
    """What a load did: the model's tensors ``loaded`` and those that stayed ``new``, the file's ``dropped``."""

    loaded: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]

    @property
    def coverage(self) -> float:
        """Share of the model's tensors that came from the file."""
        return len(self.loaded) / max(1, len(self.loaded) + len(self.new))

    def __str__(self) -> str:
        return (
            f"{len(self.loaded)} tensors loaded ({self.coverage:.1%} of the model), "
            f"{len(self.new)} new{_names(self.new)}, {len(self.dropped)} dropped{_names(self.dropped)}"
        )


def _names(keys: Iterable[str]) -> str:
    keys = list(keys)
    shown = ", ".join(keys[:_MOST_NAMES]) + (", ..." if len(keys) > _MOST_NAMES else "")
    return f" ({shown})" if keys else ""


def select_trunk(state: StateDict, task: str | None = None) -> dict[str, Tensor]:
    """The tensors of one trunk without their prefix: those below the prefix that stands before ``stem.``.

    A generalist's file holds a trunk per task (``model.backbone.gv_global.*``, ``...gv_patch.*``): ``task`` picks one.
    Raises WeightsError where no trunk, or more than one, is found.
    """
    prefixes = sorted({m["prefix"] for m in map(_TRUNK_KEY.match, state) if m})
    if task is not None:
        tasks = {p.rstrip(".").split(".")[-1]: p for p in prefixes}
        if task not in tasks:
            raise WeightsError(
                f"no trunk of task {task!r} in the checkpoint{did_you_mean(task, tasks)} found: {', '.join(tasks)}"
            )
        prefixes = [tasks[task]]
    if not prefixes:
        raise WeightsError(f"no MetaNet trunk in the checkpoint: no key has a part 'stem'{_names(state)}")
    if len(prefixes) > 1:
        raise WeightsError(f"the checkpoint holds {len(prefixes)} trunks, choose a task{_names(prefixes)}")
    return {k.removeprefix(prefixes[0]): v for k, v in state.items() if k.startswith(prefixes[0])}


def _scope(key: str) -> str:
    parts = key.split(".")
    return ".".join(parts[:2]) if parts[0] == "blocks" else parts[0]


def _groups(state: StateDict, keys: Iterable[str], by_scope: bool) -> dict[Hashable, list[str]]:
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for key in keys:
        module, _, leaf = key.rpartition(".")
        role = leaf if leaf in _LEAVES else "parameter"
        is_norm = f"{module}.running_mean" in state
        shape = tuple(n for i, n in enumerate(state[key].shape) if i < 2 or n > 1)
        groups[_scope(key) if by_scope else "", role, is_norm, shape].append(key)
    return groups


def match(source: StateDict, target: StateDict, by_structure: bool = True) -> dict[str, str]:
    """Which tensor of ``source`` fills which of ``target``: ``{target key: source key}``.

    Equal names of equal shapes first; the others by structure (see the module's docstring), where a group of like
    tensors has the same size on both sides. A 1x1 convolution matches a linear layer of the same widths.
    """
    found = {k: k for k in target if k in source and source[k].numel() == target[k].numel()}
    if not by_structure or len(found) == len(target):
        return found
    by_scope = {_scope(k) for k in source} >= {_scope(k) for k in target}
    theirs = _groups(source, (k for k in source if k not in found), by_scope)
    ours = _groups(target, (k for k in target if k not in found), by_scope)
    for group, keys in ours.items():
        if len(theirs.get(group, ())) == len(keys):
            found.update(zip(keys, theirs[group], strict=True))
    return found


def load_trunk(model: nn.Module, state: StateDict, coverage: float = 0.99, by_structure: bool = True) -> LoadReport:
    """Fills ``model`` from a trunk's tensors and prints one line; the model is untouched where it raises.

    Raises WeightsError, naming the tensors, where less than ``coverage`` of the model's tensors would be loaded.
    """
    own = model.state_dict()
    pairs = match(state, own, by_structure)
    used = set(pairs.values())
    report = LoadReport(tuple(pairs), tuple(k for k in own if k not in pairs), tuple(k for k in state if k not in used))
    if report.coverage < coverage:
        raise WeightsError(f"the checkpoint does not fit: {report}; at least {coverage:.1%} must load")
    model.load_state_dict(
        {ours: state[theirs].reshape(own[ours].shape) for ours, theirs in pairs.items()}, strict=False
    )
    print_log(f"weights: {report}", logger="current")
    return report


def to_released(model: nn.Module, template: StateDict | None = None, prefix: str = "") -> dict[str, Tensor]:
    """The model's tensors in a released file's layout, for projects that still run gv-benchmark's code.

    ``template`` is a state dict of that code's model (values are not read): names and shapes follow it. Without one the
    names inside blocks are this package's. Raises WeightsError where a tensor has no counterpart in the template.
    """
    own = model.state_dict()
    if template is None:
        return {prefix + key: value for key, value in own.items()}
    pairs = match(template, own)
    missing = [k for k in own if k not in pairs]
    if missing:
        raise WeightsError(f"{len(missing)} tensors have no place in the template{_names(missing)}")
    return {prefix + theirs: own[ours].reshape(template[theirs].shape) for ours, theirs in pairs.items()}


@WEIGHT_INITIALIZERS.register_module()
class PretrainedTrunk:
    """``init_cfg=dict(type='interngv.PretrainedTrunk', checkpoint=...)``: a trunk from a released, host or own file.

    ``task`` picks a trunk of a generalist's file, ``coverage`` is the share of tensors that must load. Names inside
    blocks are matched by structure for ``.pth`` files only: a safetensors file does not keep the order of registration.
    """

    def __init__(self, checkpoint: str, task: str | None = None, coverage: float = 0.99) -> None:
        self.checkpoint, self.task, self.coverage = Path(checkpoint), task, coverage

    def __call__(self, module: nn.Module) -> None:
        state = select_trunk(state_dict_of(read_checkpoint(self.checkpoint)), self.task)
        load_trunk(module, state, self.coverage, by_structure=self.checkpoint.suffix != ".safetensors")
