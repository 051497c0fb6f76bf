"""One trunk on the tasks of a suite: what a cell's number depends on, and how it is measured."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.device import get_device

from interngv.compat import version
from interngv.engine.config import load_config
from interngv.errors import UserError
from interngv.gvb import host_run, layouts, probes
from interngv.gvb.class_counts import statistics
from interngv.gvb.features import FeatureSet, extract
from interngv.gvb.features.pictures import versions
from interngv.gvb.grid import NO_SHOTS, Cell
from interngv.gvb.layouts import Layout, Samples
from interngv.gvb.metrics import HIGHER_IS_BETTER, evaluator
from interngv.gvb.shots import Shots, list_sha256, select
from interngv.gvb.suite import Protocol, Suite
from interngv.gvb.tasks import Task
from interngv.gvb.templates import fill
from interngv.gvb.trunks import RANDOM, TrunkSpec, load, weights_sha256

ZERO_SHOT = "zero_shot"  # a probe that learns nothing from a set
_STRIDES = (4, 8, 16, 32)
_HOSTS = ("onedl-mmengine", "mmengine", "onedl-mmdetection", "mmdet", "onedl-mmsegmentation", "mmsegmentation", "numpy")
_PROBES: dict[str, Callable[..., probes.ProbeResult]] = {
    "sgd": probes.sgd_grid,
    "logistic": probes.logistic,
    "ridge": probes.ridge,
    "knn": probes.knn,
}


@dataclass(frozen=True)
class Drawn:
    """What a cell trains on: the indices that are kept of its task's training samples."""

    samples: Samples
    kept: np.ndarray

    @property
    def sha256(self) -> str:
        """What identifies the list, see :func:`interngv.gvb.shots.list_sha256`."""
        return list_sha256(self.samples.names[index] for index in self.kept)


