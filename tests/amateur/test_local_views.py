"""The views' transform: boxes and flips are those of pictures whose pixels say where they are; its way into a model."""

import random
import re

import numpy as np
import pytest
import torch

pytest.importorskip("mmpretrain")

from mmengine.dataset import Compose, default_collate
from mmengine.registry import MODELS, TRANSFORMS

from interngv.amateur.local import LocalViews
from interngv.amateur.local.geometry import ViewGeometry

VIEW = dict(crop=dict(scale=32, crop_ratio_range=(0.2, 1.0)), flip=0.5)
COLOURS = [
    dict(type="mmpretrain.ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    dict(type="mmpretrain.RandomGrayscale", prob=0.2, keep_channels=True),
    dict(type="mmpretrain.GaussianBlur", magnitude_range=(0.1, 2.0), magnitude_std="inf", prob=0.5),
]


def where() -> np.ndarray:
    """(80, 120, 3) float32: a pixel's x and y, of its centre, and nothing."""
    x, y = np.meshgrid(np.arange(120) + 0.5, np.arange(80) + 0.5)
    return np.stack((x, y, np.zeros_like(x)), -1).astype(np.float32)


def seeded(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)


def built(*views: dict) -> LocalViews:
    return TRANSFORMS.build(dict(type="interngv.LocalViews", views=list(views)))


def test_pixels_are_where_box_and_flip_say() -> None:
    seeded(0)
    transform, flips = built(VIEW, VIEW), []
    for _ in range(30):
        results = transform({"img": where()})
        assert results["view_boxes"].shape == (2, 4) and results["view_flips"].dtype == torch.bool
        for view, box, flip in zip(results["img"], results["view_boxes"], results["view_flips"], strict=True):
            place = ViewGeometry(box[None], flip[None], (32, 32))
            slack = 0.5 + (box[2:] - box[:2]).max().item() / 32  # what interpolation does at the borders
            xs, ys = place.columns(32)[0].numpy(), place.rows(32)[0].numpy()
            np.testing.assert_allclose(view[..., 0], np.tile(xs, (32, 1)), atol=slack)
            np.testing.assert_allclose(view[..., 1], np.tile(ys[:, None], (1, 32)), atol=slack)
            inner = np.s_[4:-4, 4:-4]
            np.testing.assert_allclose(view[inner][..., 0], np.tile(xs, (32, 1))[inner], atol=0.02)
            assert (np.diff(view[5, :, 0]) <= 0).all() == bool(flip)
            flips.append(bool(flip))
    assert 15 < sum(flips) < 45


def test_boxes_spread_over_the_image() -> None:
    seeded(0)
    transform = built(VIEW)
    boxes = torch.cat([transform({"img": where()})["view_boxes"] for _ in range(100)])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= 120).all() and (boxes[:, 3] <= 80).all()
    shares = (boxes[:, 2:] - boxes[:, :2]).prod(1) / (120 * 80)
    assert 0.19 < shares.min() < 0.35 and shares.max() > 0.7 and boxes[:, 0].max() > 40


def test_views_follow_the_global_generators() -> None:
    transform = built(dict(VIEW, photometric=COLOURS), dict(VIEW, photometric=COLOURS))
    picture = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)

    def run(seed: int) -> dict:
        seeded(seed)
        return transform({"img": picture.copy()})

    one, same, other = run(1), run(1), run(2)
    assert torch.equal(one["view_boxes"], same["view_boxes"]) and not torch.equal(
        one["view_boxes"], other["view_boxes"]
    )
    for first, second in zip(one["img"], same["img"], strict=True):
        assert first.dtype == np.uint8 and np.array_equal(first, second)


def test_colours_change_pixels_and_no_places() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    seeded(3)
    plain = built(VIEW)({"img": picture})
    seeded(3)
    jittered = built(dict(VIEW, photometric=COLOURS))({"img": picture})
    assert torch.equal(plain["view_boxes"], jittered["view_boxes"])
    assert torch.equal(plain["view_flips"], jittered["view_flips"])
    assert not np.array_equal(plain["img"][0], jittered["img"][0])


@pytest.mark.parametrize("shape", [(80, 120, 3), (80, 120, 1), (80, 120), (1, 1, 3), (7, 300, 3)])
def test_pictures_of_any_form(shape: tuple) -> None:
    seeded(0)
    results = built(VIEW, dict(crop=dict(scale=(16, 24))))({"img": np.zeros(shape, np.uint8)})
    assert [view.shape[:2] for view in results["img"]] == [(32, 32), (16, 24)]
    boxes = results["view_boxes"]
    assert (boxes[:, 2:] > boxes[:, :2]).all() and (boxes[:, 2] <= shape[1]).all() and (boxes[:, 3] <= shape[0]).all()
    assert not results["view_flips"][1]


def test_batches_carry_places_and_boxes_to_a_model() -> None:
    keys = ("view_boxes", "view_flips", "proposals")
    pack = dict(type="mmpretrain.PackInputs", algorithm_keys=keys)
    small = dict(crop=dict(scale=(16, 24)))
    pipeline = Compose([dict(type="interngv.LocalViews", views=[VIEW, VIEW, small]), pack])
    seeded(0)
    pictures = [np.zeros((80, 120, 3), np.uint8) for _ in range(4)]
    items = [pipeline({"img": one, "proposals": torch.zeros(n, 4)}) for n, one in enumerate(pictures)]
    processor = MODELS.build(dict(type="mmpretrain.SelfSupDataPreprocessor", mean=[1.0] * 3, std=[2.0] * 3))
    batch = processor(default_collate(items), True)
    assert [tuple(view.shape) for view in batch["inputs"]] == [(4, 3, 32, 32), (4, 3, 32, 32), (4, 3, 16, 24)]
    for count, (item, sample) in enumerate(zip(items, batch["data_samples"], strict=True)):
        assert torch.equal(sample.view_boxes, item["data_samples"].view_boxes) and sample.view_flips.shape == (3,)
        assert sample.proposals.shape == (count, 4)


def test_what_moves_pixels_is_no_photometric_transform() -> None:
    transform = built(dict(VIEW, photometric=[dict(type="mmcv.Resize", scale=(16, 16))]))
    with pytest.raises(ValueError, match=re.escape("made (16, 16) of a view of (32, 32)")):
        transform({"img": np.zeros((40, 40, 3), np.uint8)})


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([], "a dict a view"),
        ([VIEW, dict(flip=0.5)], "views[1]: a view needs crop=dict(scale=...)"),
        ([dict(VIEW, flip=1.5)], "views[0].flip=1.5: expected a probability"),
        (
            [dict(VIEW, photometrics=[])],
            "views[0].photometrics: a view takes crop, flip, photometric only; did you mean",
        ),
    ],
)
def test_wrong_views_are_refused(views: list, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        LocalViews(views)
