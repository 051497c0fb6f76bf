"""The captions' transform: forms, choice, masks, ids, randomness, and a whole pipeline in workers of two loaders."""

import hashlib
import json
import pickle
import random
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, TRANSFORMS
from PIL import Image
from torch.utils.data import DataLoader

from interngv.amateur.data import EncodeCaption
from interngv.amateur.data.caption import caption_id
from interngv.amateur.text import BPETokenizer
from interngv.engine.random_state import seed_generators
from interngv.errors import UserError

LENGTH = 12
CAPTIONS = ["A dog runs over the green lawn.", "a brown dog", "Ein Hund läuft über die Wiese"]
EDA = dict(wordnet=None, rate=0.5)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("text") / "vocabulary.json"
    BPETokenizer.train(CAPTIONS * 3, vocab_size=560).save(file)
    return dict(type="interngv.BPETokenizer", vocabulary=str(file), context_length=LENGTH)


def encoded(encode: EncodeCaption, seed: int = 0, captions: list[str] = CAPTIONS) -> dict[str, Any]:
    seed_generators(seed)
    return encode(dict(img_path="a.jpg", captions=captions))


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    keys = {"text", "caption_id", "masked_text", "masked_targets"}
    return all(torch.equal(one[key], other[key]) for key in keys & (set(one) | set(other)))


def test_first_random_and_all(tokenizer: dict[str, Any]) -> None:
    ids = BPETokenizer(tokenizer["vocabulary"], LENGTH)(CAPTIONS)
    first = encoded(TRANSFORMS.build(dict(type="interngv.EncodeCaption", tokenizer=tokenizer, choose="first")))
    assert torch.equal(first["text"], ids[:1]) and first["caption_id"].shape == () and first["img_path"] == "a.jpg"
    every = encoded(EncodeCaption(tokenizer, choose="all"))
    assert torch.equal(every["text"], ids) and every["caption_id"].tolist() == list(map(caption_id, CAPTIONS))
    assert not {"masked_text", "masked_targets"} & (set(first) | set(every))
    encode = EncodeCaption(tokenizer)
    drawn = [encoded(encode, seed) for seed in range(60)]
    counts = [sum(torch.equal(one["text"][0], row) for one in drawn) for row in ids]
    assert sum(counts) == 60 and min(counts) > 8
    assert {int(one["caption_id"]) for one in drawn} == set(map(caption_id, CAPTIONS))


def test_the_second_form_is_a_changed_one(tokenizer: dict[str, Any]) -> None:
    encode = EncodeCaption(tokenizer, augment=EDA, choose="first")
    forms = [encoded(encode, seed)["text"] for seed in range(30)]
    assert all(one.shape == (2, LENGTH) and torch.equal(one[0], forms[0][0]) for one in forms)
    changed = [one for one in forms if not torch.equal(one[0], one[1])]
    assert 10 < len(changed) < 30  # a third are synonyms, of which none are known
    words = set(CAPTIONS[0].lower().replace(".", " .").split())
    texts = {encode.tokenizer.decode(one[1]).strip() for one in changed}
    assert len(texts) > 5 and all(set(text.split()) <= words for text in texts)


def test_masked_words_are_those_of_the_first_form(tokenizer: dict[str, Any]) -> None:
    encode = EncodeCaption(tokenizer, augment=EDA, mask=True, choose="first")
    hidden = 0
    for seed in range(30):
        found = encoded(encode, seed)
        text, masked, targets = found["text"][0], found["masked_text"], found["masked_targets"]
        assert masked.shape == targets.shape == (LENGTH,) and masked.dtype == targets.dtype == torch.int64
        chosen = targets != -100
        assert torch.equal(targets[chosen], text[chosen]) and torch.equal(masked[~chosen], text[~chosen])
        hidden += int((masked == encode.tokenizer.mask_id).sum())
    assert hidden > 0


def test_draws_from_the_global_generators_alone(tokenizer: dict[str, Any]) -> None:
    encode = EncodeCaption(tokenizer, augment=EDA, mask=True)
    straight = [encoded(encode, seed) for seed in range(20)]
    again = pickle.loads(pickle.dumps(encode))
    assert all(same(encoded(again, seed), straight[seed]) for seed in reversed(range(20)))
    assert len({tuple(one["text"].flatten().tolist()) for one in straight}) > 5
    seed_generators(0)
    states = random.getstate(), torch.get_rng_state()
    EncodeCaption(tokenizer, choose="all")(dict(captions=CAPTIONS))
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])


