"""Boxes of detection sets: the COCO json that mmdetection reads, and what can be wrong with a box."""

import json
from collections.abc import Sequence
from typing import Any

from interngv.gvb.layouts.faults import Findings, Kind

BORDER = 1.0  # pixels by which a box may leave its picture: published sets count pixels from 0 or from 1


def judge_box(found: Findings, where: str, box: Sequence[float], width: float, height: float) -> None:
    """Count a box ``(x, y, w, h)`` in pixels that has no area or leaves its picture by more than ``BORDER``."""
    x, y, w, h = box
    if w <= 0 or h <= 0:
        found.add(Kind.BOX_WITHOUT_AREA, where)
    elif min(x, y) < -BORDER or x + w > width + BORDER or y + h > height + BORDER:
        found.add(Kind.BOX_OUTSIDE, where)


def coco_json(images: list[dict], annotations: list[dict], categories: list[dict]) -> str:
    """The text of a COCO annotation file."""
    return json.dumps(dict(images=images, annotations=annotations, categories=categories))


def coco_dataset(data_root: str, ann_file: str, images: str, classes: Sequence[str], test: bool) -> dict[str, Any]:
    """The config of mmdetection's ``CocoDataset``; pictures without a box stay in."""
    return dict(
        type="mmdet.CocoDataset",
        data_root=data_root,
        ann_file=ann_file,
        data_prefix=dict(img=images),
        metainfo=dict(classes=tuple(classes)),
        test_mode=test,
    )
