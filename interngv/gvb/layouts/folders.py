"""A folder a class, for classification: ``<split>/<class>/<picture>``, or ``<class>/<picture>`` split here."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interngv.errors import UserError
from interngv.gvb.layouts.base import PICTURES, Layout, Reading, Samples
from interngv.gvb.layouts.faults import Kind, Problem
from interngv.gvb.layouts.list_file import custom_dataset


class Folders(Layout):
    """Folders of classes, in the order of their names, read by mmpretrain's ``CustomDataset``.

    Settings: ``folders``, the folder of each split, or of all of them where the set publishes no split. Then ``parts``
    gives each split's percentage, or ``per_class`` how many of a class are for training, the others being the test.
    Such a split ranks a class's pictures by the sha256 of their names: it is the same everywhere.

    The folders must be as many as the task has classes: one that is missing would shift the labels of the others.
    """

    SETTINGS = {"folders": True, "parts": False, "per_class": False}

    def read(self, split: str) -> Reading:
        """List the class folders of a split; those that training has not are problems."""
        folders = self.settings["folders"]
        if isinstance(folders, str):
            return self._parted(folders, split)
        folder = self.of_split("folders", split)
        label_of = {name: label for label, name in enumerate(self._classes())}
        names, labels, problems = [], [], []
        for name in _subfolders(self.root / folder, self.task.name):
            label = label_of.get(name)
            pictures = _pictures(self.root, f"{folder}/{name}")
            if label is None:
                problems.append(Problem(Kind.LABEL, f"{self.root / folder / name}"))
                continue
            names += pictures
            labels += [label] * len(pictures)
        return Reading(names, np.array(labels, dtype=np.int64), problems)

    def dataset(self, split: str, kept: Sequence[int] | None, folder: str | os.PathLike) -> dict[str, Any]:
        """``mmpretrain.CustomDataset`` over a list file of ``<path> <class number>`` lines."""
        return custom_dataset(self, split, kept, folder)

    def class_names(self) -> tuple[str, ...]:
        """The row's names, or the folders'."""
        return self.task.class_names or tuple(self._classes())

    def samples(self, split: str) -> Samples:
        """As every layout's; raises UserError, too, where the folders are not as many as the classes."""
        self._classes()
        return super().samples(split)

    def _classes(self) -> list[str]:
        folders = self.settings["folders"]
        top = self.root / (folders if isinstance(folders, str) else folders.get("train", next(iter(folders.values()))))
        classes = _subfolders(top, self.task.name)
        if len(classes) != self.task.num_classes:
            raise UserError(
                f"{self.task.name}: {top} has {len(classes)} class folders, expected {self.task.num_classes}"
            )
        return classes

    def _parted(self, top: str, split: str) -> Reading:
        names: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(self._classes()):
            pictures = sorted(_pictures(self.root, f"{top}/{name}" if top else name), key=_rank)
            start, stop = self._part(split, len(pictures))
            names += sorted(pictures[start:stop])
            labels += [label] * (stop - start)
        return Reading(names, np.array(labels, dtype=np.int64))

    def _part(self, split: str, count: int) -> tuple[int, int]:
        """First and last rank, exclusive, of a class's pictures in a split."""
        if "per_class" in self.settings:
            border = min(self.settings["per_class"], count)
            borders = {"train": (0, border), "test": (border, count)}
            if split not in borders:
                raise UserError(f"{self.task.name} has no split '{split}'; it has train, test")
            return borders[split]
        share = self.of_split("parts", split)
        parts = self.settings["parts"]
        before = sum(parts[earlier] for earlier in list(parts)[: list(parts).index(split)])
        return count * before // 100, count * (before + share) // 100


def _subfolders(folder: Path, task: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{task}: the folder {folder} cannot be listed: {error.strerror}") from error


def _pictures(root: Path, folder: str) -> list[str]:
    """Paths, below the root, of the pictures under a class folder, in the order of their names."""
    found = []
    for place, _, files in os.walk(root / folder):
        relative = Path(place).relative_to(root).as_posix()
        found += [f"{relative}/{file}" for file in files if file.lower().endswith(PICTURES)]
    return sorted(found)


def _rank(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