def test_ids_of_captions() -> None:
    expected = int.from_bytes(hashlib.sha256(b"a dog on a lawn").digest()[:8], "big", signed=True)
    assert caption_id("A dog  on a lawn ") == caption_id("a dog on a lawn") == expected
    texts = [f"a photo of {number} dogs" for number in range(20_000)]
    ids = torch.tensor([caption_id(text) for text in texts])  # fits 64 bits
    assert len(ids.unique()) == len(texts) and bool((ids < 0).any())
    assert caption_id("half a pair \ud83d") == caption_id("half a pair �")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(choose="al"), "choose='al'; did you mean 'all'"),
        (dict(choose="all", mask=True), "choose='all' is for evaluation"),
        (dict(choose="all", augment=EDA), "choose='all' is for evaluation"),
        (dict(augment=dict(rate=0.1)), "expected dict.wordnet="),
        (dict(augment=dict(EDA, word_net="x")), "expected dict.wordnet="),
        (dict(augment=dict(EDA, rate=2)), "between 0 and 1"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str, tokenizer: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        EncodeCaption(tokenizer, **settings)


def test_a_wordnet_that_is_not_there_and_a_sample_without_captions(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not hold WordNet's files"):
        EncodeCaption(tokenizer, augment=dict(wordnet=str(tmp_path)))
    with pytest.raises(UserError, match="b.jpg has no captions"):
        EncodeCaption(tokenizer)(dict(img_path="b.jpg"))


@pytest.fixture
def set_config(class_folder: Path, tokenizer: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A data set of 24 real pictures with three captions each, at 16 pixels, with two views and all that is random."""
    pictures = sorted((class_folder / "train").rglob("*.[pj][np]g"))[::50][:24]
    rows = [{"image": str(path.relative_to(class_folder)), "captions": CAPTIONS, "label": 1} for path in pictures]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    view = [dict(type="RandomResizedCrop", scale=16), dict(type="RandomFlip", prob=0.5)]
    caption = dict(type="interngv.EncodeCaption", tokenizer=tokenizer, augment=EDA, mask=True)
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="MultiView", num_views=2, transforms=[view]),
        caption,
        dict(type="PackInputs", algorithm_keys=("text", "caption_id", "masked_text", "masked_targets")),
    ]
    return dict(
        type="interngv.ImageTextPairs",
        ann_file=str(tmp_path / "pairs.jsonl"),
        data_prefix=str(class_folder),
        pipeline=pipeline,
        _scope_="mmpretrain",
    )


def test_batches_of_the_hosts_pipeline_have_what_the_model_takes(set_config: dict[str, Any]) -> None:
    from mmengine.dataset import default_collate
    from mmengine.registry import MODELS

    loader = DataLoader(DATASETS.build(set_config), 8, num_workers=2, collate_fn=default_collate)
    batches = list(loader)
    assert len(batches) == 3
    preprocessor = MODELS.build(dict(type="mmpretrain.SelfSupDataPreprocessor", mean=[100.0] * 3, std=[50.0] * 3))
    data = preprocessor(batches[0], training=True)
    first, second = data["inputs"]
    assert first.shape == second.shape == (8, 3, 16, 16) and first.dtype == torch.float32
    assert not torch.equal(first, second) and first.min() < 0
    samples = data["data_samples"]
    assert torch.stack([sample.text for sample in samples], dim=1).shape == (2, 8, LENGTH)
    assert torch.stack([sample.masked_targets for sample in samples]).shape == (8, LENGTH)
    assert {int(sample.caption_id) for sample in samples} <= set(map(caption_id, CAPTIONS))
    assert int(samples[0].gt_label) == 1 and samples[0].img_path.endswith(("png", "jpg"))


def test_a_resumed_loader_draws_the_same_with_any_number_of_workers(set_config: dict[str, Any]) -> None:
    from interngv.engine.multi_task import MetaDataLoader

    source = dict(dataset=set_config, batch_size=5, collate_fn=dict(type="default_collate"))

    def batches(loader: Any, count: int) -> list[Any]:
        return [batch.parts["pairs"].data for batch in islice(loader, count)]

    straight = batches(MetaDataLoader(dict(pairs=source), seed=3), 7)
    stopped, again = (MetaDataLoader(dict(pairs=source), seed=3, num_workers=2) for _ in range(2))
    batches(stopped, 3)
    again.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
    for got, expected in zip(batches(again, 4), straight[3:], strict=True):
        assert all(map(torch.equal, got["inputs"], expected["inputs"]))
        pairs = zip(got["data_samples"], expected["data_samples"], strict=True)
        assert all(same(dict(one.items()), dict(two.items())) for one, two in pairs)


def test_evaluation_keeps_every_caption_of_a_picture(set_config: dict[str, Any], tokenizer: dict[str, Any]) -> None:
    set_config["pipeline"] = [
        dict(type="LoadImageFromFile"),
        dict(type="EncodeCaption", _scope_="interngv", tokenizer=tokenizer, choose="all"),
        dict(type="PackInputs", algorithm_keys=("text", "caption_id")),
    ]
    sample = DATASETS.build(set_config)[0]["data_samples"]
    assert sample.text.shape == (3, LENGTH) and sample.caption_id.tolist() == list(map(caption_id, CAPTIONS))
    assert np.asarray(Image.open(sample.img_path)).shape[0] == 32
