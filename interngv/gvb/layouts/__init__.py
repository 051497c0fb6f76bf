"""How data sets lie on disk: a small module a layout, all behind :class:`~interngv.gvb.layouts.base.Layout`.

layout = layouts.of(tasks.task("food101"), "data/food101")
samples = layout.samples("train")
config = layout.dataset("train", kept=[0, 5, 7], folder="work_dirs/lists")
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from interngv.gvb.layouts.base import Layout, Samples
from interngv.gvb.layouts.coco import Coco
from interngv.gvb.layouts.depth import Depth
from interngv.gvb.layouts.faults import Fault, Kind
from interngv.gvb.layouts.folders import Folders
from interngv.gvb.layouts.list_file import ListFile
from interngv.gvb.layouts.masks import Masks
from interngv.gvb.layouts.voc_det import VocDetection
from interngv.gvb.layouts.wider_face import WiderFace

if TYPE_CHECKING:
    from interngv.gvb.tasks import Task

LAYOUTS: dict[str, type[Layout]] = {
    "list_file": ListFile,
    "folders": Folders,
    "voc_det": VocDetection,
    "wider_face": WiderFace,
    "coco": Coco,
    "masks": Masks,
    "depth": Depth,
}

RELEASED = {
    "lists": {"train": "train_meta.list", "test": "test_meta.list"},
    "images": {"train": "train", "test": "test"},
}

__all__ = ["LAYOUTS", "RELEASED", "Fault", "Kind", "Layout", "Samples", "of"]


def of(task: "Task", root: str | os.PathLike) -> Layout:
    """The layout of a task's files below ``root``.

    A classification set may lie as the released benchmark wants it (``train_meta.list`` and ``test_meta.list`` beside
    ``train/`` and ``test/``): where its training list is there, it counts.
    """
    if task.kind == "classification" and (Path(root) / RELEASED["lists"]["train"]).is_file():
        sizes = {split: size for split, size in task.splits.items() if split in RELEASED["lists"]}
        return ListFile(replace(task, layout="list_file", settings=RELEASED, splits=sizes), root)
    return LAYOUTS[task.layout](task, root)
