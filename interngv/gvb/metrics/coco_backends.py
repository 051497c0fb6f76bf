"""COCO's evaluation by hotcoco, faster-coco-eval or pycocotools: equal numbers, other speed."""

import contextlib
import importlib
import io
import logging
from typing import Any

import numpy as np
from mmengine.logging import print_log

from interngv.errors import UserError, did_you_mean

BACKENDS = {  # the fastest first: module and name of the data's and of the evaluator's class
    "hotcoco": (("hotcoco", "COCO"), ("hotcoco", "COCOeval")),
    "faster_coco_eval": (("faster_coco_eval", "COCO"), ("faster_coco_eval", "COCOeval_faster")),
    "pycocotools": (("pycocotools.coco", "COCO"), ("pycocotools.cocoeval", "COCOeval")),
}


def evaluate(
    truth: dict[str, list], detections: np.ndarray, backend: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """COCO's box evaluation.

    Args:
        truth: ground truth in COCO's form; ids are numbers, those of annotations begin at 1.
        detections: (n, 7) picture, x, y, width, height, score, class.
        backend: one of ``BACKENDS``; the first that is installed where None.

    Returns:
        (12,) COCO's summary as fractions, -1 where there is nothing to find; (classes,) AP in the order of their ids.

    Raises:
        UserError: an unknown backend, or one that is not installed.
    """
    data, evaluator = _classes(backend)
    with contextlib.redirect_stdout(io.StringIO()):
        known = _indexed(data, truth)
        found = known.loadRes(detections) if len(detections) else _indexed(data, {**truth, "annotations": []})
        run = evaluator(known, found, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision = np.asarray(run.eval["precision"])[:, :, :, 0, -1]  # IoUs x recalls x classes; all sizes, 100 detections
    each = [values[values > -1].mean() if (values > -1).any() else -1.0 for values in np.moveaxis(precision, 2, 0)]
    return np.asarray(run.stats, dtype=np.float64)[:12], np.array(each)


def _indexed(data: Any, content: dict[str, list]) -> Any:
    filled = data()
    filled.dataset = content
    filled.createIndex()
    return filled


def _classes(backend: str | None) -> tuple[Any, Any]:
    if backend is not None and backend not in BACKENDS:
        hint = did_you_mean(backend, BACKENDS)
        raise UserError(f"no COCO evaluator '{backend}'{hint}; there are {', '.join(BACKENDS)}")
    for name in [backend] if backend else list(BACKENDS):
        try:
            first, second = (getattr(importlib.import_module(module), kind) for module, kind in BACKENDS[name])
        except ImportError:
            continue
        if name == "pycocotools" and backend is None:
            hint = "COCO is evaluated by pycocotools; pip install hotcoco does the same a hundred times faster"
            print_log(hint, logger="current", level=logging.INFO)
        return first, second
    raise UserError(f"COCO's evaluation needs {backend or ', '.join(BACKENDS)}: pip install {backend or 'hotcoco'}")
