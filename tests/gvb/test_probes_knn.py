"""Nearest neighbours: against a naive loop, against scikit-learn, and for any size of the parts."""

import math

import numpy as np
import pytest
import torch
from probe_samples import blobs, digits
from sklearn.neighbors import KNeighborsClassifier

from interngv.gvb.probes import ProbeData, Samples, knn
from interngv.gvb.probes.neighbours import Votes, nearest

GRID = [{"k": k, "votes": votes} for k in (1, 4, 20) for votes in ("weighted", "plain")]


def votes_of(samples: Samples, temperature: float = 0.07, rows: int = 1024, chunk: int = 65536) -> Votes:
    memory = Samples(torch.nn.functional.normalize(samples.features), samples.labels)
    return Votes(memory, int(samples.labels.max()) + 1, temperature, (rows, chunk), GRID)


def naive(train: Samples, queries: torch.Tensor, k: int, votes: str, temperature: float) -> list[int]:
    found = []
    for query in queries.double():
        near = [
            (float(query @ key / (query.norm() * key.norm())), int(label))
            for key, label in zip(train.features.double(), train.labels, strict=True)
        ]
        tally = [0.0] * (int(train.labels.max()) + 1)
        for similar, label in sorted(near, reverse=True)[:k]:
            tally[label] += math.exp(similar / temperature) if votes == "weighted" else 1
        found.append(tally.index(max(tally)))
    return found


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_against_a_naive_loop(temperature: float) -> None:
    train, queries = blobs(50), blobs(30, seed=1).features
    predicted = votes_of(train, temperature).predict(queries)
    for setting, classes in zip(GRID, predicted, strict=True):
        assert classes.tolist() == naive(train, queries, **setting, temperature=temperature)


@pytest.mark.parametrize("index", range(len(GRID)))
def test_against_scikit_learn(index: int) -> None:
    whole = digits(stop=1200)
    train, queries = whole.at(torch.arange(800)), whole.features[800:]
    weights = (lambda far: np.exp((1 - far) / 0.07)) if GRID[index]["votes"] == "weighted" else "uniform"
    theirs = KNeighborsClassifier(GRID[index]["k"], weights=weights, metric="cosine", algorithm="brute")
    theirs.fit(train.features.double(), train.labels)
    assert votes_of(train).predict(queries)[index].tolist() == theirs.predict(queries.double()).tolist()


@pytest.mark.parametrize(("rows", "chunk"), [(1, 40), (7, 13), (64, 5), (400, 800), (10**6, 10**6)])
def test_parts_of_any_size_give_the_same(rows: int, chunk: int) -> None:
    whole = digits(stop=1200)
    train, queries = whole.at(torch.arange(800)), whole.features[800:]
    expected = votes_of(train).predict(queries)
    assert torch.equal(votes_of(train, rows=rows, chunk=chunk).predict(queries), expected)


def test_no_more_similarities_at_a_time_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    topk = torch.Tensor.topk
    monkeypatch.setattr(torch.Tensor, "topk", lambda x, *args: sizes.append(tuple(x.shape)) or topk(x, *args))
    values, indices = nearest(torch.randn(100, 8), torch.randn(1000, 8), k=5, rows=30, chunk=64)
    assert values.shape == indices.shape == (100, 5)
    assert max(rows for rows, _ in sizes) == 30 and max(columns for _, columns in sizes) == 64


def test_a_tiny_temperature_is_the_nearest_neighbour() -> None:
    train, queries = blobs(), blobs(seed=1).features
    predicted = votes_of(train, temperature=1e-6).predict(queries)
    assert torch.equal(predicted[2], predicted[0]) and torch.equal(predicted[4], predicted[0])


def test_the_grid_shrinks_to_the_samples_there_are() -> None:
    data = ProbeData(blobs(40), blobs(seed=1), 4)
    assert sorted({row["k"] for row in knn(data).table}) == [1, 5, 10, 20]
    assert knn(ProbeData(blobs(), blobs(), 4), ks=(1, 5), votes=("plain",)).at_edge in ((), ("k",))


def test_one_neighbour_is_no_edge() -> None:
    """Samples far apart, two of each: the nearest one decides, and there is nothing below one."""
    points = torch.eye(40).repeat(5, 1) + 0.01 * torch.randn(200, 40, generator=torch.Generator().manual_seed(0))
    samples = Samples(points, torch.arange(200) % 40)
    result = knn(ProbeData(samples, samples, 40), ks=(1, 100, 150), votes=("plain",))
    assert result.chosen["k"] == 1 and result.at_edge == () and result.score == 100
