"""Pascal VOC's folders for detection: lists of names in ``ImageSets/Main``, boxes in an XML file a picture."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from interngv.errors import UserError
from interngv.gvb.layouts.base import Layout, Reading, chosen, joined, lines_of, write_list
from interngv.gvb.layouts.boxes import judge_box
from interngv.gvb.layouts.faults import Findings, Kind


class VocDetection(Layout):
    """Pascal VOC, one or more years joined (07+12), read by mmdetection's ``VOCDataset``.

    Settings: ``parts``, for each split the pairs of year's folder and list, such as ``[VOC2007, trainval]``.
    mmdetection skips objects of a class that it does not know; here they are an error, found when the data set is made.
    """

    SETTINGS = {"parts": True}

    def read(self, split: str) -> Reading:
        """Read the lists of names; XML files are opened by :meth:`dataset` and :meth:`faults` only."""
        return Reading([f"{year}/JPEGImages/{name}.jpg" for year, name in self._named(split)])

    def dataset(self, split: str, kept: Sequence[int] | None, folder: str | os.PathLike) -> dict[str, Any]:
        """``mmdet.VOCDataset``, or several of them in a ``ConcatDataset``: one a year that has samples."""
        named = chosen(self._named(split), kept)
        self._check(named)
        years: dict[str, list[str]] = {}
        for year, name in named:
            years.setdefault(year, []).append(name)
        return joined([self._of_year(year, names, split, folder) for year, names in years.items()])

    def look(self, split: str, reading: Reading, found: Findings, deep: bool) -> None:
        """Count annotations that are missing or unreadable, objects of other classes, and boxes that cannot be."""
        used = set()
        for year, name in self._named(split):
            where = f"{year}/Annotations/{name}.xml"
            try:
                size, objects = _parse(self.root / where)
            except FileNotFoundError:
                found.add(Kind.MISSING_TARGET, where)
                continue
            except (ElementTree.ParseError, ValueError) as error:
                found.add(Kind.UNREADABLE_TARGET, f"{where}: {error}")
                continue
            for label, (x1, y1, x2, y2) in objects:
                used.add(label)
                if label not in self.class_names():
                    found.add(Kind.LABEL, f"{where}, '{label}'")
                judge_box(found, where, (x1 - 1, y1 - 1, x2 - x1, y2 - y1), *size)
        found.add_all(Kind.EMPTY_CLASS, (name for name in self.class_names() if name not in used))

    def _named(self, split: str) -> list[tuple[str, str]]:
        """Year folder and name of every picture, in the order of the lists."""
        return [
            (year, line.split()[0])
            for year, part in self.of_split("parts", split)
            for line in lines_of(self.root / year / "ImageSets" / "Main" / f"{part}.txt", self.task.name)
            if line.strip()
        ]

    def _check(self, named: Sequence[tuple[str, str]]) -> None:
        if not named:
            raise UserError(f"{self.task.name}: no samples in {self.root}")
        for year, name in named:
            file = self.root / year / "Annotations" / f"{name}.xml"
            try:
                _, objects = _parse(file)
            except (OSError, ElementTree.ParseError, ValueError) as error:
                raise UserError(f"{self.task.name}: {file} is missing or no VOC annotation: {error}") from error
            for label, _ in objects:
                if label not in self.class_names():
                    raise UserError(f"{self.task.name}: {file}: the class '{label}' is none of the task's")

    def _of_year(self, year: str, names: list[str], split: str, folder: str | os.PathLike) -> dict[str, Any]:
        return dict(
            type="mmdet.VOCDataset",
            data_root=str(self.root.absolute()),
            ann_file=write_list(folder, f"{self.task.name}-{split}-{year}", "".join(f"{name}\n" for name in names)),
            data_prefix=dict(sub_data_root=f"{year}/"),
            metainfo=dict(classes=self.class_names()),
            test_mode=split != "train",
        )


def _parse(file: Path) -> tuple[tuple[int, int], list[tuple[str, tuple[float, float, float, float]]]]:
    """Width and height, and each object's class and corners (x1, y1, x2, y2), pixels from 1, of a VOC XML file.

    Raises FileNotFoundError, ElementTree.ParseError, and ValueError where a part is missing or no number.
    """
    root = ElementTree.parse(file).getroot()
    width, height = (int(float(root.findtext(f"size/{side}", ""))) for side in ("width", "height"))
    return (width, height), list(_objects(root))


def _objects(root: ElementTree.Element) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    for one in root.findall("object"):
        x1, y1, x2, y2 = (float(one.findtext(f"bndbox/{edge}", "")) for edge in ("xmin", "ymin", "xmax", "ymax"))
        yield one.findtext("name", ""), (x1, y1, x2, y2)