class Benchmark:
    """A trunk on a suite's tasks: :meth:`identify` and :meth:`measure` are what :func:`interngv.gvb.grid.run` calls.

    Args:
        suite: protocols, sizes and where the data are.
        tasks: by name.
        trunk: what is judged.
        words: the arguments of :func:`interngv.gvb.trunks.resolve` that gave it, for the runs of host libraries.
        folder: of the grid; cached features and lists lie in it, and serve every trunk, shot and try.
    """

    def __init__(
        self, suite: Suite, tasks: Mapping[str, Task], trunk: TrunkSpec, words: Mapping[str, Any], folder: Path
    ) -> None:
        self._suite, self._tasks, self._given, self._words = suite, tasks, trunk, dict(words)
        self._features, self._lists = folder / "features", folder / "lists"
        self._samples = lru_cache(maxsize=8)(self._read)  # of millions of names: those of the last tasks

    def identify(self, cell: Cell) -> dict[str, Any]:
        """What the cell's number depends on.

        Raises:
            UserError: the task's files are absent or wrong.
        """
        task, protocol = self._tasks[cell.task], self._suite.protocols[cell.protocol]
        drawn = self._drawn(cell)
        return {
            "kind": task.kind,
            "metric": task.metric,
            "higher_is_better": HIGHER_IS_BETTER[task.metric],
            "list_sha256": drawn.sha256,
            "test_sha256": list_sha256(self._samples(cell.task, "test").names),
            "weights_sha256": weights_sha256(self._given),  # of the whole trunk, also where a host takes its maps only
            "settings_sha256": _sha256([protocol.sha256(task.name), *_row(task)]),
            "form_sha256": _form_sha256(self._given),
            "zero_shot_sha256": self._zero_shot_sha256(cell) if protocol.probe == ZERO_SHOT else None,
            "truth_sha256": self._truth_sha256(cell, drawn),
            "image_size": self._suite.image_size if task.kind == "classification" else None,
            "versions": versions() | {name: found for name in _HOSTS if (found := version(name))},
        }

    def _trunk(self, cell: Cell) -> tuple[TrunkSpec, dict[str, Any]]:
        """The trunk that a cell judges, and the words for it: of a random one without a seed, each try has another."""
        if self._given.checkpoint is not None or self._given.seed is not None:
            return self._given, self._words
        return replace(self._given, seed=cell.attempt), self._words | {"checkpoint": f"{RANDOM}:{cell.attempt}"}

    def _zero_shot_sha256(self, cell: Cell) -> str:
        """Of both towers, the vocabulary, the names of the classes and their prompts."""
        towers = self._towers
        vocabulary = Path(str((towers.backbone.get("tokenizer") or {}).get("vocabulary", "")))
        text = vocabulary.read_text() if vocabulary.is_file() else str(vocabulary)
        names = self._layout(cell.task).class_names()
        return _sha256([weights_sha256(towers), dict(towers.backbone), text, names, self._tasks[cell.task].prompts])

    def _truth_sha256(self, cell: Cell, drawn: Drawn) -> str:
        """Of the labels, and of the annotation files that the host reads; not of the pictures' own files."""
        digest, layout = hashlib.sha256(), self._layout(cell.task)
        for samples in (drawn.samples, self._samples(cell.task, "test")):
            if samples.labels is not None:
                digest.update(np.ascontiguousarray(samples.labels).tobytes())
        if drawn.samples.labels is None:
            train = layout.dataset("train", drawn.kept.tolist(), self._lists)
            for config in (train, layout.dataset("test", None, self._lists)):
                for file in _annotation_files(config):
                    digest.update(file.read_bytes())
        return digest.hexdigest()

    def measure(self, cell: Cell, place: Path) -> dict[str, Any]:
        """The cell's scores, and how they came about."""
        protocol, drawn = self._suite.protocols[cell.protocol], self._drawn(cell)
        by_probe = protocol.probe is not None
        found = self._by_probe(cell, protocol, drawn) if by_probe else self._in_host(cell, protocol, drawn, place)
        return {"list": self._statistics(cell, drawn), **found}

    def _by_probe(self, cell: Cell, protocol: Protocol, drawn: Drawn) -> dict[str, Any]:
        """A probe on cached features: one forward pass over the set serves all shots and tries."""
        if protocol.probe == ZERO_SHOT:
            return self._zero_shot(cell)
        task = self._tasks[cell.task]
        trunk, _ = self._trunk(cell)
        whole, test = (self._extracted(cell.task, split, trunk) for split in ("train", "test"))
        train, device = whole.take(drawn.kept), get_device()
        data = probes.ProbeData(
            probes.Samples(train.features.to(device), train.labels.to(device)),
            probes.Samples(test.features.to(device), test.labels.to(device)),
            task.num_classes or 0,
            metric=task.metric,
            seed=cell.attempt,
        )
        found = _PROBES[protocol.probe or ""](data, **_probe_settings(protocol))
        return self._of_probe(cell.task, found, whole.images_seen + test.images_seen)

    def _zero_shot(self, cell: Cell) -> dict[str, Any]:
        """The classes whose prompts are nearest; no training sample is used."""
        task = self._tasks[cell.task]
        if not task.prompts:
            raise UserError(f"{task.name}: zero-shot needs prompts, such as prompts=['a photo of a {{c}}.'] in its row")
        names = self._layout(cell.task).class_names()
        test = self._extracted(cell.task, "test", self._towers)
        model: Any = load(self._towers).to(get_device())
        weights = probes.class_weights(model.encode_text, names, [one.replace("{c}", "{}") for one in task.prompts])
        found = probes.zero_shot((test.features, test.labels), weights.cpu(), task.metric)
        return self._of_probe(cell.task, found, test.images_seen)

    @cached_property
    def _towers(self) -> TrunkSpec:
        return self._given.towers

    def _of_probe(self, task: str, found: probes.ProbeResult, images_seen: int) -> dict[str, Any]:
        return {
            "score": found.score,
            "scores": found.scores,
            "per_class": dict(zip(self._layout(task).class_names(), found.per_class, strict=True)),
            "details": {
                "chosen": found.chosen,
                "chosen_by": found.chosen_by,
                "at_edge": list(found.at_edge),
                "grid": list(found.table),
                "images_seen": images_seen,
                **found.details,
            },
        }

    def _in_host(self, cell: Cell, protocol: Protocol, drawn: Drawn, place: Path) -> dict[str, Any]:
        """Train and test a host model on the trunk."""
        template = load_config(str(protocol.template(cell.task)))
        config = fill(template, self._facts(cell, drawn))
        config.randomness = dict(seed=cell.attempt)
        imports = [*config.get("custom_imports", {}).get("imports", []), *self._suite.imports]
        config.custom_imports = dict(imports=list(dict.fromkeys(imports)), allow_failed_imports=False)
        return host_run.run(config, self._tasks[cell.task].metric, place)

    def _facts(self, cell: Cell, drawn: Drawn) -> dict[str, Any]:
        """What the words in a protocol's config stand for."""
        task, layout = self._tasks[cell.task], self._layout(cell.task)
        trunk, words = self._trunk(cell)
        test = layout.dataset("test", None, self._lists)
        if task.kind != "classification" and trunk.strides != _STRIDES:
            strides = ", ".join(map(str, trunk.strides)) or "none"
            raise UserError(f"trunk {trunk.name} gives maps of strides {strides}; the heads take those of 4, 8, 16, 32")
        return {
            "trunk": words,
            "mean": list(trunk.mean),
            "std": list(trunk.std),
            "to_rgb": trunk.to_rgb,
            "size": self._suite.image_size,
            "width": trunk.width,
            "widths": list(trunk.widths),
            "classes": task.num_classes,
            "train": layout.dataset("train", drawn.kept.tolist(), self._lists),
            "test": test,
            "evaluator": evaluator(task, **_truth(task.metric, layout.root, test)),
            "max_depth": task.settings.get("max_depth"),
            "depth_scale": task.settings.get("scale"),
        }

    def _extracted(self, task: str, split: str, trunk: TrunkSpec) -> FeatureSet:
        dataset = self._layout(task).dataset(split, None, self._lists)
        found = extract(
            trunk,
            dataset,
            self._features,
            size=self._suite.image_size,
            num_workers=self._suite.num_workers,
            device=get_device(),
        )
        if not np.array_equal(found.labels.numpy(), np.asarray(self._samples(task, split).labels)):
            raise UserError(f"{task}: mmpretrain reads other labels of the split '{split}' than its list has")
        return found

    def _drawn(self, cell: Cell) -> Drawn:
        if cell.shots == NO_SHOTS:  # a set may have no training part
            return Drawn(self._samples(cell.task, "test"), np.array([], np.int64))
        samples, task = self._samples(cell.task, "train"), self._tasks[cell.task]
        classes = task.num_classes if samples.labels is not None else None
        return Drawn(samples, select(samples.names, samples.labels, Shots.parse(cell.shots), cell.attempt, classes))

    def _statistics(self, cell: Cell, drawn: Drawn) -> dict[str, Any]:
        labels = drawn.samples.labels
        if labels is None:
            return {"samples": len(drawn.kept), "min": None, "mean": None, "max": None}
        after = statistics(labels, drawn.kept, self._tasks[cell.task].num_classes).after
        return {"samples": after.samples, "min": after.min, "mean": after.mean, "max": after.max}

    def _layout(self, task: str) -> Layout:
        return layouts.of(self._tasks[task], self._tasks[task].root(self._suite.data_root))

    def _read(self, task: str, split: str) -> Samples:
        return self._layout(task).samples(split)


