"""Recall of image-text retrieval against plain loops, a host's recall, and in two processes."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.nn.functional import normalize
from two_processes import in_two_processes

from interngv.amateur import retrieval
from interngv.amateur.retrieval import RetrievalRecall
from interngv.errors import UserError

TOPK = (1, 3, 7)


def features(captions: Sequence[int], ids: Sequence[int] | None = None, seed: int = 0) -> list[BaseDataElement]:
    """Data samples, one a picture with so many captions that look a little like it."""
    generator = torch.Generator().manual_seed(seed)
    numbers = iter(ids or ())
    samples = []
    for count in captions:
        image = torch.randn(6, generator=generator)
        texts = image + 1.5 * torch.randn(count, 6, generator=generator)
        sample = BaseDataElement(image_feature=normalize(image, dim=0), text_features=normalize(texts, dim=1))
        if ids is not None:
            sample.caption_id = torch.tensor([next(numbers) for _ in range(count)])
        samples.append(sample)
    return samples


def evaluated(samples: Sequence[BaseDataElement], size: int | None = None) -> dict[str, float]:
    evaluator = Evaluator(RetrievalRecall(TOPK))
    for start in range(0, len(samples), 3):
        evaluator.process(data_samples=samples[start : start + 3], data_batch=None)
    return evaluator.evaluate(size or len(samples))


def place(scores: Sequence[float], right: set[int]) -> int:
    """How many wrong ones stand before the best right one, which comes last among its equals."""
    best = max(scores[index] for index in right)
    return sum(score >= best for index, score in enumerate(scores) if index not in right)


def plain(samples: Sequence[BaseDataElement]) -> dict[str, float]:
    """By loops over queries: each picture over the different captions, each caption over the pictures."""
    texts: dict[object, Tensor] = {}
    owners: dict[object, set[int]] = {}
    for number, sample in enumerate(samples):
        for row, text in enumerate(sample.text_features):
            key = int(sample.caption_id[row]) if "caption_id" in sample else (number, row)
            texts.setdefault(key, text)
            owners.setdefault(key, set()).add(number)
    keys = list(texts)
    places: dict[str, list[int]] = {"i2t": [], "t2i": []}
    for number, sample in enumerate(samples):
        scores = [float(sample.image_feature @ texts[key]) for key in keys]
        places["i2t"].append(place(scores, {row for row, key in enumerate(keys) if number in owners[key]}))
    for key in keys:
        places["t2i"].append(place([float(one.image_feature @ texts[key]) for one in samples], owners[key]))
    found = {
        f"retrieval/{way}_R@{k}": 100 * sum(rank < k for rank in ranks) / len(ranks)
        for way, ranks in places.items()
        for k in TOPK
    }
    return found | {"retrieval/mean": sum(found.values()) / len(found)}


SHARED_IDS = [1, 2, 3, 3, 4, 2, 5, 6, 7, 1, 8, 9, 10, 11, 2, 12, 13, 14]


@pytest.mark.parametrize("ids", [None, SHARED_IDS])
@pytest.mark.parametrize("chunk", [2, 256])
def test_equals_plain_loops(ids: list[int] | None, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_CHUNK", chunk)
    samples = features([1, 2, 3, 1, 4, 2, 5], ids)
    if ids:  # captions of one number have one feature
        rows = [(sample.text_features, row) for sample in samples for row in range(len(sample.text_features))]
        for (texts, row), number in zip(rows, ids, strict=True):
            first, first_row = rows[ids.index(number)]
            texts[row] = first[first_row]
    found = evaluated(samples)
    assert found == pytest.approx(plain(samples))
    assert 0 < found["retrieval/i2t_R@1"] < 100 and 0 < found["retrieval/t2i_R@1"] < 100


def test_equals_the_hosts_recall_where_every_picture_has_one_caption() -> None:
    from mmpretrain.evaluation import RetrievalRecall as HostRecall

    samples = features([1] * 40, seed=3)
    images = torch.stack([sample.image_feature for sample in samples])
    texts = torch.cat([sample.text_features for sample in samples])
    found = evaluated(samples)
    for way, scores in (("i2t", images @ texts.T), ("t2i", texts @ images.T)):
        theirs = HostRecall.calculate(scores, [[row] for row in range(40)], TOPK, target_indices=True)
        assert [found[f"retrieval/{way}_R@{k}"] for k in TOPK] == pytest.approx([float(one) for one in theirs])


def test_a_model_that_says_the_same_of_everything_finds_nothing() -> None:
    one = normalize(torch.ones(6), dim=0)
    samples = [BaseDataElement(image_feature=one, text_features=one.expand(2, -1)) for _ in range(20)]
    assert set(evaluated(samples).values()) == {0.0}


def test_class_names_as_captions_give_the_accuracy_of_zero_shot_classification() -> None:
    """Six pictures of three classes, the caption of each its class's name: found first is classified right."""
    names = normalize(torch.eye(3), dim=1)
    images = normalize(torch.tensor([[3.0, 1, 0], [1, 2, 0], [0, 3, 1], [0, 1, 3], [1, 0, 2], [0, 3, 2]]), dim=1)
    labels = [0, 0, 1, 1, 2, 2]
    samples = [
        BaseDataElement(image_feature=image, text_features=names[[label]], caption_id=torch.tensor([label]))
        for image, label in zip(images, labels, strict=True)
    ]
    found = evaluated(samples)
    assert found["retrieval/i2t_R@1"] == pytest.approx(50) and found["retrieval/i2t_R@3"] == 100
    assert found["retrieval/t2i_R@1"] == pytest.approx(200 / 3)  # the third name is more like the fourth picture


