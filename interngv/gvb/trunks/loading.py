"""A trunk as a module: built, filled from its checkpoint, frozen; and what identifies its weights."""

import copy
import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from interngv.checkpoint.codec import as_bytes
from interngv.engine import handoff
from interngv.gva import MetaNet, weights
from interngv.gva.timm_trunk import by_timm
from interngv.gvb.trunks.measure import skeleton
from interngv.gvb.trunks.spec import TrunkSpec
from interngv.load_report import LoadReport, StateDict, WeightsError, is_counter, same_names

_INNER = "timm_model"  # of TimmTrunk and of mmpretrain's TIMMBackbone: names below it are timm's own


def load(spec: TrunkSpec, dense: bool = False) -> nn.Module:
    """The frozen trunk with its weights, in eval mode; ``dense`` gives the form that returns maps.

    Prints one line on the load; of a random trunk both forms have the same weights.

    Raises:
        UserError: the checkpoint cannot be read safely, or a tensor of the trunk is not in it.
    """
    trunk = build(spec, dense)
    if spec.checkpoint is not None or dense:
        fill(trunk, spec)
    trunk.eval()
    return trunk.requires_grad_(False)


def build(spec: TrunkSpec, dense: bool = False) -> nn.Module:
    """The trunk with initial weights, drawn from the spec's seed; torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed or 0)
        trunk = MODELS.build(copy.deepcopy(spec.dense if dense else dict(spec.backbone)))
        if spec.checkpoint is None and hasattr(trunk, "init_weights"):
            with _quiet():  # mmengine logs some lines a tensor
                trunk.init_weights()
    return trunk


def fill(backbone: nn.Module, spec: TrunkSpec) -> LoadReport:
    """Fill a built backbone, of a host model for instance, with the trunk's weights; all of its tensors must be there.

    Raises:
        UserError: see :func:`load`; the backbone is untouched then.
    """
    if spec.checkpoint is None:
        return weights.load_trunk(backbone, build(spec).state_dict(), by_structure=False)
    holder = nn.Module()
    holder.backbone = inner = getattr(backbone, _INNER, backbone)
    upstream = handoff.Upstream(spec.checkpoint, f"trunk {spec.name}")
    if not isinstance(inner, MetaNet):  # whose names and prefixes the hand-off knows
        renamed = _renamed(upstream.state, spec, inner)
        vars(upstream)["state"] = {f"backbone.{name}": value for name, value in renamed.items()}
    return handoff.load(holder, upstream)


def pooled(trunk: nn.Module, images: Tensor) -> Tensor:
    """Pooled features (B, D) float32 of normalised images (B, 3, H, W): the mean over the last map, or as they come."""
    outputs = trunk(images)
    last = outputs[-1] if isinstance(outputs, list | tuple) else outputs
    return (last.mean(dim=(2, 3)) if last.ndim == 4 else last).float()


@lru_cache(maxsize=64)
def weights_sha256(spec: TrunkSpec, dense: bool = False) -> str:
    """What identifies the trunk's weights: a sha256 over the names, shapes and bytes of the tensors that are loaded.

    It does not depend on the checkpoint's format. A random trunk is identified by its config and seed (None: the
    try's), for the last bits of an initialisation differ between processors.
    """
    if spec.checkpoint is None:
        return hashlib.sha256(
            json.dumps([dict(spec.backbone), spec.seed], sort_keys=True, default=str).encode()
        ).hexdigest()
    with _quiet():  # who uses the trunk loads it, and reports, once more
        state = load(spec, dense).state_dict()
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if not is_counter(name):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(as_bytes(tensor).numpy().data)
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def _renamed(state: StateDict, spec: TrunkSpec, inner: nn.Module) -> dict[str, Tensor]:
    """A checkpoint's tensors under the names of the trunk's own; others keep theirs and are reported as dropped."""
    found = _below_prefix(_rewritten(state, spec))
    wanted = inner.state_dict()
    if len(same_names(wanted, found)) == len(wanted):
        return found
    if spec.by_order and spec.checkpoint is not None:
        whole = skeleton(spec.backbone)
        names = getattr(whole, _INNER, whole).state_dict()
        pairs, _ = weights.match(found, names, weights.keeps_order(spec.checkpoint))
        return _unique((ours, found[theirs]) for ours, theirs in pairs.items())
    return by_timm(found, inner)


def _rewritten(state: StateDict, spec: TrunkSpec) -> dict[str, Tensor]:
    def renamed(name: str) -> str:
        for pattern, replacement in spec.rewrites:
            name = re.sub(pattern, replacement, name)
        return name

    return _unique((renamed(name), value) for name, value in state.items())


def _below_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the backbone of a host model, of the trunk of a multi-task model, or all of a bare state dict."""
    prefix = next((f"{one}." for one in handoff.TRUNKS if any(name.startswith(f"{one}.") for name in state)), "")
    below = ((name.removeprefix(prefix), value) for name, value in state.items() if name.startswith(prefix))
    return _unique((name.removeprefix(f"{_INNER}."), value) for name, value in below)


def _unique(items: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in items:
        if name in found:
            raise WeightsError(f"two tensors of the checkpoint would be called {name}")
        found[name] = value
    return found
