"""Both forms of matching: losses against naive loops, what gets a gradient, what is dropped, nothing in common."""

import math
import random
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("mmcv.ops")
pytest.importorskip("mmdet")

from mmcv.ops import roi_align
from mmdet.registry import MODELS as MMDET

from interngv.amateur.local import BoxMatching, DenseMatching, LocalMatching, SeenView, ViewGeometry
from interngv.amateur.local.box_sources import SIDES, proposed_boxes, random_boxes
from interngv.amateur.local.matching import disagreement, spread

SMALL = dict(hidden=12, out=6)
BOXES = dict(width=8, strides=(4, 8), cells=3, head=10, finest_scale=8, **SMALL)
APART = ([(0, 0, 40, 40)] * 3, [(50, 50, 90, 90)] * 3)
BESIDE = ([(0, 0, 64, 48), (5, 5, 45, 45), (20, 0, 60, 60)], [(10, 8, 60, 58), (0, 0, 70, 50), (0, 20, 55, 64)])
FLIPS = ([False, True, False], [True, True, False])


def geometry(boxes: list, flips: list[bool], size: tuple[int, int]) -> ViewGeometry:
    return ViewGeometry(torch.tensor(boxes, dtype=torch.float32), torch.tensor(flips), size)


def seen(boxes: list, flips: list[bool], size: tuple[int, int] = (32, 32), seed: int = 0) -> SeenView:
    """A view of three images; maps of strides 4 and 8 and 8 channels."""
    generator = torch.Generator().manual_seed(seed)
    grids = [(math.ceil(size[0] / stride), math.ceil(size[1] / stride)) for stride in (4, 8)]
    maps = tuple(torch.randn(3, 8, *grid, generator=generator, requires_grad=True) for grid in grids)
    return SeenView(maps, geometry(boxes, flips, size))


def views(pair: tuple = BESIDE, second_size: tuple[int, int] = (24, 40)) -> tuple[SeenView, SeenView]:
    return seen(pair[0], FLIPS[0]), seen(pair[1], FLIPS[1], second_size, seed=1)


def dense(**changes) -> tuple[LocalMatching, nn.Module]:
    """A matching and a target's projector with other weights; both in eval mode, so that places can go one by one."""
    torch.manual_seed(0)
    matching, other = (DenseMatching(8, **SMALL | changes) for _ in range(2))
    return matching.eval(), other.projector.eval()


def boxes(**changes) -> tuple[LocalMatching, nn.Module]:
    torch.manual_seed(0)
    matching, other = (BoxMatching(**BOXES | changes) for _ in range(2))
    return matching.eval(), other.projector.eval()


def two_minus_two_cos(one: Tensor, other: Tensor) -> Tensor:
    return 2 - 2 * (one @ other) / (one.norm() * other.norm())


# The loss of one comparison


