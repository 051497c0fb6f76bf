"""Segmentation: a mask a picture, in folders or by lists of names (camera frames, Pascal VOC)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from interngv.errors import UserError
from interngv.gvb.layouts.base import Layout, Reading, chosen, joined, lines_of, write_list
from interngv.gvb.layouts.faults import Findings, Kind

IGNORED = 255


class Pair(NamedTuple):
    """Folder of pictures, folder of masks, and the name that both files have, without suffix."""

    images: str
    masks: str
    name: str


class Masks(Layout):
    """Pictures and index masks of the same names, read by mmsegmentation's ``BaseSegDataset``.

    Settings: ``parts``, for each split one or more of ``{images: folder, masks: folder, list: file}``, where without a
    list all pictures of the folder count; ``image_suffix`` and ``mask_suffix`` (default .jpg and .png); ``classes``, a
    file with a class name a line, where the row has none. Mask values are labels from 0, and 255 is ignored.
    """

    SETTINGS = {"parts": True, "image_suffix": False, "mask_suffix": False, "classes": False}

    def read(self, split: str) -> Reading:
        """Read the lists of names, or the folders."""
        return Reading([f"{pair.images}/{pair.name}{self._image_suffix}" for pair in self._pairs(split)])

    def dataset(self, split: str, kept: Sequence[int] | None, folder: str | os.PathLike) -> dict[str, Any]:
        """``mmseg.BaseSegDataset``, or several of them in a ``ConcatDataset``: one a folder of masks."""
        self.samples(split)
        parts: dict[tuple[str, str], list[str]] = {}
        for images, masks, name in chosen(self._pairs(split), kept):
            parts.setdefault((images, masks), []).append(name)
        return joined([self._of_part(*part, names, split, folder) for part, names in parts.items()])

    def class_names(self) -> tuple[str, ...]:
        """The row's names, or those of the file ``classes``."""
        file = self.settings.get("classes")
        if self.task.class_names or not file:
            return super().class_names()
        names = tuple(line.strip() for line in lines_of(self.root / file, self.task.name) if line.strip())
        if len(names) != self.task.num_classes:
            raise UserError(
                f"{self.task.name}: {self.root / file} has {len(names)} classes, expected {self.task.num_classes}"
            )
        return names

    def look(self, split: str, reading: Reading, found: Findings, deep: bool) -> None:
        """Count missing masks and, deep, masks of another size, without a labelled pixel or of other values."""
        used: set[int] = set()
        for pair, picture in zip(self._pairs(split), reading.names, strict=True):
            mask = f"{pair.masks}/{pair.name}{self._mask_suffix}"
            if not (self.root / mask).is_file():
                found.add(Kind.MISSING_TARGET, mask)
            elif deep:
                used |= self._judge(self.root / picture, self.root / mask, mask, found)
        if deep:
            names = self.class_names()
            found.add_all(Kind.EMPTY_CLASS, (name for label, name in enumerate(names) if label not in used))

    def _judge(self, picture: Path, mask: Path, where: str, found: Findings) -> set[int]:
        """Count what is wrong with a mask; returns its labels."""
        from PIL import Image

        try:
            with Image.open(mask) as opened:
                values = np.asarray(opened)
        except (OSError, SyntaxError, ValueError) as error:
            found.add(Kind.UNREADABLE_TARGET, f"{where}: {error}")
            return set()
        labels = set(np.unique(values).tolist()) - {IGNORED}
        outside = sorted(label for label in labels if not 0 <= label < (self.task.num_classes or 0))
        if values.ndim != 2 or outside:
            found.add(Kind.MASK_VALUE, f"{where}: {'colours' if values.ndim != 2 else outside[:5]}")
        if not labels:
            found.add(Kind.BLANK_MASK, where)
        if size_differs(picture, values.shape):
            found.add(Kind.TARGET_SIZE, where)
        return labels

    @property
    def _image_suffix(self) -> str:
        return self.settings.get("image_suffix", ".jpg")

    @property
    def _mask_suffix(self) -> str:
        return self.settings.get("mask_suffix", ".png")

    def _pairs(self, split: str) -> list[Pair]:
        pairs = []
        for part in self.of_split("parts", split):
            if "list" in part:
                lines = lines_of(self.root / part["list"], self.task.name)
                names = [line.strip() for line in lines if line.strip()]
            else:
                names = stems(self.root / part["images"], self._image_suffix, self.task.name)
            pairs += [Pair(part["images"], part["masks"], name) for name in names]
        return pairs

    def _of_part(
        self, images: str, masks: str, names: list[str], split: str, folder: str | os.PathLike
    ) -> dict[str, Any]:
        return dict(
            type="mmseg.BaseSegDataset",
            data_root=str(self.root.absolute()),
            ann_file=write_list(folder, f"{self.task.name}-{split}", "".join(f"{name}\n" for name in names)),
            data_prefix=dict(img_path=images, seg_map_path=masks),
            img_suffix=self._image_suffix,
            seg_map_suffix=self._mask_suffix,
            metainfo=dict(classes=self.class_names()),
            test_mode=split != "train",
        )


def stems(folder: Path, suffix: str, task: str) -> list[str]:
    """Names without suffix, in order, of a folder's files with this suffix; UserError where there is no such folder."""
    try:
        return sorted(name.removesuffix(suffix) for name in os.listdir(folder) if name.endswith(suffix))
    except OSError as error:
        raise UserError(f"{task}: the folder {folder} cannot be listed: {error.strerror}") from error


def size_differs(picture: Path, shape: Sequence[int]) -> bool:
    """Whether a map of (H, W) pixels has another size than its picture; not, where the picture cannot be read."""
    from PIL import Image

    try:
        with Image.open(picture) as opened:
            return opened.size != (shape[1], shape[0])
    except OSError:
        return False  # counted as a picture that is missing or unreadable
