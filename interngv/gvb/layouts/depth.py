"""Depth: pairs of a picture and a depth map, by list files (BTS's, for NYUv2 and KITTI) or in folders."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from interngv.gvb.layouts.base import Layout, Reading, chosen, lines_of, write_list
from interngv.gvb.layouts.faults import Findings, Kind, Problem
from interngv.gvb.layouts.masks import size_differs, stems

_NEAR, _FAR = 1 << 12, (1 << 16) - (1 << 12)  # the sixteenths at both ends of 16 bits


class Pair(NamedTuple):
    """Paths, below the root, of a picture and its depth map."""

    image: str
    depth: str


class Depth(Layout):
    """Pairs of picture and 16-bit depth map, read by :class:`interngv.gvb.layouts.depth_pairs.DepthPairs`.

    No host reads lists of pairs: mmsegmentation's ``NYUDataset`` lists a folder whose depth maps have the pictures'
    names. What the data set gives is what mmsegmentation's ``LoadDepthAnnotation`` takes.

    Settings: ``scale``, metres a unit; ``images`` and ``depths``, each split's folder (``depths`` may be several
    folders, the first of which that has the file counts); ``lists``, each split's file of ``<picture> <depth>`` lines,
    further columns not counting; ``image_suffix`` (default .jpg), where without lists files pair by their names;
    ``max_depth`` in metres and ``crop`` (of the depth metric), how the task is judged. A depth called ``None`` in a
    list has no ground truth: the sample is left out and counted.
    """

    SETTINGS = {
        "scale": True,
        "images": True,
        "depths": True,
        "lists": False,
        "image_suffix": False,
        "max_depth": False,
        "crop": False,
    }

    def read(self, split: str) -> Reading:
        """Read a split's list, or its folders."""
        pairs, problems = self._pairs(split)
        return Reading([pair.image for pair in pairs], problems=problems)

    def dataset(self, split: str, kept: Sequence[int] | None, folder: str | os.PathLike) -> dict[str, Any]:
        """``interngv.DepthPairs`` over a list of pairs; ``depth_scale`` in its metainfo is metres a unit."""
        self.samples(split)
        text = "".join(f"{image}\t{depth}\n" for image, depth in chosen(self._pairs(split)[0], kept))
        return dict(
            type="interngv.DepthPairs",
            data_root=str(self.root.absolute()),
            ann_file=write_list(folder, f"{self.task.name}-{split}", text),
            metainfo=dict(depth_scale=self.settings["scale"]),
            test_mode=split != "train",
        )

    def look(self, split: str, reading: Reading, found: Findings, deep: bool) -> None:
        """Count missing depth maps and, deep, those of another size, without a depth, infinite, or overflowed."""
        for image, depth in self._pairs(split)[0]:
            if not (self.root / depth).is_file():
                found.add(Kind.MISSING_TARGET, depth)
            elif deep:
                _judge(self.root / image, self.root / depth, depth, found)

    def _pairs(self, split: str) -> tuple[list[Pair], list[Problem]]:
        images, depths = self.of_split("images", split), self.of_split("depths", split)
        folders = [depths] if isinstance(depths, str) else depths
        if "lists" not in self.settings:
            return self._paired_by_name(images, folders[0]), []
        file = self.root / self.of_split("lists", split)
        pairs, problems = [], []
        for number, line in enumerate(lines_of(file, self.task.name), start=1):
            words = line.split()
            if len(words) == 1:
                problems.append(Problem(Kind.LINE, f"{file}:{number}"))
            elif words and words[1] == "None":
                problems.append(Problem(Kind.WITHOUT_TRUTH, f"{file}:{number}"))
            elif words:
                pairs.append(Pair(_below(images, words[0]), self._first(folders, words[1])))
        return pairs, problems

    def _paired_by_name(self, images: str, depths: str) -> list[Pair]:
        suffix = self.settings.get("image_suffix", ".jpg")
        names = stems(self.root / images, suffix, self.task.name)
        return [Pair(f"{images}/{name}{suffix}", f"{depths}/{name}.png") for name in names]

    def _first(self, folders: Sequence[str], path: str) -> str:
        """The path below the first folder that has it, below the first of all where none has."""
        places = [_below(folder, path) for folder in folders]
        if len(places) == 1:
            return places[0]
        return next((place for place in places if (self.root / place).is_file()), places[0])


def _below(folder: str, path: str) -> str:
    return f"{folder}/{path.lstrip('/')}" if folder else path.lstrip("/")


def _judge(picture: Path, depth: Path, where: str, found: Findings) -> None:
    from PIL import Image

    try:
        with Image.open(depth) as opened:
            values = np.asarray(opened)
    except (OSError, SyntaxError, ValueError) as error:
        found.add(Kind.UNREADABLE_TARGET, f"{where}: {error}")
        return
    if values.dtype == np.uint8 or values.ndim != 2:
        found.add(Kind.DEPTH_BITS, where)
        return
    if size_differs(picture, values.shape):
        found.add(Kind.TARGET_SIZE, where)
    finite = np.isfinite(values)
    if not finite.all():
        found.add(Kind.INFINITE_DEPTH, where)
    if not (values[finite] > 0).any():
        found.add(Kind.NO_DEPTH, where)
    if values.dtype.kind in "ui" and has_wrapped(values):
        found.add(Kind.DEPTH_WRAP, where)


def has_wrapped(depth: np.ndarray) -> bool:
    """Whether a 16-bit depth map (H, W) seems to have overflowed.

    A surface that recedes beyond what 16 bits hold goes on at 0, so that neighbouring pixels lie in the first and in
    the last sixteenth of the range. A real edge between 4 m and 61 m (at a millimetre a unit) looks the same: this is a
    suspicion, to be counted, not an error.
    """
    near, far = (depth > 0) & (depth < _NEAR), depth > _FAR
    beside = (near[:, 1:] & far[:, :-1]) | (far[:, 1:] & near[:, :-1])
    below = (near[1:] & far[:-1]) | (far[1:] & near[:-1])
    return bool(beside.any() or below.any())
