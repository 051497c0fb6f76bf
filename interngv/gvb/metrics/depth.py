"""Errors of estimated depth."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from interngv.errors import UserError, did_you_mean
from interngv.gvb.metrics.base import Counts, Metric, Sample, check_finite, picture, planes
from interngv.registry import METRICS

NYU_SIZE = (480, 640)
_NYU = (slice(45, 471), slice(41, 601))
_SHARES = {  # top, bottom, left, right as shares of height and width
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen_kitti": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}
CROPS = (*_SHARES, "eigen_nyu")
SCORES = ("rmse", "abs_rel", "sq_rel", "delta1", "delta2", "delta3", "silog", "log10")


@METRICS.register_module()
class DepthErrorMetric(Metric):
    """Depth errors as the code of Eigen et al. (arXiv 1406.2283) and BTS (arXiv 1907.10326) takes them.

    Each error is taken in a picture over the pixels with ``min_depth < depth < max_depth`` inside the crop; the mean
    over *pictures* is reported, not over pixels. Predictions are clamped to ``[min_depth, max_depth]``. ``rmse`` and
    ``sq_rel`` are in metres, ``abs_rel`` and ``log10`` have no unit, ``delta1..3`` (ratio below 1.25, 1.25^2, 1.25^3)
    are in percent, ``silog`` is 100 sqrt(mean d^2 - (mean d)^2) with d = log prediction - log depth (KITTI).

    Ground truth of 0, inf or nan is masked and counted, as is what lies beyond the cap; a picture without a pixel that
    counts is left out and counted. mmsegmentation's ``DepthMetric`` keeps every pixel in memory, raises a TypeError
    where it is given ``depth_metrics``, has no crop for KITTI, does not clamp (a prediction of 0 gives inf), makes the
    whole set nan for one picture without depth, and halves the second term of SILog.

    Args:
        min_depth, max_depth: metres; 80 for KITTI, 10 for NYUv2.
        crop: ``'garg'`` (arXiv 1603.04992) or ``'eigen_kitti'`` for KITTI, ``'eigen_nyu'`` for NYUv2 (480 x 640).
    """

    def __init__(
        self, min_depth: float = 1e-3, max_depth: float = 10.0, crop: str | None = None, **kwargs: Any
    ) -> None:
        if crop is not None and crop not in CROPS:
            raise UserError(f"no crop '{crop}' for depth{did_you_mean(crop, CROPS)}; there are {', '.join(CROPS)}")
        if not 0 < min_depth < max_depth < np.inf:
            raise UserError(f"depth needs 0 < min_depth < max_depth, got {min_depth} and {max_depth}")
        super().__init__(**kwargs)
        self.min_depth, self.max_depth, self.crop = min_depth, max_depth, crop

    def measure(self, sample: Sample, counts: Counts) -> np.ndarray | None:
        """(8,) errors of one picture in the order of ``SCORES``; None where no pixel counts.

        Raises:
            UserError: sizes differ, a predicted depth is not finite, an annotated one is negative.
        """
        maps = planes(sample, "pred_depth_map", "gt_depth_map")
        predicted, truth = (one.astype(np.float64) for one in maps)
        check_finite(predicted, "predicted depths", sample)
        if (truth < 0).any():
            raise UserError(f"{picture(sample)}: depth {truth.min():g} m: a 16-bit file was read with a sign")
        area = self._area(truth.shape, sample)
        predicted, truth = predicted[area], truth[area]
        known = np.isfinite(truth) & (truth > self.min_depth)
        valid = known & (truth < self.max_depth)
        counts.update(pixels_without_depth=int((~known).sum()), pixels_beyond_the_cap=int((known & ~valid).sum()))
        if not valid.any():
            counts["pictures_without_depth"] += 1
            return None
        return errors(predicted[valid].clip(self.min_depth, self.max_depth), truth[valid])

    def _area(self, shape: tuple[int, ...], sample: Sample) -> tuple[slice, ...]:
        if self.crop is None:
            return ()
        if self.crop == "eigen_nyu":
            if shape != NYU_SIZE:
                raise UserError(f"{picture(sample)}: the crop of NYUv2 is for {NYU_SIZE} pixels, depth has {shape}")
            return _NYU
        top, bottom, left, right = _SHARES[self.crop]
        height, width = shape
        return slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width))

    def summary(self, results: Sequence[np.ndarray | None], counts: Counts) -> dict[str, float]:
        """Means over pictures, by the names of ``SCORES``.

        Raises:
            UserError: no picture has a pixel that counts.
        """
        measured = [one for one in results if one is not None]
        if not measured:
            raise UserError(
                f"DepthErrorMetric: no picture of the test set has depth between {self.min_depth:g} and "
                f"{self.max_depth:g} m: is the ground truth in metres?"
            )
        return dict(zip(SCORES, np.mean(measured, axis=0).tolist(), strict=True))


def errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(8,) errors of one picture in the order of ``SCORES``; both (n,) in metres, above 0."""
    difference, log = predicted - truth, np.log(predicted) - np.log(truth)
    ratio = np.maximum(predicted / truth, truth / predicted)
    return np.array(
        [
            np.sqrt(np.mean(difference**2)),
            np.mean(np.abs(difference) / truth),
            np.mean(difference**2 / truth),
            *(100 * np.mean(ratio < 1.25**power) for power in (1, 2, 3)),
            100 * log.std(),
            np.mean(np.abs(log)) / np.log(10),
        ]
    )