def _row(task: Task) -> list[Any]:
    """What a task's row says that a number depends on."""
    return [task.num_classes, task.metric, task.layout, dict(task.settings)]


def _form_sha256(trunk: TrunkSpec) -> str:
    """Of the trunk's input and outputs, which differ from trunk to trunk where all else of a cell is alike."""
    return _sha256([trunk.mean, trunk.std, trunk.to_rgb, trunk.pooling, trunk.out_indices, dict(trunk.backbone)])


def _sha256(said: Any) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def _annotation_files(dataset: Mapping[str, Any]) -> Iterator[Path]:
    """The files that list a data set's samples, of all parts of a joined one."""
    for part in dataset.get("datasets", [dataset]):
        file = Path(part.get("data_root") or "", part.get("ann_file") or "")
        if file.is_file():
            yield file


def _truth(metric: str, root: Path, test: Mapping[str, Any]) -> dict[str, Any]:
    """Where an evaluator finds what the host's test set does not give it."""
    if metric in ("coco_ap", "mr2"):
        return {"ann_file": test["ann_file"]}
    return {"ann_dir": str(root / "ground_truth")} if metric == "wider_ap" else {}


def _probe_settings(protocol: Protocol) -> dict[str, Any]:
    """A probe's arguments; ``schedule`` is written as a dict in a config."""
    settings = dict(protocol.settings)
    if "schedule" in settings:
        settings["schedule"] = probes.Schedule(**settings["schedule"])
    return settings