def test_disagreement_is_the_mean_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(4, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    goals = torch.randn(4, 7, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    matched = torch.rand(4, 5, 7, generator=generator) < 0.3
    matched[2] = False
    images = []
    for n in (0, 1, 3):
        pairs = [two_minus_two_cos(own[n, i], goals[n, j].detach()) for i, j in matched[n].nonzero().tolist()]
        images.append(sum(pairs) / len(pairs))
    expected, found = sum(images) / 3, disagreement(own, goals, matched)
    torch.testing.assert_close(found, expected)
    found.backward(retain_graph=True)
    torch.testing.assert_close(own.grad, torch.autograd.grad(expected, own)[0])
    assert goals.grad is None and own.grad[2].eq(0).all()


def test_equal_and_opposite_vectors_are_the_bounds() -> None:
    vectors = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    same = torch.eye(3, dtype=torch.bool).expand(2, -1, -1)
    assert disagreement(vectors, 5 * vectors, same).item() == pytest.approx(0, abs=1e-6)
    assert disagreement(vectors, -vectors, same).item() == pytest.approx(4, abs=1e-6)


def test_spread_tells_a_collapse() -> None:
    vectors = torch.randn(40, 50, 32, generator=torch.Generator().manual_seed(0))
    assert spread(vectors).item() == pytest.approx(1, abs=0.02)
    assert spread(vectors[:1, :1].expand(40, 50, -1)).item() == pytest.approx(0, abs=1e-5)


# The grid


def test_dense_loss_is_that_of_a_loop_over_cells_and_levels() -> None:
    matching, projector = dense()
    online, target = views()
    loss, figures = matching(online, target, projector)
    levels, pairs = [], 0
    for own, other in zip(online.maps, target.maps, strict=True):
        images = []
        for n in range(3):
            terms = []
            for row, column, other_row, other_column in matches(n, own.shape[-2:], other.shape[-2:]):
                guess = matching.predictor(matching.projector(own[n, :, row, column][None]))[0]
                terms.append(two_minus_two_cos(guess, projector(other[n, :, other_row, other_column][None])[0]))
            images.append(sum(terms) / len(terms))
            pairs += len(terms)
        levels.append(sum(images) / 3)
    torch.testing.assert_close(loss, sum(levels) / 2)
    assert figures["matches"].item() == pytest.approx(pairs / 6)


def matches(n: int, grid: tuple[int, int], other_grid: tuple[int, int], reach: float = 0.7) -> list[tuple[int, ...]]:
    """Row and column of the matched cells of the n-th image of BESIDE, by hand."""
    centres, units = [], []
    for (x0, y0, x1, y1), flip, (h, w) in ((BESIDE[k][n], FLIPS[k][n], (grid, other_grid)[k]) for k in range(2)):
        across, down = (x1 - x0) / w, (y1 - y0) / h
        units.append(math.hypot(across, down))
        columns = range(w - 1, -1, -1) if flip else range(w)
        centres.append(
            {
                (r, c): (x0 + (at + 0.5) * across, y0 + (r + 0.5) * down)
                for r in range(h)
                for c, at in enumerate(columns)
            }
        )
    return [
        (*here, *there)
        for here, place in centres[0].items()
        for there, other in centres[1].items()
        if math.dist(place, other) < reach * max(units)
    ]


def test_dense_maps_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="DenseMatching: width=9, and a map has 8 channels"):
        DenseMatching(9, **SMALL)(*views(), nn.Identity())
    with pytest.raises(ValueError, match="reach=0: expected a distance above 0"):
        DenseMatching(9, reach=0)


# Boxes


def plain_projection(projector: nn.Module, maps: tuple[Tensor, ...], image: int, box: list[float]) -> Tensor:
    """Of one box in the view's pixels: the level by its size, RoIAlign, two layers, the projector."""
    side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    level = 0 if side < 2 * BOXES["finest_scale"] else 1
    cells = roi_align(maps[level], torch.tensor([[image, *box]]), 3, 1 / (4, 8)[level], 0, "avg", True).flatten()
    for layer in projector.shared_fcs:
        cells = (layer.weight @ cells + layer.bias).clamp(min=0)
    return projector.projector(cells[None])[0]


def in_view(box: tuple, view: tuple, flip: bool, size: tuple[int, int]) -> list[float]:
    """A box of the image in a view's pixels, corner by corner."""
    scale_x, scale_y = size[1] / (view[2] - view[0]), size[0] / (view[3] - view[1])
    xs = [(x - view[0]) * scale_x for x in (box[0], box[2])]
    xs = sorted(size[1] - x for x in xs) if flip else xs
    return [xs[0], (box[1] - view[1]) * scale_y, xs[1], (box[3] - view[1]) * scale_y]


GIVEN = [
    [(12, 10, 60, 46), (0, 0, 20, 20), (30, 20, 50, 40)],  # the second is not in the other view
    [(8, 8, 40, 44), (10, 10, 12, 12)],  # the second is smaller than a cell
    [],
]


def test_box_loss_is_that_of_a_loop_over_boxes() -> None:
    matching, projector = boxes(source="proposals", count=3)
    online, target = views()
    loss, figures = matching(online, target, projector, [torch.tensor(one).reshape(-1, 4) for one in GIVEN])
    images = []
    for n, kept in ((0, [GIVEN[0][0], GIVEN[0][2]]), (1, [GIVEN[1][0]])):
        terms = []
        for box in kept:
            here, there = (
                in_view(box, BESIDE[k][n], FLIPS[k][n], one.geometry.size) for k, one in enumerate((online, target))
            )
            guess = matching.predictor(plain_projection(matching.projector, online.maps, n, here)[None])[0]
            terms.append(two_minus_two_cos(guess, plain_projection(projector, target.maps, n, there)))
        images.append(sum(terms) / len(terms))
    torch.testing.assert_close(loss, sum(images) / 2)
    assert figures["boxes"].item() == pytest.approx(3 / 3) and figures["boxes_dropped"].item() == pytest.approx(2 / 3)


def holds(view: tuple, box: list[float], size: tuple[int, int], least: float) -> bool:
    inside = view[0] <= box[0] and view[1] <= box[1] and box[2] <= view[2] and box[3] <= view[3]
    wide = (box[2] - box[0]) * size[1] / (view[2] - view[0])
    return inside and wide >= least and (box[3] - box[1]) * size[0] / (view[3] - view[1]) >= least


def test_proposals_outside_a_view_are_dropped_and_counted() -> None:
    generator = random.Random(0)
    drawn = [[[generator.randint(1, high) for high in (50, 50, 24, 24)] for _ in range(40)] for _ in range(3)]
    given = [[[x, y, x + width, y + height] for x, y, width, height in one] for one in drawn]
    places = geometry(BESIDE[0], FLIPS[0], (32, 32)), geometry(BESIDE[1], FLIPS[1], (24, 40))
    usable = [
        [b for b in one if all(holds(BESIDE[k][n], b, places[k].size, 4) for k in range(2))]
        for n, one in enumerate(given)
    ]
    assert min(map(len, usable)) > 2 and max(map(len, usable)) < 40
    few = min(map(len, usable)) - 1
    chosen = set()
    for count in (few, 60):
        for seed in range(8):
            torch.manual_seed(seed)
            found = proposed_boxes(*places, count, 4, [torch.tensor(one) for one in given])
            assert found.boxes.shape == (3, count, 4)
            assert found.dropped.item() == pytest.approx((120 - sum(map(len, usable))) / 3)
            for n, expected in enumerate(usable):
                kept = found.boxes[n][found.valid[n]].tolist()
                assert len(kept) == len(set(map(tuple, kept))) == min(count, len(expected))
                assert all(box in expected for box in kept)
                chosen.add((count, n, tuple(sorted(map(tuple, kept)))))
    assert len([one for one in chosen if one[0] == 60]) == 3 < len([one for one in chosen if one[0] == few])


def test_random_boxes_lie_in_both_views() -> None:
    torch.manual_seed(0)
    places = geometry(BESIDE[0], FLIPS[0], (32, 32)), geometry(BESIDE[1], FLIPS[1], (32, 32))
    found = random_boxes(*places, 200, 4)
    assert found.valid.all() and found.dropped == 0
    for n in range(3):
        view, other = BESIDE[0][n], BESIDE[1][n]
        low, high = [max(view[k], other[k]) for k in range(2)], [min(view[k], other[k]) for k in (2, 3)]
        for axis in range(2):
            whole = high[axis] - low[axis]
            start, end = found.boxes[n, :, axis], found.boxes[n, :, axis + 2]
            assert start.min() >= low[axis] - 0.01 and end.max() <= high[axis] + 0.01
            assert start.min() < low[axis] + 0.05 * whole and end.max() > high[axis] - 0.05 * whole
            shares = (end - start) / whole
            assert SIDES[0] - 1e-4 < shares.min() < SIDES[0] + 0.05 and 0.95 < shares.max() <= SIDES[1] + 1e-4


def test_random_boxes_of_views_with_little_in_common_are_dropped() -> None:
    places = (
        geometry([(0, 0, 40, 40)] * 2, [False] * 2, (32, 32)),
        geometry([(38, 0, 78, 40), (60, 0, 100, 40)], [0, 0], (32, 32)),
    )
    found = random_boxes(*places, 5, 4)
    assert not found.valid.any() and found.dropped == 5


def test_a_free_place_counts_for_nothing() -> None:
    given = [torch.tensor([[12.0, 10, 60, 46]]), torch.zeros(0, 4), torch.zeros(0, 4)]
    losses = []
    for count in (1, 6):
        matching, projector = boxes(source="proposals", count=count)
        losses.append(matching(*views(), projector, given)[0])
    torch.testing.assert_close(*losses)


def test_one_map_serves_boxes_of_all_sizes() -> None:
    matching, projector = boxes(strides=(8,), count=20)
    online, target = (SeenView(view.maps[1:], view.geometry) for view in views())
    loss, figures = matching(online, target, projector)
    loss.backward()
    assert 0 < loss < 4 and online.maps[0].grad.any() and figures["boxes"] + figures["boxes_dropped"] == 20


def test_the_layers_behind_roi_align_fit_mmdets_head() -> None:
    head = MMDET.build(
        dict(type="Shared2FCBBoxHead", in_channels=8, fc_out_channels=10, roi_feat_size=3, num_classes=2)
    )
    wanted = {name: value.shape for name, value in head.state_dict().items() if name.startswith("shared_fcs")}
    state = BoxMatching(**BOXES).projector.state_dict()
    assert {name: value.shape for name, value in state.items() if name.startswith("shared_fcs")} == wanted
    assert len(wanted) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(source="proposal"), "source='proposal': expected one of random, proposals; did you mean 'proposals'?"),
        (dict(source="proposals"), "PackInputs(algorithm_keys=('view_boxes', 'view_flips', 'proposals'))"),
        (dict(width=7), "BoxMatching: width=7, and a map has 8 channels"),
        (dict(strides=(4, 16)), "strides=(4, 16), and a view of 32 x 32 pixels has maps of [(8, 8), (4, 4)] cells"),
        (dict(strides=(4, 8, 16)), "strides=(4, 8, 16), and a view"),
    ],
)
def test_wrong_box_matchings_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        matching, projector = boxes(**changes)
        matching(*views(), projector)


