"""Metrics of GV-B, without a host library; each is checked against an independent evaluation (tests/gvb)."""

from interngv.gvb.metrics.classification import AccuracyMetric
from interngv.gvb.metrics.coco import CocoBoxMetric
from interngv.gvb.metrics.depth import DepthErrorMetric
from interngv.gvb.metrics.miss_rate import MissRateMetric
from interngv.gvb.metrics.scores import HIGHER_IS_BETTER, counts, evaluator, per_class, scores
from interngv.gvb.metrics.segmentation import MeanIoUMetric
from interngv.gvb.metrics.voc import VocMetric
from interngv.gvb.metrics.wider import WiderFaceMetric
from interngv.gvb.metrics.wider_truth import Faces, read_faces

__all__ = [
    "HIGHER_IS_BETTER",
    "AccuracyMetric",
    "CocoBoxMetric",
    "DepthErrorMetric",
    "Faces",
    "MeanIoUMetric",
    "MissRateMetric",
    "VocMetric",
    "WiderFaceMetric",
    "counts",
    "evaluator",
    "per_class",
    "read_faces",
    "scores",
]
