"""Nearest neighbours by cosine similarity, exact, in bounded memory.

Weighted votes are those of instance discrimination (Wu et al., CVPR 2018) and DINO (Caron et al., ICCV 2021): a
neighbour with similarity s counts exp(s / temperature). Plain votes count one each; the smallest class wins a tie.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from interngv.errors import UserError, did_you_mean
from interngv.gvb.probes.data import ProbeData, Samples
from interngv.gvb.probes.result import ProbeResult, Setting
from interngv.gvb.probes.selection import select_and_test

KS = (1, 5, 10, 20, 50, 100, 200)
VOTES = ("weighted", "plain")
ROWS, CHUNK = 1024, 2**16  # queries and training samples compared at a time


def knn(
    data: ProbeData,
    ks: Sequence[int] | None = None,
    votes: Sequence[str] = VOTES,
    temperature: float = 0.07,
    rows: int = ROWS,
    chunk: int = CHUNK,
) -> ProbeResult:
    """k-nearest-neighbour classification with the best k; how it is chosen: :mod:`interngv.gvb.probes.selection`.

    Args:
        data: the task.
        ks: numbers of neighbours; ``KS`` as far as there are training samples.
        votes: ways of voting to try.
        temperature: of weighted votes.
        rows: queries that are compared at a time ...
        chunk: ... with so many training samples: memory is about ``rows * chunk`` similarities.

    Raises:
        UserError: a k below one or above the number of training samples that a choice leaves, an unknown way of voting,
            a temperature that is not above zero.
    """
    if ks is None:
        ks = [k for k in KS if k <= len(data.train.labels) * (1 if data.val else 1 - data.held_out)] or [1]
    if unknown := [name for name in votes if name not in VOTES]:
        raise UserError(f"votes {unknown[0]!r} is none of {', '.join(VOTES)}{did_you_mean(unknown[0], VOTES)}")
    if not 0 < temperature < math.inf:
        raise UserError(f"temperature is a finite number above zero, got {temperature}")

    def method(samples: Samples) -> Callable[[Sequence[Setting]], Votes]:
        memory = Samples(normalize(samples.features), samples.labels)
        return partial(Votes, memory, data.num_classes, temperature, (rows, chunk))

    grid = [{"k": int(k), "votes": name} for k in ks for name in votes]
    return select_and_test(data, method, grid, fallback={"k": 1, "votes": "weighted"}, limits={"k": 1})


def nearest(queries: Tensor, keys: Tensor, k: int, rows: int = ROWS, chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """Similarities and indices (Q, k) of the keys (N, D) most like each query (Q, D), the most alike first.

    Similarity is the inner product. Never are more than ``rows * (chunk + 2 * k)`` similarities in memory.
    """
    found = [_nearest(part, keys, k, chunk) for part in queries.split(rows)]
    return torch.cat([values for values, _ in found]), torch.cat([indices for _, indices in found])


def _nearest(queries: Tensor, keys: Tensor, k: int, chunk: int) -> tuple[Tensor, Tensor]:
    values = queries.new_empty(len(queries), 0)
    indices = torch.empty_like(values, dtype=torch.long)
    for start in range(0, len(keys), chunk):
        similar = queries @ keys[start : start + chunk].T
        new, places = similar.topk(min(k, similar.shape[1]))
        values, indices = torch.cat([values, new], 1), torch.cat([indices, places + start], 1)
        values, order = values.topk(min(k, values.shape[1]))
        indices = indices.gather(1, order)
    return values, indices


@dataclass(frozen=True)
class Votes:
    """Votes of the nearest training samples (a :class:`interngv.gvb.probes.selection.Model`).

    Args:
        memory: training samples, their features of unit length.
        num_classes: number of classes.
        temperature: of weighted votes.
        sizes: queries and training samples compared at a time.
        settings: G ways to vote: ``k`` and ``votes``.
    """

    memory: Samples
    num_classes: int
    temperature: float
    sizes: tuple[int, int]
    settings: Sequence[Setting]

    def __post_init__(self) -> None:
        count = len(self.memory.labels)
        for setting in self.settings:
            if not 1 <= setting["k"] <= count:
                raise UserError(f"k is 1 to {count}, the number of samples to be a neighbour of, got {setting['k']}")

    @property
    def notes(self) -> list[dict[str, Any]]:
        """Nothing to note."""
        return [{} for _ in self.settings]

    def predict(self, features: Tensor) -> Tensor:
        """(G, N) classes of features (N, D)."""
        most = max(setting["k"] for setting in self.settings)
        predicted = []
        for queries in normalize(features).split(self.sizes[0]):
            similar, indices = nearest(queries, self.memory.features, most, *self.sizes)
            # Relative to the nearest one, which changes no vote and cannot overflow.
            weighted = ((similar - similar[:, :1]) / self.temperature).exp()
            weights = {"plain": torch.ones_like(similar), "weighted": weighted}
            labels = self.memory.labels[indices]
            predicted.append(torch.stack([self._vote(labels, weights[x["votes"]], x["k"]) for x in self.settings]))
        return torch.cat(predicted, 1)

    def _vote(self, labels: Tensor, weights: Tensor, k: int) -> Tensor:
        votes = weights.new_zeros(len(labels), self.num_classes)
        return votes.scatter_add_(1, labels[:, :k], weights[:, :k]).argmax(1)
