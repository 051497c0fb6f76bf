"""The depth head and its loss: the formula, what has no depth, any size of maps, mmsegmentation's estimator."""

import math

import pytest
import torch

from interngv.gvb.depth_head import DepthHead, si_log


@pytest.mark.parametrize("variance_focus", [0.0, 0.5, 0.85])
def test_the_loss_is_the_formula_over_the_pixels_with_depth(variance_focus: float) -> None:
    torch.manual_seed(0)
    prediction, target = torch.rand(2, 1, 5, 7) + 0.5, torch.rand(2, 1, 5, 7) * 4
    for place, nothing in enumerate((0.0, math.inf, math.nan, -1.0)):
        target[0, 0, 0, place] = nothing
    d = [
        math.log(p) - math.log(t)
        for p, t in zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True)
        if t > 0 and math.isfinite(t)
    ]
    assert len(d) == 66
    square, mean = sum(x * x for x in d) / len(d), sum(d) / len(d)
    expected = 10 * math.sqrt(square - variance_focus * mean * mean)
    assert si_log(prediction, target, variance_focus).item() == pytest.approx(expected, rel=1e-5)


def test_a_wrong_scale_alone_costs_nothing_where_all_variance_is_in_focus() -> None:
    target = torch.rand(4, 4) + 0.1
    assert si_log(3 * target, target, 1.0).item() < 1e-3 < si_log(3 * target, target).item()


def test_without_any_depth_the_loss_is_zero_and_has_a_gradient() -> None:
    prediction = torch.rand(1, 1, 2, 2, requires_grad=True)
    loss = si_log(prediction, torch.zeros(1, 1, 2, 2))
    loss.backward()
    assert loss.item() == 0 and prediction.grad.abs().sum().item() == 0


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_the_head_learns_a_plane_from_odd_maps_and_stays_within_its_bounds(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    widths, height, width = (8, 12, 16, 24), *size
    ramp = torch.linspace(1, 8, width).expand(2, 1, height, width).contiguous()
    maps = [
        torch.nn.functional.interpolate(ramp, (-(-height // s), -(-width // s))).repeat(1, c, 1, 1)
        for c, s in zip(widths, (4, 8, 16, 32), strict=True)
    ]
    head = DepthHead(widths, channels=16, max_depth=10.0)

    class Sample:
        def __init__(self, depth: torch.Tensor) -> None:
            self.gt_depth_map = type("Map", (), {"data": depth})

    samples = [Sample(depth) for depth in ramp]
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        loss = head.loss(maps, samples)["loss_depth"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert all(param.grad is not None for param in head.parameters())
    depth = head.eval().predict(maps, [dict(img_shape=size)])
    assert depth.shape == (2, 1, *size) and depth.min() >= 1e-3 and depth.max() <= 10
