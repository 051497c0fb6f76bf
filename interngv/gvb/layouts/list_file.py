"""List files for classification: a line a picture, in the forms in which sets publish their splits."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from interngv.errors import UserError
from interngv.gvb.layouts.base import Layout, Reading, chosen, lines_of, write_list
from interngv.gvb.layouts.faults import Kind, Problem

VIDEOS = (".avi", ".mp4", ".mkv", ".webm")


class Entry(NamedTuple):
    """A line: file and number, the picture and the class as written; no class where the line has another form."""

    file: Path
    line: int
    path: str
    label: str | None


class ListFile(Layout):
    """List files in one of four forms, read by mmpretrain's ``CustomDataset``.

    Settings: ``lists``, for each split a file or several; ``images``, the folder of the pictures, for all splits or
    each (default: the root); ``suffix``, which a name without its picture's suffix gets (a video's is replaced);
    and ``form``:

    * ``label`` (default): ``<path> <class number>``; the released benchmark's form.
    * ``name``: ``<path> <class name>``.
    * ``folder``: ``<path>``, the class being the folder in it; further columns do not count.
    * ``table``: columns apart by ``separator`` (default ','), of which ``columns`` names picture and class number: by
      the names of the first line, or by their places where there is no such line. ``where`` may say, for a split, which
      value a named column must have.

    Class numbers count from ``first_label`` (default 0). Class names are those of the file ``classes``, a name a line
    (with its number before it where ``numbered``), or else the row's.
    """

    SETTINGS = {
        "lists": True,
        "images": False,
        "suffix": False,
        "form": False,
        "separator": False,
        "columns": False,
        "where": False,
        "first_label": False,
        "classes": False,
        "numbered": False,
    }

    def read(self, split: str) -> Reading:
        """Read the lists of a split; a class that is not the task's gets the label -1 and a problem."""
        label_of, images, suffix = self._labels(), self._images(split), self.settings.get("suffix", "")
        names, labels, problems = [], [], []
        seen: dict[str, int] = {}
        for file, line, path, text in self._entries(split):
            if text is None:
                problems.append(Problem(Kind.LINE, f"{file}:{line}"))
                continue
            label = label_of(text)
            name = _with_suffix(images + path.lstrip("/"), suffix)
            if label is None:
                problems.append(Problem(Kind.LABEL, f"{file}:{line}, '{text}'"))
            elif seen.setdefault(name, label) != label:
                problems.append(Problem(Kind.CONFLICT, f"{file}:{line}, '{path}'"))
            names.append(name)
            labels.append(-1 if label is None else label)
        return Reading(names, np.array(labels, dtype=np.int64), problems)

    def dataset(self, split: str, kept: Sequence[int] | None, folder: str | os.PathLike) -> dict[str, Any]:
        """``mmpretrain.CustomDataset`` over a list file of ``<path> <class number>`` lines."""
        return custom_dataset(self, split, kept, folder)

    def _images(self, split: str) -> str:
        images = self.settings.get("images", "")
        folder = images.get(split, "") if isinstance(images, dict) else images
        return f"{folder}/" if folder else ""

    def _entries(self, split: str) -> Iterator[Entry]:
        lists = self.of_split("lists", split)
        for file in (self.root / name for name in ([lists] if isinstance(lists, str) else lists)):
            lines = lines_of(file, self.task.name)
            if self.settings.get("form") == "table":
                yield from self._table(file, lines, self.settings.get("where", {}).get(split, {}))
                continue
            parts = FORMS[self.settings.get("form", "label")]
            for number, line in enumerate(lines, start=1):
                if line := line.strip():
                    yield Entry(file, number, *parts(line))

    def _table(self, file: Path, lines: list[str], where: dict[str, str]) -> Iterator[Entry]:
        rows = csv.reader(lines, delimiter=self.settings.get("separator", ","))
        image, label = columns = self.settings["columns"]
        wanted: dict[int, str] = {}
        if isinstance(image, str):
            header = next(rows, [])
            expected = [*columns, *where]
            if not set(expected) <= set(header):
                raise UserError(
                    f"{self.task.name}: {file} has the columns {', '.join(header)}; expected {', '.join(expected)}"
                )
            image, label = (header.index(name) for name in columns)
            wanted = {header.index(name): value for name, value in where.items()}
        for row in rows:
            if not row:
                continue
            if len(row) <= max(image, label, *wanted):
                yield Entry(file, rows.line_num, "", None)
            elif all(row[column] == value for column, value in wanted.items()):
                yield Entry(file, rows.line_num, row[image], row[label])

    def _labels(self) -> Callable[[str], int | None]:
        """The function from a class as written to its label, None for one that is not the task's."""
        if self.settings.get("form", "label") in ("label", "table"):
            first, count = self.settings.get("first_label", 0), self.task.num_classes or 0
            valid = {str(label + first): label for label in range(count)}
            return valid.get
        return {name: label for label, name in enumerate(self._written_names())}.get

    def _written_names(self) -> list[str]:
        file = self.settings.get("classes")
        if file is None:
            return list(self.class_names())
        names = [line.strip() for line in lines_of(self.root / file, self.task.name) if line.strip()]
        if self.settings.get("numbered"):
            names = [name.split(maxsplit=1)[-1] for name in names]
        if len(names) != self.task.num_classes:
            raise UserError(
                f"{self.task.name}: {self.root / file} has {len(names)} classes, expected {self.task.num_classes}"
            )
        return [name.strip("/") for name in names]


def custom_dataset(layout: Layout, split: str, kept: Sequence[int] | None, folder: str | os.PathLike) -> dict[str, Any]:
    """``mmpretrain.CustomDataset`` over the samples at ``kept``, whatever form their labels were published in."""
    samples = layout.samples(split)
    assert samples.labels is not None  # this is for classification
    pairs = chosen(list(zip(samples.names, samples.labels.tolist(), strict=True)), kept)
    text = "".join(f"{name} {label}\n" for name, label in pairs)
    return dict(
        type="mmpretrain.CustomDataset",
        data_root=str(layout.root.absolute()),
        ann_file=write_list(folder, f"{layout.task.name}-{split}", text),
        metainfo=dict(classes=layout.class_names()),
        test_mode=split != "train",
    )


def _path_label(line: str) -> tuple[str, str | None]:
    path, *label = line.rsplit(maxsplit=1)
    return path, label[0] if label else None


def _path_name(line: str) -> tuple[str, str | None]:
    path, *name = line.split(maxsplit=1)
    return path, name[0] if name else None


def _path_in_folder(line: str) -> tuple[str, str | None]:
    path = line.split()[0]
    folder = str(PurePosixPath(path.strip("/")).parent)
    return path, None if folder == "." else folder


FORMS = {"label": _path_label, "name": _path_name, "folder": _path_in_folder}


def _with_suffix(path: str, suffix: str) -> str:
    if not suffix:
        return path
    stem, own = os.path.splitext(path)
    return f"{stem if own in VIDEOS else path}{suffix}"
