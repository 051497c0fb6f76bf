"""Annotation files in COCO's form, checked once for the metrics that need more than a data sample holds."""

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interngv.errors import UserError, did_you_mean
from interngv.gvb.metrics.base import Sample, picture


@dataclass(frozen=True)
class Annotations:
    """An annotation file.

    Attributes:
        path: where it was read.
        images: index of a picture by its id, in the order of the ids: official code ranks equal scores so.
        categories: name of a category by its id, in the order of the file.
        rows: an annotation each; ``rows[i]`` belongs to picture ``image[i]`` and has ``boxes[i]``.
        boxes: (n, 4) x, y, width, height in pixels.
        image: (n,) indices into the pictures.
    """

    path: Path
    images: Mapping[Hashable, int]
    categories: Mapping[Hashable, str]
    rows: list[Mapping[str, Any]]
    boxes: np.ndarray
    image: np.ndarray

    def index(self, sample: Sample) -> int:
        """Index of a sample's picture by its ``img_id``.

        Raises:
            UserError: the file does not list it.
        """
        name = sample.get("img_id")
        if name not in self.images:
            raise UserError(f"{picture(sample)}: {self.path} lists no picture with the id {name!r}")
        return self.images[name]

    def check_all_once(self, seen: np.ndarray) -> None:
        """Refuse an evaluation of other pictures than the file lists.

        Raises:
            UserError: some were not evaluated, or twice.
        """
        if len(seen) != len(self.images) or len(np.unique(seen)) != len(seen):
            raise UserError(f"{self.path} lists {len(self.images)} pictures, {len(np.unique(seen))} were evaluated")


def read_annotations(path: str | Path) -> Annotations:
    """Read and check an annotation file.

    Raises:
        UserError: the file is missing or no such JSON, an id stands twice, an annotation names a picture or category
            that is not listed, a box is not four finite numbers.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_bytes())
        images = sorted(row["id"] for row in content["images"])
        index = {image: position for position, image in enumerate(images)}
        categories = {row["id"]: str(row["name"]) for row in content["categories"]}
        rows = list(content["annotations"])
        owners = [row["image_id"] for row in rows]
        boxes = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(len(rows), 4)
        unknown = [row["category_id"] for row in rows if row["category_id"] not in categories]
    except OSError as error:
        raise UserError(f"annotations {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} is no annotation file in COCO's form: {type(error).__name__} {error}") from error
    if len(index) < len(images) or len(categories) < len(content["categories"]):
        raise UserError(f"{path}: an id of a picture or a category stands twice")
    lost = [owner for owner in owners if owner not in index]
    if lost or unknown:
        raise UserError(f"{path}: {len(lost)} annotations of unlisted pictures, {len(unknown)} of unlisted categories")
    wrong = np.flatnonzero(~np.isfinite(boxes).all(1))
    if wrong.size:
        raise UserError(f"{path}: {wrong.size} boxes are not finite, the first in picture {owners[wrong[0]]!r}")
    return Annotations(path, index, categories, rows, boxes, np.array([index[x] for x in owners], dtype=np.int64))


def category_ids(annotations: Annotations, classes: list[str]) -> list[Hashable]:
    """The ids behind class labels 0, 1 ..: in the order of the file, as mmdetection's ``CocoDataset`` numbers them.

    Raises:
        UserError: the file lacks a class, or a name stands twice.
    """
    names = list(annotations.categories.values())
    lost = [name for name in classes if name not in names]
    if lost:
        raise UserError(f"{annotations.path} has no category '{lost[0]}'{did_you_mean(lost[0], names)}")
    ids = [key for key, name in annotations.categories.items() if name in classes]
    if len(ids) != len(classes):
        raise UserError(f"{annotations.path} has {len(ids)} categories of the {len(classes)} classes' names")
    return ids
