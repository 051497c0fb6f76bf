"""Average precision of COCO for boxes, by whichever evaluator is installed."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interngv.errors import UserError
from interngv.gvb.metrics.annotations import Annotations, category_ids, read_annotations
from interngv.gvb.metrics.base import CLASS, Counts, Metric, Sample
from interngv.gvb.metrics.coco_backends import evaluate
from interngv.gvb.metrics.detections import read_detections
from interngv.registry import METRICS

_STATS = ("coco_ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


@dataclass(frozen=True)
class CocoResult:
    """One picture: its index and (n, 6) detections x, y, width, height, score, label."""

    picture: int
    rows: np.ndarray


@METRICS.register_module()
class CocoBoxMetric(Metric):
    """COCO's box AP in percent: mean over IoU .50:.05:.95, at most 100 detections of a class in a picture.

    mmdetection's ``CocoMetric`` rounds AP to a tenth of a percent, takes AP50 and AP75 at 1,000 detections beside AP at
    100, gives -1 for sizes that do not occur, and no score at all where nothing was detected (here 0). Its
    ``FasterCocoMetric`` shares that and takes difficult boxes out of the ground truth where no file is given.

    Annotated boxes without area cannot be found: they are left out and counted. Crowd regions keep their meaning.

    Args:
        ann_file: annotations in COCO's form.
        backend: see :data:`~.coco_backends.BACKENDS`; the first that is installed where None.
    """

    def __init__(self, ann_file: str | Path, backend: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.annotations, self.backend = read_annotations(ann_file), backend

    def measure(self, sample: Sample, counts: Counts) -> CocoResult:
        """The detections of a picture as rows."""
        index = self.annotations.index(sample)
        found = read_detections(sample, self.class_number(None), counts)
        size = found.boxes[:, 2:] - found.boxes[:, :2]
        columns = (found.boxes[:, :2], size, found.scores[:, None], found.labels[:, None])
        return CocoResult(index, np.concatenate(columns, axis=1))

    def summary(self, results: Sequence[CocoResult], counts: Counts) -> dict[str, float]:
        """``coco_ap``, ``ap50``, ``ap75``, ``ap_small``, ``ap_medium``, ``ap_large`` and each class's AP, in percent.

        What has no annotated box (a class, a size) is left out.

        Raises:
            UserError: other pictures than the annotated ones were evaluated; there is no box to find.
        """
        self.annotations.check_all_once(np.array([one.picture for one in results]))
        ids = category_ids(self.annotations, list((self.dataset_meta or {}).get("classes", ())))
        truth = coco_truth(self.annotations, ids, counts)
        rows = np.concatenate([np.insert(one.rows, 0, one.picture, axis=1) for one in results])
        stats, each = evaluate(truth, rows, self.backend)
        if stats[0] < 0:
            raise UserError(f"{self.annotations.path}: no box to find")
        if (each < 0).any():
            counts["classes_without_a_box"] += int((each < 0).sum())
        names = [f"{CLASS}{self.annotations.categories[key]}" for key in ids]
        return {
            name: float(100 * value)
            for name, value in zip([*_STATS, *names], [*stats[:6], *each], strict=True)
            if value >= 0
        }


def coco_truth(annotations: Annotations, ids: Sequence[Hashable], counts: Counts) -> dict[str, list]:
    """Ground truth in COCO's form under plain numbers: pictures and classes by index, annotations from 1.

    pycocotools takes an annotation of id 0 for one that is never found, and evaluators differ in other ids they accept.

    Raises:
        UserError: an area is not finite.
    """
    labels = {key: label for label, key in enumerate(ids)}
    rows, boxes = annotations.rows, annotations.boxes
    ours = np.array([row["category_id"] in labels for row in rows], dtype=bool)
    sound = (boxes[:, 2:] > 0).all(1)
    areas = [float(row.get("area", box[2] * box[3])) for row, box in zip(rows, boxes, strict=True)]
    if not np.isfinite(areas).all():
        raise UserError(f"{annotations.path}: an area is not finite")
    if (ours & ~sound).any():
        counts["annotated_boxes_without_area"] += int((ours & ~sound).sum())
    return {
        "images": [{"id": index, "width": 0, "height": 0} for index in range(len(annotations.images))],
        "categories": [{"id": label, "name": annotations.categories[key]} for key, label in labels.items()],
        "annotations": [
            {
                "id": number,
                "image_id": int(annotations.image[index]),
                "category_id": labels[rows[index]["category_id"]],
                "bbox": boxes[index].tolist(),
                "area": areas[index],
                "iscrowd": int(rows[index].get("iscrowd", 0)),
            }
            for number, index in enumerate(np.flatnonzero(ours & sound), start=1)
        ],
    }
