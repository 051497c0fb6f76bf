"""Loading trunk weights with a report: released checkpoints in, host checkpoints in, nothing silent.

The released gv-benchmark files name a trunk's tensors ``stem.*``, ``blocks.N.*`` and ``head.*``, bare or below a prefix
(``backbone.``, ``module.``, ``model.backbone.TASK.``). The names inside a block are not documented, so modules whose
names differ are matched by structure: within one block, modules that hold tensors of the same roles and shapes
correspond. Where several look alike (the norms of one width, two residual scales) they are taken in the order of
registration, assumed to be the order of use (an inference); the report counts those. The same matching reads UniNet's
release, over the whole net where its block numbers differ.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable
from pathlib import Path

from mmengine.logging import print_log
from torch import Tensor, nn

from interngv.checkpoint import read_checkpoint, state_dict_of
from interngv.errors import did_you_mean
from interngv.load_report import LoadReport, StateDict, WeightsError, compare, listed, same_names
from interngv.registry import WEIGHT_INITIALIZERS

_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_TRUNK_KEY = re.compile(r"^(?P<prefix>(?:.*\.)?)(?=stem\.)")


def select_trunk(state: StateDict, task: str | None = None) -> dict[str, Tensor]:
    """The tensors of one trunk without their prefix: those below the prefix that stands before ``stem.``.

    A generalist's file holds a trunk per task (``model.backbone.gv_global.*``, ``...gv_patch.*``): ``task`` picks one,
    by its name or by the whole prefix. Raises WeightsError where no trunk, or more than one, is found.
    """
    prefixes = sorted({m["prefix"] for m in map(_TRUNK_KEY.match, state) if m})
    if not prefixes:
        raise WeightsError(f"no MetaNet trunk in the checkpoint: no key has a part 'stem'{listed(state)}")
    if task is not None:
        tasks = {p.rstrip("."): p.rstrip(".").split(".")[-1] for p in prefixes}
        prefixes = [f"{p}." for p, name in tasks.items() if task in (p, name)]
        if not prefixes:
            hint = did_you_mean(task, tasks.values())
            raise WeightsError(f"no trunk of task {task!r} in the checkpoint{hint} found: {', '.join(tasks)}")
    if len(prefixes) > 1:
        raise WeightsError(f"the checkpoint holds {len(prefixes)} trunks, choose one as task{listed(prefixes)}")
    return {k.removeprefix(prefixes[0]): v for k, v in state.items() if k.startswith(prefixes[0])}


def _scope(key: str) -> str:
    parts = key.split(".")
    return ".".join(parts[:2]) if parts[0] == "blocks" else parts[0]


def _role(key: str) -> str:
    leaf = key.rpartition(".")[2]
    return leaf if leaf in _LEAVES else "parameter"


def _alike(state: StateDict, keys: Iterable[str], by_scope: bool) -> dict[Hashable, list[list[str]]]:
    """Modules, as lists of their tensors' keys, grouped by scope and by the roles and shapes of those tensors."""
    modules: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        modules[key.rpartition(".")[0]].append(key)
    groups: dict[Hashable, list[list[str]]] = defaultdict(list)
    for tensors in modules.values():
        tensors.sort(key=_role)  # stable: free parameters of one module keep their order
        looks = tuple((_role(key), state[key].shape) for key in tensors)
        groups[_scope(tensors[0]) if by_scope else "", looks].append(tensors)
    return groups


def match(source: StateDict, target: StateDict, by_structure: bool = True) -> tuple[dict[str, str], list[str]]:
    """Which tensor of ``source`` fills which of ``target``: ``{target key: source key}``, and the keys told by order.

    Equal names of equal shapes first; the others by structure (see the module's docstring), where a group of modules
    that look alike has the same size on both sides.
    """
    found = same_names(target, source)
    by_order: list[str] = []
    if not by_structure or len(found) == len(target):
        return found, by_order
    by_scope = {_scope(k) for k in source} >= {_scope(k) for k in target}
    theirs = _alike(source, (k for k in source if k not in found), by_scope)
    for looks, ours in _alike(target, (k for k in target if k not in found), by_scope).items():
        if len(theirs.get(looks, ())) != len(ours):
            continue
        for mine, other in zip(ours, theirs[looks], strict=True):
            found.update(zip(mine, other, strict=True))
            free = [key for key in mine if _role(key) == "parameter"]
            by_order += mine if len(ours) > 1 else free if len(free) > 1 else []
    return found, by_order


def load_trunk(model: nn.Module, state: StateDict, coverage: float = 1.0, by_structure: bool = True) -> LoadReport:
    """Fills ``model`` from a trunk's tensors and prints one line; the model is untouched where it raises.

    Raises WeightsError, naming the tensors, where less than ``coverage`` of the model's tensors would be loaded.
    """
    own = model.state_dict()
    pairs, by_order = match(state, own, by_structure)
    report = compare(own, state, pairs, by_order)
    report.require(coverage, "the checkpoint")
    model.load_state_dict({ours: state[theirs] for ours, theirs in pairs.items()}, strict=False)
    print_log(f"weights: {report}", logger="current")
    return report


def keeps_order(path: Path) -> bool:
    """Whether a file holds its tensors in the order of registration, which structural matching needs: a pickle does."""
    return path.is_file() and path.suffix != ".safetensors"


def to_released(model: nn.Module, template: StateDict | None = None, prefix: str = "") -> dict[str, Tensor]:
    """The model's tensors in a released file's layout, for projects that still run gv-benchmark's code.

    ``template`` is a state dict of that code's model (values are not read): names and shapes follow it. Without one the
    names inside blocks are this package's. Raises WeightsError where a tensor has no counterpart in the template.
    """
    own = model.state_dict()
    if template is None:
        return {prefix + key: value for key, value in own.items()}
    pairs, _ = match(template, own)
    missing = [k for k in own if k not in pairs]
    if missing:
        raise WeightsError(f"{len(missing)} tensors have no place in the template{listed(missing)}")
    return {prefix + theirs: own[ours] for ours, theirs in pairs.items()}


@WEIGHT_INITIALIZERS.register_module()
class PretrainedTrunk:
    """``init_cfg=dict(type='interngv.PretrainedTrunk', checkpoint=...)``: a trunk from a released, host or own file.

    ``task`` picks a trunk of a generalist's file, ``coverage`` is the share of tensors that must load. Names inside
    blocks are matched by structure for ``.pth`` files only, see :func:`keeps_order`.
    """

    def __init__(self, checkpoint: str, task: str | None = None, coverage: float = 1.0) -> None:
        self.checkpoint, self.task, self.coverage = Path(checkpoint).expanduser(), task, coverage

    def __call__(self, module: nn.Module) -> None:
        state = select_trunk(state_dict_of(read_checkpoint(self.checkpoint)), self.task)
        load_trunk(module, state, self.coverage, by_structure=keeps_order(self.checkpoint))
