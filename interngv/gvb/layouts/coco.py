"""COCO's json for detection: one file a split, pictures by ``file_name`` below a folder."""

import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from interngv.errors import UserError
from interngv.gvb.layouts.base import Layout, Reading, chosen, write_list
from interngv.gvb.layouts.boxes import coco_dataset, coco_json, judge_box
from interngv.gvb.layouts.faults import Findings, Kind, Problem


class Coco(Layout):
    """Annotations in COCO's form, read by mmdetection's ``CocoDataset``.

    Settings: ``annotations``, each split's json; ``images``, the folder below which ``file_name`` counts (default: the
    root). mmdetection numbers the classes in the order of the file's categories, drops annotations of other categories
    and boxes without area, and says neither; here the first is an error and the second is counted.
    """

    SETTINGS = {"annotations": True, "images": False}

    def read(self, split: str) -> Reading:
        """Read a split's json; annotations of unknown categories or pictures are problems."""
        file, said = self._said(split)
        valid = {category["id"] for category in said["categories"]}
        pictures = {image["id"] for image in said["images"]}
        problems = [
            Problem(Kind.LABEL, f"{file}, annotation {one['id']}, category {one['category_id']}")
            for one in said["annotations"]
            if one["category_id"] not in valid
        ]
        problems += [
            Problem(Kind.LINE, f"{file}, annotation {one['id']} of picture {one['image_id']}, which is not listed")
            for one in said["annotations"]
            if one["image_id"] not in pictures
        ]
        prefix = f"{images}/" if (images := self.settings.get("images")) else ""
        return Reading([f"{prefix}{image['file_name']}" for image in said["images"]], problems=problems)

    def dataset(self, split: str, kept: Sequence[int] | None, folder: str | os.PathLike) -> dict[str, Any]:
        """``mmdet.CocoDataset``, over a json of the kept pictures where they are not all."""
        self.samples(split)
        file, said = self._said(split)
        ann_file = str(file.absolute())
        if kept is not None:
            images = chosen(said["images"], kept)
            ids = {image["id"] for image in images}
            annotations = [one for one in said["annotations"] if one["image_id"] in ids]
            text = coco_json(images, annotations, said["categories"])
            ann_file = write_list(folder, f"{self.task.name}-{split}", text, ".json")
        images_folder = str((self.root / self.settings.get("images", "")).absolute())
        classes = [category["name"] for category in said["categories"]]
        if classes != list(self.class_names()):
            raise UserError(f"{self.task.name}: {file} has its categories in another order than the first split's file")
        return coco_dataset(str(self.root.absolute()), ann_file, images_folder, classes, split != "train")

    def class_names(self) -> tuple[str, ...]:
        """The names of the file's categories, in its order."""
        split = next(iter(self.settings["annotations"]))
        return tuple(category["name"] for category in self._said(split)[1]["categories"])

    def look(self, split: str, reading: Reading, found: Findings, deep: bool) -> None:
        """Count categories without a box, and boxes outside their picture or without area."""
        _, said = self._said(split)
        size = {image["id"]: (image["width"], image["height"]) for image in said["images"]}
        for one in said["annotations"]:
            if one["image_id"] in size:
                judge_box(found, f"annotation {one['id']}", one["bbox"], *size[one["image_id"]])
        used = {one["category_id"] for one in said["annotations"]}
        found.add_all(Kind.EMPTY_CLASS, (one["name"] for one in said["categories"] if one["id"] not in used))

    def _said(self, split: str) -> tuple[Path, dict[str, Any]]:
        file = self.root / self.of_split("annotations", split)
        try:
            said = _load(str(file), file.stat().st_mtime_ns)
        except FileNotFoundError as error:
            raise UserError(f"{self.task.name}: {file} is missing; `interngv data status` says more") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{self.task.name}: {file} is no COCO json: {error}") from error
        self._check(file, said)
        return file, said

    def _check(self, file: Path, said: Any) -> None:
        wanted = {
            "images": ("id", "file_name", "width", "height"),
            "annotations": ("id", "image_id", "category_id", "bbox"),
            "categories": ("id", "name"),
        }
        for part, keys in wanted.items():
            rows = said.get(part) if isinstance(said, dict) else None
            if not isinstance(rows, list):
                raise UserError(f"{self.task.name}: {file} is no COCO json: it has no list '{part}'")
            for place, row in enumerate(rows):
                if not all(key in row for key in keys):
                    raise UserError(f"{self.task.name}: {file}, {part}[{place}]: expected the keys {', '.join(keys)}")
        names = [category["name"] for category in said["categories"]]
        if len(names) != self.task.num_classes or (self.task.class_names and tuple(names) != self.task.class_names):
            raise UserError(
                f"{self.task.name}: {file} has the {len(names)} categories {', '.join(names[:8])}; expected "
                f"{self.task.num_classes}: {', '.join((self.task.class_names or ())[:8])}"
            )


@lru_cache(maxsize=4)
def _load(file: str, modified: int) -> Any:
    """A json, kept for the next question about it; ``modified`` makes a changed file another one."""
    return json.loads(Path(file).read_text(encoding="utf-8"))
