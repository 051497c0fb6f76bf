"""GV-B's linear probe by SGD, a whole grid of learning rates, weight decays and momenta in one batched computation.

The schedule is the released one (gv-benchmark, configs/cls/linear_probe): SGD with learning rate .01, momentum .9 and
weight decay .001; times .1 after 3000, 6000 and 9000 of 10 000 steps; 8 x 64 samples a step; cross entropy; one layer.
The published table is "with hyper-parameter searching" whose grid is not known; the default one here is our own [I].

All G heads see the same minibatches from the same start: two matrix products a step, (B, D) by (D, G * K) and back, are
the whole computation. Head g ends where a single run with its hyper-parameters would.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from interngv.errors import UserError
from interngv.gvb.probes.data import ProbeData, Samples
from interngv.gvb.probes.linear import LinearHeads, Standardisation
from interngv.gvb.probes.result import ProbeResult, Setting
from interngv.gvb.probes.selection import select_and_test

RELEASED = {"lr": 0.01, "weight_decay": 0.001, "momentum": 0.9}
LRS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
WEIGHT_DECAYS = (0.0, 0.0001, 0.001, 0.01)
MOMENTA = (0.9,)
_LIMITS = {"weight_decay": 0.0, "momentum": 0.0}


@dataclass(frozen=True)
class Schedule:
    """Steps, samples a step, and the steps after which the learning rate is multiplied by ``gamma``."""

    iterations: int = 10_000
    batch_size: int = 512  # 64 on each of 8 GPUs
    milestones: tuple[int, ...] = (3000, 6000, 9000)
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.batch_size < 1:
            raise UserError(f"a schedule needs at least one step of at least one sample, got {self}")

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied by at a step, counted from zero."""
        return self.gamma ** bisect_right(sorted(self.milestones), step)


def sgd_grid(
    data: ProbeData,
    lrs: Sequence[float] = LRS,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
    momenta: Sequence[float] = MOMENTA,
    schedule: Schedule | None = None,
    normalise: bool = False,
) -> ProbeResult:
    """A linear head by SGD with the best hyper-parameters; how: :mod:`interngv.gvb.probes.selection`.

    With one value of each, as in ``RELEASED``, nothing is chosen and the head is that of the released probe. Where
    nothing can be held out, ``RELEASED`` is used. Every class has an output, with or without training samples.

    Args:
        data: the task.
        lrs: learning rates.
        weight_decays: of weights and bias alike, as PyTorch's SGD.
        momenta: in [0, 1).
        schedule: the released one where not given.
        normalise: standardise the features with the mean and deviation of the samples trained on (a batch norm without
            parameters, as if the batch were all of them). The released probe does not.

    Raises:
        UserError: a hyper-parameter outside its range, an empty grid, training diverged for every setting.
    """
    grid = [dict(zip(RELEASED, values, strict=True)) for values in product(lrs, weight_decays, momenta)]
    for setting in grid:
        if not (0 < setting["lr"] < float("inf") and setting["weight_decay"] >= 0 and 0 <= setting["momentum"] < 1):
            raise UserError(f"SGD takes lr above 0, weight_decay of at least 0 and momentum in [0, 1), got {setting}")
    steps = schedule or Schedule()

    def method(samples: Samples) -> "_Training":
        return _Training(samples, data.num_classes, steps, normalise, data.seed)

    return select_and_test(data, method, grid, fallback=RELEASED, limits=_LIMITS)


def minibatches(n: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of sample indices, those of mmengine's ``InfiniteSampler``.

    A batch is the next part of a stream of random orders of all n samples. It is what all ranks of a distributed run
    draw together where ``batch_size`` is the sum of theirs.
    """
    generator = torch.Generator().manual_seed(seed)
    stream = torch.empty(0, dtype=torch.long)
    while True:
        orders = [torch.randperm(n, generator=generator) for _ in range(-(-(batch_size - len(stream)) // n))]
        stream = torch.cat([stream, *orders])
        *batches, last = stream.split(batch_size)
        yield from batches
        if full := len(last) == batch_size:
            yield last
        stream = last[:0] if full else last


def initial_head(num_classes: int, width: int, seed: int) -> Tensor:
    """(K, D + 1) weights and, in the last column, zero biases.

    Kaiming-uniform over the outputs as mmengine's initialiser calls it: with ``nonlinearity='relu'``, for which PyTorch
    does not read the release's a = sqrt(5).
    """
    head = torch.zeros(num_classes, width + 1)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.empty(num_classes, width)
    torch.nn.init.kaiming_uniform_(weight, 5**0.5, mode="fan_out", nonlinearity="relu", generator=generator)
    head[:, :-1] = weight
    return head


class _Training:
    """SGD on one set of samples."""

    def __init__(self, samples: Samples, num_classes: int, schedule: Schedule, normalise: bool, seed: int) -> None:
        self._scaling = Standardisation.of(samples.features, normalise)
        self._features = self._scaling.apply(samples.features) if normalise else samples.features
        self._labels = samples.labels
        self._classes, self._schedule, self._seed = num_classes, schedule, seed

    def __call__(self, settings: Sequence[Setting]) -> LinearHeads:
        heads = self._scaling.fold(self._trained(settings))
        diverged = (~heads.isfinite().all(2).all(1)).tolist()
        notes: list[dict[str, Any]] = [{"diverged": True} if bad else {} for bad in diverged]
        return LinearHeads(heads, torch.arange(self._classes, device=heads.device), notes)

    def _trained(self, settings: Sequence[Setting]) -> Tensor:
        """(G, K, D + 1)."""
        features = self._features
        lr, decay, momentum = (
            torch.tensor([setting[name] for setting in settings]).to(features)[:, None, None] for name in RELEASED
        )
        start = initial_head(self._classes, features.shape[1], self._seed).to(features)
        heads = start.expand(len(settings), -1, -1).contiguous()
        velocities = torch.zeros_like(heads)
        for step, (batch, labels, shares) in enumerate(self._batches()):
            residuals = _residuals(batch, labels, heads).mul_(shares[:, None])
            velocities.mul_(momentum).addcmul_(decay, heads)
            velocities.flatten(0, 1).addmm_(residuals.T, batch)
            heads.addcmul_(lr * self._schedule.factor(step), velocities, value=-1)
        return heads

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Features (B, D + 1), with ones for the bias, labels (B,) and shares (B,) in the batch of every step.

        A batch of more samples than there are holds some of them several times: they are computed once.
        """
        size, n = self._schedule.batch_size, len(self._labels)
        with_ones = pad(self._features, (0, 1), value=1.0) if n <= size else None
        for indices in islice(minibatches(n, size, self._seed), self._schedule.iterations):
            if with_ones is not None:
                shares = torch.bincount(indices, minlength=n).to(with_ones) / size
                yield with_ones, self._labels, shares
            else:
                rows = indices.to(self._features.device)
                batch = pad(self._features[rows], (0, 1), value=1.0)
                yield batch, self._labels[rows], batch.new_full((size,), 1 / size)


def _residuals(batch: Tensor, labels: Tensor, heads: Tensor) -> Tensor:
    """(B, G * K): softmax less one-hot labels, the gradient of each sample's cross entropies by the logits."""
    groups, classes, _ = heads.shape
    residuals = (batch @ heads.flatten(0, 1).T).view(-1, groups, classes).softmax(2)
    right = labels[:, None, None].expand(-1, groups, 1)
    residuals.scatter_add_(2, right, residuals.new_full((1, 1, 1), -1).expand_as(right))
    return residuals.flatten(1)
