"""Cached features: one forward pass of a frozen trunk over a data set, whose rows then serve every protocol and shot.

A set of features is a safetensors file, named by what its numbers depend on: weights, pipeline, normalisation, the
list of samples in its order with the files' sizes, versions. It is written a chunk at a time into a hidden folder
beside it, so a pass that was killed goes on at the chunk where it stopped, and at the end joined, checked and renamed.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from interngv.checkpoint.codec import as_bytes
from interngv.checkpoint.files import remove_folder, replaced
from interngv.checkpoint.tensors import read_tensors, serialize
from interngv.engine.checkpoints.lock import InUse, work_dir_lock
from interngv.errors import UserError
from interngv.gvb.features import pictures
from interngv.gvb.trunks import TrunkSpec, load, pooled, weights_sha256

FORMAT = 1  # of the file, and of how the numbers come about
_POLL = 0.5  # seconds between two looks at whether another process is done


@dataclass(frozen=True)
class FeatureSet:
    """Pooled features of a data set's samples.

    Attributes:
        features: (N, D) float32.
        labels: (N,) int64.
        names: N names of the samples, paths below the data set's folder of pictures.
        path: the file in the cache.
        images_seen: pictures that this call sent through the trunk, 0 where all came from the cache.
    """

    features: Tensor
    labels: Tensor
    names: tuple[str, ...]
    path: Path
    images_seen: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int] | np.ndarray) -> "FeatureSet":
        """The samples of some rows in their order, such as :func:`interngv.gvb.shots.select` gives."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        names = tuple(self.names[row] for row in index.tolist())
        return FeatureSet(self.features[index], self.labels[index], names, self.path)


def extract(
    spec: TrunkSpec,
    dataset: Mapping[str, Any],
    folder: str | Path,
    *,
    size: int | None = None,
    batch_size: int = 64,
    num_workers: int = 0,
    device: str | torch.device = "cpu",
    chunk: int = 4096,
) -> FeatureSet:
    """The features of a data set, from the cache or by one forward pass over what the cache lacks.

    Of several processes that ask for the same features one computes, the others wait. Memory is bounded by a chunk
    and a batch; the result is mapped from its file. Where the pass ran (device, batch, workers) is no part of the
    key: it moves the numbers by rounding only.

    Args:
        dataset: config of a data set of mmpretrain; its pipeline is replaced, see :func:`pictures.pipeline`.
        folder: of the cache.
        size: side of the pictures in pixels, the trunk's own where left out.
        chunk: samples a chunk.

    Raises:
        UserError: a picture cannot be read (the file is named), a sample has no single label, the set is empty, the
            trunk gives features that are not finite, or the cache cannot be written.
    """
    side = size or spec.img_size
    data = pictures.build(dataset, side)
    names, labels, samples_sha256 = pictures.samples(data)
    facts = _facts(spec, side, samples_sha256)
    digest = _digest(facts)
    path = Path(folder) / f"{_safe(spec.name)}-{digest[:16]}.safetensors"
    work = path.with_name(f".{path.stem}.parts")
    seen = 0
    with ExitStack() as stack:
        while not path.exists() or work.exists():  # what a process left that was killed before it had tidied up
            try:
                stack.enter_context(work_dir_lock(work))
            except InUse:
                time.sleep(_POLL)
                continue
            if not path.exists():  # else another process was faster
                missing = [span for span in _spans(len(data), chunk) if not _part(work, *span).exists()]
                loader = pictures.batches(data, missing, batch_size, num_workers)
                seen = _compute(spec, loader, missing, work, torch.device(device))
                _join(work, path, labels, names, facts)
            with suppress(FileNotFoundError):
                remove_folder(work)
    tensors, notes = _read(path)
    if _digest(notes["facts"]) != digest:
        raise UserError(f"features {path} are of another trunk or data set; remove it, and it is made again")
    return FeatureSet(tensors["features"], tensors["labels"], tuple(names), path, seen)


