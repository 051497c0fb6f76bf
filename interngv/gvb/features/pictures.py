"""A data set's pictures as the released classification configs of GV-B show them to a trunk, in a fixed order.

Shorter side to the size (Pillow, bilinear), centre crop, no augmentation, train and test alike (gv-benchmark's configs
in ``cls``). Reading is mmpretrain's.
"""

import copy
import hashlib
import json
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import Compose, pseudo_collate
from torch import nn
from torch.utils.data import DataLoader

from interngv.compat import version
from interngv.engine import preflight
from interngv.engine.fingerprint import leaves
from interngv.engine.pictures import name_pictures
from interngv.errors import UserError
from interngv.gvb.trunks import TrunkSpec
from interngv.version import __version__

_LIBRARIES = (
    "torch",
    "timm",
    "onedl-mmcv",
    "mmcv",
    "onedl-mmpretrain",
    "mmpretrain",
    "pillow",
    "opencv-python-headless",
)


def pipeline(side: int) -> list[dict[str, Any]]:
    """Transforms of mmpretrain from a picture's path to its uint8 pixels (3, side, side), BGR."""
    return [
        dict(type="LoadImageFromFile"),
        dict(type="ResizeEdge", scale=side, edge="short", backend="pillow"),
        dict(type="CenterCrop", crop_size=side),
        dict(type="PackInputs", meta_keys=("img_path", "ori_shape")),
    ]


def build(dataset: Mapping[str, Any], side: int) -> Any:
    """Build a data set of mmpretrain with :func:`pipeline`; each sample stands for itself, in a training set too.

    Raises:
        UserError: its files are not there, or it has no samples.
    """
    from mmpretrain.registry import DATASETS, TRANSFORMS

    config = copy.deepcopy(dict(dataset)) | {"_scope_": "mmpretrain"}
    for _, leaf in preflight.datasets(config, ""):
        leaf.pop("pipeline", None)
    what = f"data set {dataset.get('type')} at {dataset.get('data_root')}"
    try:
        data = DATASETS.build(config)
    except FileNotFoundError as error:
        raise UserError(f"{what}: {error}") from error
    except ValueError as error:  # mmengine stumbles over an empty list
        raise UserError(f"{what} has no samples that can be listed ({error})") from error
    if not len(data):
        raise UserError(f"{what} has no samples")
    for leaf in leaves(data):
        in_memory = "img" in leaf.get_data_info(0)
        transforms = [TRANSFORMS.build(one | {"_scope_": "mmpretrain"}) for one in pipeline(side)]
        leaf.pipeline = Compose([_as_loaded, *transforms[1:]] if in_memory else transforms)
        leaf.test_mode = True  # else an unreadable picture is replaced by another one
    name_pictures(data)
    return data


def _as_loaded(sample: dict[str, Any]) -> dict[str, Any]:
    """A picture that a data set holds in memory, grey or RGB, as ``LoadImageFromFile`` gives one: BGR."""
    image = np.atleast_3d(np.asarray(sample["img"]))
    image = image.repeat(3, axis=2) if image.shape[2] == 1 else image[..., ::-1]
    size = image.shape[:2]
    return sample | dict(img=np.ascontiguousarray(image), img_shape=size, ori_shape=size)


def samples(data: Any) -> tuple[list[str], list[int], str]:
    """Names and labels in the data set's order, and a sha256 over both and the files' sizes; no picture is read.

    A picture that is replaced by one of the same size in bytes goes unnoticed. Pictures in memory count whole.

    Raises:
        UserError: a picture's file is missing, or a sample has no single label.
    """
    roots = [root for root in map(_root, leaves(data)) if root]
    base = os.path.commonpath(roots) if roots else ""
    digest = hashlib.sha256()
    names, labels = [], []
    for index in range(len(data)):
        sample = data.get_data_info(index)
        path = sample.get("img_path")
        names.append(os.path.relpath(path, base) if path and base else path or f"{index:08d}")
        labels.append(_label(sample.get("gt_label"), names[-1]))
        content = _size(path) if path else hashlib.sha256(np.asarray(sample["img"]).tobytes()).hexdigest()
        digest.update(json.dumps([names[-1], labels[-1], content]).encode())
    return names, labels, digest.hexdigest()


def _root(leaf: Any) -> str:
    prefix = getattr(leaf, "data_prefix", None) or {}
    return os.path.abspath(prefix.get("img_path") or getattr(leaf, "data_root", "") or "") if prefix else ""


def _label(value: Any, name: str) -> int:
    found = np.asarray(value if value is not None else [])
    if found.size != 1 or found.dtype.kind not in "iu":
        raise UserError(f"sample {name} has the label {value!r}, expected one class number")
    return int(found.reshape(()))


def _size(path: str) -> int | None:
    if "://" in path:
        return None
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise UserError(f"picture {path} cannot be read: {error.strerror}") from error


def batches(data: Any, spans: Sequence[tuple[int, int]], batch_size: int, num_workers: int) -> DataLoader:
    """Loader of the samples in some spans, in order; no batch crosses the end of a span."""
    wanted = [
        list(range(first, min(first + batch_size, stop)))
        for start, stop in spans
        for first in range(start, stop, batch_size)
    ]
    return DataLoader(data, batch_sampler=wanted, num_workers=num_workers, collate_fn=pseudo_collate)


def named_faults(loader: DataLoader) -> Iterator[dict[str, Any]]:
    """The loader's batches; a worker's error, which comes with its whole traceback as text, is cut to its message."""
    try:
        yield from loader
    except UserError as error:
        # The traceback holds the loader's iterator, and workers that the collector stops take seconds to go.
        traceback.clear_frames(error.__traceback__)
        text = str(error).strip()
        if not text.startswith("Caught "):
            raise
        raise UserError(text.splitlines()[-1].partition(": ")[2]) from None


def preprocessor(spec: TrunkSpec) -> nn.Module:
    """mmpretrain's normalisation with the trunk's own mean and deviation."""
    from mmpretrain.registry import MODELS

    return MODELS.build(dict(type="mmpretrain.ClsDataPreprocessor", **spec.data_preprocessor))


def versions() -> dict[str, str]:
    """Versions of what decodes, resizes and computes; without a build's suffix such as ``+cpu``."""
    found = {name: version(name) for name in _LIBRARIES}
    return {"interngv": __version__} | {name: one.partition("+")[0] for name, one in found.items() if one}