# Both


@pytest.mark.parametrize("build", [dense, boxes])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_the_online_side_only(build: Callable, training: bool) -> None:
    matching, projector = build()
    matching.train(training)
    online, target = views()
    loss, figures = matching(online, target, projector.train(training))
    loss.backward()
    assert 0 < loss < 4 and 0 < figures["spread"] < 2
    assert not [name for name, param in matching.named_parameters() if param.grad is None or not param.grad.any()]
    assert all(one.grad.any() for one in online.maps)
    assert all(one.grad is None for one in (*target.maps, *projector.parameters()))


@pytest.mark.parametrize("build", [dense, boxes])
@pytest.mark.parametrize("proposals", [None, [torch.tensor([[60.0, 60, 80, 80]])] * 3])
def test_views_without_overlap_give_zero_and_gradients_of_zero(build: Callable, proposals: list | None) -> None:
    if build is boxes and proposals is not None:
        matching, projector = boxes(source="proposals")
    else:
        matching, projector = build()
    online, target = views(APART)
    loss, figures = matching.train()(online, target, projector.train(), proposals)
    loss.backward()
    assert loss == 0 and all(value.isfinite() for value in figures.values())
    assert figures.get("matches", figures.get("boxes")) == 0
    for name, value in [*matching.named_parameters(), *enumerate(online.maps)]:
        assert value.grad is not None and value.grad.eq(0).all(), name
    statistics = [value for name, value in matching.named_buffers() if "running" in name]
    assert all(value.isfinite().all() for value in statistics)


@pytest.mark.parametrize("build", [dense, boxes])
def test_bfloat16_features_are_compared_in_float32(build: Callable) -> None:
    matching, projector = build()
    online, target = views()
    torch.manual_seed(1)
    exact, _ = matching(online, target, projector)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = matching(online, target, projector)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)