def _facts(spec: TrunkSpec, side: int, samples_sha256: str) -> dict[str, Any]:
    """What the numbers depend on, as JSON."""
    return {
        "format": FORMAT,
        "weights_sha256": weights_sha256(spec),
        "backbone": json.loads(json.dumps(dict(spec.backbone), sort_keys=True, default=str)),
        "preprocessor": spec.data_preprocessor,
        "pipeline": pictures.pipeline(side),
        "samples_sha256": samples_sha256,
        "versions": pictures.versions(),
    }


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _spans(count: int, chunk: int) -> list[tuple[int, int]]:
    return [(start, min(start + chunk, count)) for start in range(0, count, chunk)]


def _part(work: Path, start: int, stop: int) -> Path:
    return work / f"{start:09d}-{stop:09d}.safetensors"


def _compute(spec: TrunkSpec, loader: Any, spans: Sequence[tuple[int, int]], work: Path, device: torch.device) -> int:
    """Write a file for each of the spans that the loader reads; returns the number of pictures."""
    trunk = load(spec).to(device)
    preprocessor = pictures.preprocessor(spec).to(device)
    left, done, seen = list(spans), [], 0
    for batch in pictures.named_faults(loader):
        done.append(_forward(spec, trunk, preprocessor, batch))
        seen += len(done[-1])
        start, stop = left[0]
        if sum(map(len, done)) == stop - start:
            _write(_part(work, start, stop), {"features": torch.cat(done)}, {})
            left, done = left[1:], []
            print_log(f"features of {spec.name}: up to picture {stop}", logger="current")
    return seen


@torch.inference_mode()
def _forward(spec: TrunkSpec, trunk: nn.Module, preprocessor: nn.Module, batch: dict[str, Any]) -> Tensor:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # a GPU's numbers are a CPU's but for rounding
        features = pooled(trunk, preprocessor(batch)["inputs"]).cpu()
    finite = features.isfinite().all(dim=1)
    if not finite.all():
        first = batch["data_samples"][int(finite.int().argmin())].get("img_path", "a picture of the first batch")
        raise UserError(
            f"trunk {spec.name} gives features that are not finite for {int((~finite).sum())} of a batch's "
            f"pictures, first {first}"
        )
    return features


def _join(work: Path, path: Path, labels: Sequence[int], names: Sequence[str], facts: Mapping[str, Any]) -> None:
    """One file of all chunks, through the disk: their sum may not fit into memory."""
    parts = sorted(work.glob("*.safetensors"))
    shape = len(names), _read(parts[0])[0]["features"].shape[1]
    features = torch.from_numpy(np.memmap(work / "joined", np.float32, "w+", shape=shape))
    for part in parts:
        start, stop = map(int, part.stem.split("-"))
        features[start:stop] = _read(part)[0]["features"]
    text = bytearray("\n".join(names).encode())  # a tensor: for millions of names a file's notes are too small
    tensors = {"features": features, "labels": torch.tensor(labels), "names": torch.frombuffer(text, dtype=torch.uint8)}
    _write(path, tensors, {"facts": facts})


def _write(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    try:
        with replaced(path) as file:
            for block in serialize(tensors, {**notes, "sha256": _sha256(tensors)}):
                file.write(block)
    except OSError as error:
        raise UserError(f"features {path} cannot be written: {error.strerror or error}") from error


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file in the cache, every byte of theirs checked, and its notes."""
    try:
        tensors, notes = read_tensors(path)
        whole = notes["sha256"] == _sha256(tensors)
    except Exception as error:  # a damaged file makes the reader stumble in any way
        raise UserError(f"features {path} are damaged ({error}); remove it, and it is made again") from error
    if not whole:
        raise UserError(f"features {path} are not as they were written; remove it, and it is made again")
    return tensors, notes


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(as_bytes(tensors[name]).numpy().data)
    return digest.hexdigest()


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name)
