"""WIDER FACE's own text files: a picture's path, how many faces it has, and a line a face."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from interngv.errors import UserError
from interngv.gvb.layouts.base import Layout, Reading, chosen, lines_of, write_list
from interngv.gvb.layouts.boxes import coco_dataset, coco_json, judge_box
from interngv.gvb.layouts.faults import Findings

_COLUMNS = ("x", "y", "w", "h", "blur", "expression", "illumination", "invalid", "occlusion", "pose")


class Faces(NamedTuple):
    """A picture's path below the split's folder, and its faces: the ten numbers of a line each."""

    path: str
    faces: list[list[int]]


class WiderFace(Layout):
    """WIDER FACE as published (``wider_face_train_bbx_gt.txt``), read by mmdetection's ``CocoDataset``.

    mmdetection's ``WIDERFaceDataset`` reads XML files of a third party; the official text has all attributes and is
    written out as COCO's json. Faces that are marked invalid or have no area become ``iscrowd=1``, which training
    ignores. ``blur``, ``occlusion`` and the others stay in each annotation, and
    ``face`` is its place in the picture's list, by which the official easy, medium and hard lists name faces.

    Settings: ``annotations``, each split's text file; ``images``, each split's folder.
    """

    SETTINGS = {"annotations": True, "images": True}

    def read(self, split: str) -> Reading:
        """Read a split's text file."""
        images = self.of_split("images", split)
        return Reading([f"{images}/{one.path}" for one in self._faces(split)])

    def dataset(self, split: str, kept: Sequence[int] | None, folder: str | os.PathLike) -> dict[str, Any]:
        """``mmdet.CocoDataset`` over a json of the kept pictures, whose sizes are read from the pictures' headers."""
        self.samples(split)
        prefix = self.of_split("images", split)
        images: list[dict] = []
        annotations: list[dict] = []
        for number, one in enumerate(chosen(list(self._faces(split)), kept)):
            width, height = self._size(f"{prefix}/{one.path}")
            images.append(dict(id=number, file_name=one.path, width=width, height=height))
            for place, face in enumerate(one.faces):
                annotations.append(_annotation(len(annotations), number, place, face))
        text = coco_json(images, annotations, [dict(id=0, name="face")])
        ann_file = write_list(folder, f"{self.task.name}-{split}", text, ".json")
        root = self.root.absolute()
        return coco_dataset(str(root), ann_file, str(root / prefix), self.class_names(), split != "train")

    def look(self, split: str, reading: Reading, found: Findings, deep: bool) -> None:
        """Count faces outside their picture (deep, for the text does not say its size) or without area."""
        prefix = self.of_split("images", split)
        for one in self._faces(split):
            width = height = float("inf")
            if deep and (self.root / prefix / one.path).is_file():
                width, height = self._size(f"{prefix}/{one.path}")
            for face in one.faces:
                judge_box(found, one.path, face[:4], width, height)

    def _size(self, name: str) -> tuple[int, int]:
        from PIL import Image

        try:
            with Image.open(self.root / name) as picture:
                return picture.size
        except OSError as error:
            raise UserError(f"{self.task.name}: the picture {self.root / name} cannot be read: {error}") from error

    def _faces(self, split: str) -> Iterator[Faces]:
        file = self.root / self.of_split("annotations", split)
        lines = lines_of(file, self.task.name)
        at = 0
        while at < len(lines):
            if not lines[at].strip():
                at += 1
                continue
            path, count = lines[at].strip(), _count(lines, at + 1)
            rows = [line.split() for line in lines[at + 2 : at + 2 + max(count, 1)]]  # a count of 0 has a line of zeros
            if count < 0 or len(rows) < count or not all(_is_face(row) for row in rows[:count]):
                raise UserError(f"{self.task.name}: {file}:{at + 1}: expected a path, a count and so many faces")
            yield Faces(path, [[int(word) for word in row] for row in rows[:count]])
            has_zeros = count == 0 and bool(rows) and _is_face(rows[0])
            at += 2 + count + has_zeros


def _count(lines: list[str], at: int) -> int:
    return int(lines[at]) if at < len(lines) and lines[at].strip().isdigit() else -1


def _is_face(row: list[str]) -> bool:
    return len(row) == len(_COLUMNS) and all(word.lstrip("-").isdigit() for word in row)


def _annotation(number: int, image: int, place: int, face: list[int]) -> dict[str, Any]:
    said = dict(zip(_COLUMNS, face, strict=True))
    area = said["w"] * said["h"]
    return dict(
        id=number,
        image_id=image,
        category_id=0,
        bbox=face[:4],
        area=area,
        iscrowd=int(said["invalid"] == 1 or area <= 0),
        face=place,
        **{name: said[name] for name in _COLUMNS[4:]},
    )