def test_repeated_samples_of_a_last_round_do_not_count() -> None:
    samples = features([2, 1, 3, 2, 1])
    assert evaluated([*samples, samples[0], samples[1]], size=5) == evaluated(samples)


def in_a_process(rank: int, counts: list[int], ids: list[int] | None) -> dict[str, Tensor]:
    samples = features(counts, ids)
    dealt = [*samples, *samples][rank : len(samples) + len(samples) % 2 : 2]  # as mmengine's sampler deals
    evaluator = Evaluator(RetrievalRecall(TOPK))
    evaluator.process(data_samples=dealt, data_batch=None)
    found = evaluator.evaluate(len(samples))
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


@pytest.mark.parametrize("ids", [None, list(range(15))])
def test_two_processes_agree_with_one(ids: list[int] | None, tmp_path: Path) -> None:
    counts = [1, 2, 3, 1, 4, 2, 2]
    expected = plain(features(counts, ids))
    for found in in_two_processes(in_a_process, tmp_path, counts, ids):
        assert {name: value.item() for name, value in found.items()} == pytest.approx(expected)


def fails_in_a_process(rank: int) -> dict[str, Tensor]:
    metric = RetrievalRecall()
    metric.process(None, [one.to_dict() for one in features([1])] if rank == 0 else [])
    with pytest.raises(UserError, match="a process evaluated no sample"):
        metric.evaluate(1)
    return {}


def test_every_process_says_that_one_has_no_sample(tmp_path: Path) -> None:
    in_two_processes(fails_in_a_process, tmp_path)


def changed(**fields: object) -> list[BaseDataElement]:
    samples = features([2, 1], [1, 2, 3])
    for key, value in fields.items():
        samples[1].set_field(value, key)
    return samples


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "a process evaluated no sample"),
        (changed(image_feature=torch.full((6,), torch.nan)), "features that are not finite"),
        (changed(caption_id=torch.tensor([3, 4])), "2 caption_id for 1 captions; choose='all'"),
        ([changed()[0], features([1])[0]], "2 of 3 captions have a caption_id"),
        ([BaseDataElement(image_feature=torch.ones(6), img_path="a.jpg")], "a.jpg has no text_features"),
    ],
)
def test_what_cannot_be_evaluated_is_named(samples: list[BaseDataElement], message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluated(samples, size=2)


@pytest.mark.parametrize("topk", [(), (0,), (5, -1)])
def test_a_wrong_k_is_refused(topk: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        RetrievalRecall(topk)


def test_is_found_by_its_name() -> None:
    assert type(METRICS.build(dict(type="interngv.RetrievalRecall"))) is RetrievalRecall
