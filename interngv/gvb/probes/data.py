"""What a probe works on: cached features with labels, checked, and the parts held out to choose hyper-parameters."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from interngv.errors import UserError, did_you_mean

METRICS = ("accuracy", "per_class")
JUDGED, SPLITS = 100, 5  # samples that should judge a setting; splits at most to get there
_ROWS = 2**16  # looked at together, which bounds the memory of a check


class Samples(NamedTuple):
    """Features (N, D) of N samples and their classes (N,)."""

    features: Tensor
    labels: Tensor

    def at(self, indices: Tensor) -> "Samples":
        """The samples with these indices."""
        return Samples(self.features[indices], self.labels[indices])


@dataclass(frozen=True)
class ProbeData:
    """Features and labels of one task.

    Half-precision features become float32; everything else is taken as given, or refused.

    Args:
        train: features (N, D) and integer labels (N,); a class may lack samples.
        test: the same of the set that the score is for.
        num_classes: number of classes; labels are 0 to num_classes - 1.
        val: samples to choose hyper-parameters on. They are never trained on, so that a 10 % list stays one.
        metric: ``'accuracy'``, or ``'per_class'``: the mean over classes of their accuracies.
        held_out: share of the training samples that plays ``val`` where none is given, in (0, 1). Where that is fewer
            than ``JUDGED`` samples, several random splits are made, at most ``SPLITS``.
        seed: of the held-out part and of whatever a probe draws; global random state counts for nothing.

    Raises:
        UserError: an empty set, features that are no finite floating-point matrix (says how many and which sample), of
            another width or on another device than the training features, labels that are no integers, of another
            number than the features, or outside the classes; an unknown metric; a share outside (0, 1).
    """

    train: Samples
    test: Samples
    num_classes: int
    val: Samples | None = None
    metric: str = "accuracy"
    held_out: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UserError(
                f"metric {self.metric!r} is none of {', '.join(METRICS)}{did_you_mean(str(self.metric), METRICS)}"
            )
        if not 0 < self.held_out < 1:
            raise UserError(f"held_out is a share of the training samples in (0, 1), got {self.held_out}")
        for name in ("train", "val", "test"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, checked(name, given, self.num_classes))
        for name in ("val", "test"):
            if (samples := getattr(self, name)) is not None:
                _check_alike(name, samples.features, self.train.features)

    def splits(self) -> list[tuple[Samples, Samples]]:
        """Samples to train on and to choose on, of every split; none where every class has one sample only.

        Without ``val`` a part is split off the training samples: each class gives its share, rounded so that the whole
        has ``held_out`` of all (largest remainders first), and keeps at least one sample.
        """
        if self.val is not None:
            return [(self.train, self.val)]
        first = self._split(0)
        if not (held_out := len(first[1].labels)):
            return []
        return [first, *(self._split(n) for n in range(1, min(SPLITS, math.ceil(JUDGED / held_out))))]

    def _split(self, number: int) -> tuple[Samples, Samples]:
        seed = (self.seed + number * 0x9E3779B9) % 2**32  # far from the small seeds of other tries
        chosen = stratified(self.train.labels.cpu(), self.num_classes, self.held_out, seed).to(self.train.labels.device)
        return self.train.at((~chosen).nonzero()[:, 0]), self.train.at(chosen.nonzero()[:, 0])


def stratified(labels: Tensor, num_classes: int, share: float, seed: int) -> Tensor:
    """(N,) bool: a random ``share`` of every class but never its last sample, at most ``round(share * N)`` in all."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.bincount(labels, minlength=num_classes)
    wanted = counts.double() * share
    sizes = wanted.floor().long()
    spare = torch.where(sizes + 1 < counts, wanted - sizes, -1.0)
    shuffled = torch.randperm(num_classes, generator=generator)  # equal remainders rank at random
    ranked = shuffled[spare[shuffled].argsort(descending=True, stable=True)]
    extra = min(round(share * len(labels)) - int(sizes.sum()), int((spare >= 0).sum()))
    sizes[ranked[: max(extra, 0)]] += 1
    order = torch.randperm(len(labels), generator=generator)
    order = order[labels[order].argsort(stable=True)]
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[order] = place < sizes[labels[order]]
    return chosen


def checked(name: str, given: tuple[Tensor, Tensor], num_classes: int) -> Samples:
    """The samples of a set, or what is wrong with them (:class:`ProbeData`)."""
    features, labels = given
    if features.ndim != 2 or not features.is_floating_point():
        raise UserError(f"{name}: features are a floating-point (N, D) tensor, got {_form(features)}")
    if labels.shape != features.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise UserError(f"{name}: labels are {len(features)} integers, one a sample, got {_form(labels)}")
    if labels.device != features.device:
        raise UserError(f"{name}: features are on {features.device}, labels on {labels.device}; move one to the other")
    if not features.numel():
        raise UserError(f"{name}: no samples, or none of their features, were given: {_form(features)}")
    _check_labels(name, labels, num_classes)
    check_finite(f"{name}: sample", features)
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()  # lossless
    return Samples(features, labels.long())


def check_finite(what: str, features: Tensor) -> None:
    """Raises UserError where a row of (N, D) holds NaN or infinity, with the number of such rows and the first."""
    finite = torch.cat([part.isfinite().all(1) for part in features.split(_ROWS)])
    if bad := int((~finite).sum()):
        first = int((~finite).nonzero()[0])
        raise UserError(
            f"{what} {first} has a feature that is NaN or infinite; so have {bad} of {len(features)} in all"
        )


def _check_labels(name: str, labels: Tensor, num_classes: int) -> None:
    outside = (labels < 0) | (labels >= num_classes)
    if bad := int(outside.sum()):
        first = int(outside.nonzero()[0])
        raise UserError(
            f"{name}: label {int(labels[first])} of sample {first} is outside 0 to {num_classes - 1}, the "
            f"{num_classes} classes; {bad} of {len(labels)} labels are"
        )


def _check_alike(name: str, features: Tensor, train: Tensor) -> None:
    if features.shape[1] != train.shape[1]:
        raise UserError(f"{name}: features are {features.shape[1]} wide, those of train {train.shape[1]}: one trunk?")
    if (features.device, features.dtype) != (train.device, train.dtype):
        here, there = (f"{x.dtype} on {x.device}" for x in (features, train))
        raise UserError(f"{name}: features are {here}, those of train {there}; give both alike")


def _form(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {tensor.dtype}"
