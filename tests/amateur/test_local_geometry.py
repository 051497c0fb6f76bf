"""Where views lie: cells and boxes against hand-made loops, and against a picture whose pixels say where they are."""

import math
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from interngv.amateur.local.geometry import ViewGeometry, cell_matches, overlap

Box = tuple[float, float, float, float]


def geometry(boxes: list[Box], flips: list[bool], size: tuple[int, int] = (64, 64)) -> ViewGeometry:
    return ViewGeometry(torch.tensor(boxes, dtype=torch.float32), torch.tensor(flips), size)


def drawn(seed: int, count: int = 6, size: tuple[int, int] = (64, 48)) -> tuple[list[Box], list[bool], ViewGeometry]:
    """Views of images of 100 x 80 pixels."""
    generator = random.Random(seed)
    boxes = []
    for _ in range(count):
        width, height = generator.randint(20, 80), generator.randint(20, 60)
        x, y = generator.randint(0, 100 - width), generator.randint(0, 80 - height)
        boxes.append((x, y, x + width, y + height))
    flips = [generator.random() < 0.5 for _ in range(count)]
    return boxes, flips, geometry(boxes, flips, size)


def centre(box: Box, flip: bool, row: int, column: int, grid: tuple[int, int]) -> tuple[float, float]:
    """Of one cell, by hand: a flipped view shows on its left what lies on the right."""
    x0, y0, x1, y1 = box
    seen_column = grid[1] - 1 - column if flip else column
    return x0 + (seen_column + 0.5) / grid[1] * (x1 - x0), y0 + (row + 0.5) / grid[0] * (y1 - y0)


def diagonal(box: Box, grid: tuple[int, int]) -> float:
    return math.hypot((box[2] - box[0]) / grid[1], (box[3] - box[1]) / grid[0])


@pytest.mark.parametrize("reach", [0.4, 0.7, 1.3])
@pytest.mark.parametrize("grids", [((4, 4), (4, 4)), ((5, 3), (2, 6))])
def test_matches_are_those_of_a_loop_over_all_cells(grids: tuple, reach: float) -> None:
    (boxes, flips, first), (others, other_flips, second) = drawn(0), drawn(1)
    matched = cell_matches(first, grids[0], second, grids[1], reach)
    (h, w), (other_h, other_w) = grids
    assert matched.shape == (6, h * w, other_h * other_w)
    assert 0 < matched.sum() < matched.numel()
    for n in range(6):
        unit = max(diagonal(boxes[n], grids[0]), diagonal(others[n], grids[1]))
        for i in range(h * w):
            for j in range(other_h * other_w):
                here = centre(boxes[n], flips[n], i // w, i % w, grids[0])
                there = centre(others[n], other_flips[n], j // other_w, j % other_w, grids[1])
                assert matched[n, i, j] == (math.dist(here, there) < reach * unit), (n, i, j)


@pytest.mark.parametrize("flip", [False, True])
def test_equal_views_match_cell_by_cell(flip: bool) -> None:
    view = geometry([(10, 20, 74, 84), (0, 0, 35, 35)], [flip, flip])
    assert torch.equal(cell_matches(view, (5, 5), view, (5, 5), 0.7), torch.eye(25, dtype=torch.bool).expand(2, -1, -1))


def test_a_flipped_view_matches_mirrored_columns() -> None:
    box = (10, 20, 74, 84)
    matched = cell_matches(geometry([box], [False]), (3, 4), geometry([box], [True]), (3, 4), 0.3)
    for row in range(3):
        for column in range(4):
            assert matched[0, 4 * row + column].nonzero().tolist() == [[4 * row + 3 - column]]


def test_views_that_share_nothing_match_nowhere() -> None:
    first, second = geometry([(0, 0, 40, 40)], [False]), geometry([(60, 0, 100, 40)], [True])
    assert not cell_matches(first, (4, 4), second, (4, 4), 0.7).any()
    common = overlap(first, second)
    assert (common[0, 2:] < common[0, :2]).any()


def test_distances_are_measured_in_the_larger_cells() -> None:
    whole, part = geometry([(0, 0, 80, 80)], [False]), geometry([(0, 0, 20, 20)], [False])
    matched = cell_matches(whole, (4, 4), part, (4, 4), 0.5)[0]  # nearer than 14.1 pixels, half of a large cell's
    assert matched[0].all() and matched.any(1).nonzero().flatten().tolist() == [0, 1, 4]
    assert torch.equal(cell_matches(part, (4, 4), whole, (4, 4), 0.5)[0], matched.T)


def test_overlap_is_that_of_pixels() -> None:
    (boxes, _, first), (others, _, second) = drawn(2), drawn(3)
    for one, other, common in zip(boxes, others, overlap(first, second).tolist(), strict=True):
        pixels = {(x, y) for x in range(int(one[0]), int(one[2])) for y in range(int(one[1]), int(one[3]))}
        pixels &= {(x, y) for x in range(int(other[0]), int(other[2])) for y in range(int(other[1]), int(other[3]))}
        sides = [max(0.0, common[2] - common[0]), max(0.0, common[3] - common[1])]
        assert len(pixels) == sides[0] * sides[1]


def seen(box: Box, flip: bool, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 2): x and y, in the image, of the centre of each pixel of a view."""
    x0, y0, x1, y1 = box
    xs = np.array([x0 + (column + 0.5) / size[1] * (x1 - x0) for column in range(size[1])])
    ys = np.array([y0 + (row + 0.5) / size[0] * (y1 - y0) for row in range(size[0])])
    picture = np.stack(np.meshgrid(xs, ys), -1)
    return picture[:, ::-1] if flip else picture


def test_projected_boxes_hold_the_same_part_of_the_picture() -> None:
    boxes, flips, views = drawn(4, size=(40, 60))
    parts = []
    for x0, y0, x1, y1 in boxes:
        width, height = x1 - x0, y1 - y0
        parts.append([[x0 + width / 4, y0 + height / 2, x1 - width / 2, y1], [x0, y0, x0 + width / 3, y0 + height / 4]])
    projected = views.project(torch.tensor(parts))
    for n, (box, flip) in enumerate(zip(boxes, flips, strict=True)):
        picture = seen(box, flip, (40, 60))
        for k in range(2):
            left, top, right, bottom = projected[n, k].round().int().tolist()
            inside = picture[top:bottom, left:right].reshape(-1, 2)
            low, high = np.array(parts[n][k][:2]), np.array(parts[n][k][2:])
            assert (inside > low).all() and (inside < high).all()
            everywhere = picture.reshape(-1, 2)
            assert len(inside) == ((everywhere > low) & (everywhere < high)).all(1).sum()


def test_a_view_holds_boxes_that_lie_in_it_and_are_large_enough() -> None:
    view = geometry([(10, 10, 50, 30)], [True], size=(40, 40))  # one pixel of the image is 1 wide and 2 high
    boxes: list[tuple[Box, bool]] = [
        ((10, 10, 50, 30), True),
        ((20, 12, 28, 16), True),
        ((20, 12, 27, 16), False),  # 7 pixels wide
        ((20, 12, 28, 15), False),  # 6 pixels high
        ((9, 12, 28, 20), False),
        ((20, 9, 28, 20), False),
        ((20, 12, 51, 20), False),
        ((20, 12, 40, 31), False),
        ((40, 20, 20, 12), False),
        ((math.nan, 12, 40, 20), False),
    ]
    held: Tensor = view.holds(torch.tensor([[box for box, _ in boxes]]), least=8)
    assert held[0].tolist() == [expected for _, expected in boxes]
