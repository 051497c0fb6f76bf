"""Average precision of WIDER FACE: easy, medium, hard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interngv.errors import UserError, did_you_mean
from interngv.gvb.metrics.base import Counts, Metric, Sample, picture
from interngv.gvb.metrics.detections import area_under, overlaps, read_detections
from interngv.gvb.metrics.wider_truth import LEVELS, Faces, read_faces
from interngv.registry import METRICS

_STEPS = 1000
_IOU = 0.5


@dataclass(frozen=True)
class WiderResult:
    """One picture: its name, a score a detection, and (n, 3) whether it is a proposal and whether it finds a face."""

    name: str
    scores: np.ndarray
    proposal: np.ndarray
    finds: np.ndarray


@METRICS.register_module()
class WiderFaceMetric(Metric):
    """WIDER FACE AP easy / medium / hard in percent, by the official protocol (Yang et al., CVPR 2016, eval_tools).

    Scores are normalised to 0 .. 1 over the whole set and cut at 1 - 1/1000, 1 - 2/1000 .. 0. A detection belongs to
    the face that it overlaps most, at IoU >= .5 with inclusive pixels; on a face that does not count at a level it is
    no proposal there, on a face that was found before it is a wrong one. Detections in pictures without any face are
    left out, as the official code skips those. AP is the area under the curve with falling precision.

    mmdetection has the data set but not this metric; its VOC AP is another number. A result keeps 14 bytes a detection,
    since the normalisation needs all scores.

    Args:
        ann_dir: folder of the official ``.mat`` files (see :func:`~.wider_truth.read_faces`).
        faces: the same as a mapping, in place of ``ann_dir``.
    """

    def __init__(
        self, ann_dir: str | Path | None = None, faces: Mapping[str, Faces] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if (ann_dir is None) == (faces is None):
            raise UserError("WiderFaceMetric needs either ann_dir (the official .mat files) or faces")
        self.faces = faces if faces is not None else read_faces(str(ann_dir))

    def measure(self, sample: Sample, counts: Counts) -> WiderResult:
        """Match the detections of a picture.

        Raises:
            UserError: the ground truth does not know the picture.
        """
        found = read_detections(sample, 1, counts)
        name = Path(str(sample.get("img_path") or sample["img_id"])).stem
        if name not in self.faces:
            raise UserError(f"{picture(sample)} is not in WIDER FACE's ground truth{did_you_mean(name, self.faces)}")
        proposal, finds = match(found.boxes, self.faces[name])
        return WiderResult(name, found.scores, proposal, finds)

    def summary(self, results: Sequence[WiderResult], counts: Counts) -> dict[str, float]:
        """``easy``, ``medium``, ``hard`` in percent; a level without a face is left out and counted.

        Raises:
            UserError: pictures of the ground truth were not evaluated, or twice; no level has a face.
        """
        names = [one.name for one in results]
        if len(set(names)) != len(names) or len(names) != len(self.faces):
            raise UserError(f"WiderFaceMetric: {len(self.faces)} pictures are annotated, {len(set(names))} evaluated")
        wanted = np.sum([faces.counted.sum(0) for faces in self.faces.values()], axis=0)
        occurs = [index for index, number in enumerate(wanted) if number]
        if not occurs:
            raise UserError("WiderFaceMetric: no face of the ground truth counts at any level")
        if len(occurs) < len(LEVELS):
            counts["levels_without_a_face"] += len(LEVELS) - len(occurs)
        scores = _normalised(np.concatenate([one.scores for one in results]))
        proposal = np.concatenate([one.proposal for one in results])
        finds = np.concatenate([one.finds for one in results])
        return {
            LEVELS[level]: 100 * _average_precision(scores[proposal[:, level]], scores[finds[:, level]], wanted[level])
            for level in occurs
        }


def match(boxes: np.ndarray, faces: Faces) -> tuple[np.ndarray, np.ndarray]:
    """Which detections of a picture are proposals at each level, and which of those find a face: (n, 3) each.

    Args:
        boxes: (n, 4) by falling score.
        faces: of the picture.
    """
    shape = len(boxes), len(LEVELS)
    if not len(faces.boxes) or not len(boxes):
        return np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    overlap = overlaps(boxes, faces.boxes, inclusive=True)
    best, hit = overlap.argmax(1), overlap.max(1) >= _IOU
    counted = faces.counted[best]
    first = np.zeros(len(boxes), dtype=bool)
    hits = np.flatnonzero(hit)
    first[hits[np.unique(best[hits], return_index=True)[1]]] = True
    return ~hit[:, None] | counted, first[:, None] & counted


def _normalised(scores: np.ndarray) -> np.ndarray:
    """Scores as 0 .. 1; all 1 where they are equal (the official code divides by zero there)."""
    low, high = scores.min(initial=np.inf), scores.max(initial=-np.inf)
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


def _average_precision(proposals: np.ndarray, finds: np.ndarray, faces: int) -> float:
    """AP from the scores of the proposals and of those among them that find a face."""
    cuts = 1 - np.arange(1, _STEPS + 1) / _STEPS
    proposed, found = (len(scores) - np.searchsorted(np.sort(scores), cuts) for scores in (proposals, finds))
    return area_under(found / faces, found / np.maximum(proposed, 1))
