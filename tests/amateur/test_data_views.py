"""The base config of two views: MoCo v2's augmentation as mmpretrain states it, checked and run on a real picture."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from sklearn.datasets import load_sample_image

from interngv.amateur.text import BPETokenizer
from interngv.engine.config import check_config, load_config

BASE = Path(__file__).parents[2] / "configs/_base_/up_a/two_views.py"
CONFIG = """
_base_ = ["{base}", "{runtime}"]

crop = [dict(type="RandomResizedCrop", scale=32, crop_ratio_range=(0.2, 1.0), backend="pillow")]
views = [dict(type="MultiView", num_views=2, transforms=[crop + _base_.jitter])]
caption = [dict(type="interngv.EncodeCaption", tokenizer=dict(type="interngv.BPETokenizer", vocabulary="{vocabulary}"))]
pairs = dict(batch_size=2, dataset=dict(data_root="{root}", pipeline=_base_.load + views + caption + _base_.pack))
train_dataloader = dict(sources=dict(pairs=pairs))
train_cfg = dict(type="interngv.MetaTrainLoop", max_iters=1)
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """At another size, as a data set's config inherits it, with one real photograph."""
    cv2.imwrite(str(tmp_path / "china.jpg"), load_sample_image("china.jpg")[:200, :300, ::-1])
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"image": "china.jpg", "captions": ["a temple"]}))
    BPETokenizer.train(["a temple"] * 3, vocab_size=520).save(tmp_path / "vocabulary.json")
    runtime = BASE.parents[1] / "default_runtime.py"
    text = CONFIG.format(base=BASE, runtime=runtime, vocabulary=tmp_path / "vocabulary.json", root=tmp_path)
    (tmp_path / "config.py").write_text(text)
    return load_config(str(tmp_path / "config.py"))


def test_the_augmentation_is_that_of_mmpretrains_moco_v2() -> None:
    theirs = load_config("mmpretrain::_base_/datasets/imagenet_bs32_mocov2").to_dict()
    ours = load_config(str(BASE)).to_dict()
    views = next(step for step in ours["pairs"]["dataset"]["pipeline"] if step["type"] == "MultiView")
    steps = views["transforms"][0]
    assert views["num_views"] == 2 and len(steps) == len(theirs["view_pipeline"])
    for one, other in zip(steps, theirs["view_pipeline"], strict=True):
        weights = [step.pop("channel_weights", ()) for step in (one, other)]
        assert weights[0] == pytest.approx(weights[1], abs=2e-4)
        assert {**one} == {"direction": "horizontal", **other} if one["type"] == "RandomFlip" else one == other
    assert ours["data_preprocessor"] == theirs["data_preprocessor"]


def test_a_config_at_another_size_passes_the_check_and_gives_two_views(config: Config) -> None:
    check_config(config)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        sample = DATASETS.build(config.train_dataloader.sources.pairs.dataset)[0]
    assert config.train_dataloader.sources.pairs.collate_fn.type == "default_collate"
    first, second = sample["inputs"]
    assert first.shape == second.shape == (3, 32, 32) and not first.equal(second)
    assert sample["data_samples"].text.shape == (1, 77) and sample["data_samples"].caption_id.ndim == 0
    assert sample["data_samples"].img_path.endswith("china.jpg") and "ori_shape" not in sample["data_samples"]


def test_a_fifth_of_the_views_is_grey_and_half_is_flipped(config: Config) -> None:
    """Of 400 views, on a picture whose left half is red and whose right half is blue."""
    np.random.seed(0)
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, :16, 2] = picture[:, 16:, 0] = 200
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        jitter: list[Any] = [TRANSFORMS.build(step) for step in load_config(str(BASE)).jitter]
    grey = flipped = 0
    for _ in range(400):
        sample = {"img": picture.copy()}
        for step in jitter:
            sample = step(sample)
        seen = sample["img"].astype(int)
        is_grey = bool((seen[..., 0] == seen[..., 2]).all())
        grey += is_grey
        flipped += not is_grey and seen[16, 4, 0] > seen[16, 4, 2]
    assert 50 < grey < 110 and 0.4 < flipped / (400 - grey) < 0.6
