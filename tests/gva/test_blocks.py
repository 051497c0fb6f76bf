"""Each operator against a plain restatement of its formula, and the properties the formulas promise."""

import math

import pytest
import torch
from mmengine.device import get_device
from torch import nn

from benchmarks.plain_metanet import PlainConv, PlainDSM, PlainToken, randomise
from interngv.gva.archs import OPERATORS, Stage
from interngv.gva.blocks import DropPath, conv_norm, make_divisible, pointwise
from interngv.gva.downsampling import SequenceQuery
from interngv.gva.metanet import build_block, build_dsm
from interngv.gva.weights import load_trunk

SIZES = [(8, 8), (7, 10)]


def loaded(block: nn.Module, plain: nn.Module) -> None:
    torch.manual_seed(0)
    randomise([plain])
    load_trunk(block, plain.state_dict(), coverage=1.0)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("width", "stride"), [(16, 1), (24, 1), (24, 2), (16, 2)])
@pytest.mark.parametrize("expansion", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("training", [False, True])
def test_operator_equals_its_formula(operator, width, stride, expansion, size, training):
    grid = tuple(math.ceil(n / stride) for n in size)
    stage = Stage(operator, 1, width, expansion, stride)
    block = build_block(stage, 16, stride, 0.0, 8, grid)
    if operator in ("mbconv", "fused_mbconv"):
        plain = PlainConv(16, width, stride, expansion, fused=operator == "fused_mbconv")
    else:
        plain = PlainToken(operator, 16, width, stride, expansion, 8, grid[0] * grid[1])
    loaded(block, plain)
    image = torch.randn(3, 16, *size)
    ours, theirs = block.train(training)(image), plain.train(training)(image)
    assert ours.shape == (3, width, *grid)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("width", "stride"), [(16, 1), (24, 2)])
@pytest.mark.parametrize("expansion", [1, 3])
def test_inference_overwrites_nothing_that_is_used_again(operator, width, stride, expansion):
    block = build_block(Stage(operator, 1, width, expansion, stride), 16, stride, 0.0, 8, (8 // stride, 8 // stride))
    torch.manual_seed(0)
    randomise([block.eval()])
    image = torch.randn(2, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    before, with_gradients = image.clone(), block(image)
    with torch.no_grad():
        torch.testing.assert_close(block(image), with_gradients, rtol=1e-6, atol=1e-6)
    assert torch.equal(image, before)


@pytest.mark.parametrize("dsm", ["l", "lg"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_dsm_equals_its_formula(dsm, stride, size):
    block = build_dsm(Stage("sa", 1, 24, 1, stride, dsm), 16, 8)
    plain = PlainDSM(dsm, 16, 24, stride, 8)
    loaded(block, plain)
    image = torch.randn(3, 16, *size)
    ours = block.eval()(image)
    assert ours.shape == (3, 24, *(math.ceil(n / stride) for n in size))
    torch.testing.assert_close(ours, plain.eval()(image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_sequence_query_is_a_strided_convolution_along_the_tokens(size):
    query = SequenceQuery(4, 4, 2)
    with torch.no_grad():
        query.pointwise.weight.copy_(torch.eye(4).unsqueeze(-1))
        query.pointwise.bias.zero_()
    image = torch.randn(1, 4, *size)
    ours = query.eval()(image)
    height, width = (math.ceil(n / 2) for n in size)
    padded = torch.zeros(4, 2 * height, 2 * width)
    padded[:, : size[0], : size[1]] = image[0]
    tokens = padded.flatten(1)
    kernel, shrink = query.depthwise.weight[:, 0], (1 + query.norm.eps) ** -0.5
    for m in range(height * width):
        window = [(k, 4 * m + k - 3) for k in range(7) if 0 <= 4 * m + k - 3 < tokens.shape[1]]
        expected = sum(kernel[:, k] * tokens[:, n] for k, n in window) + query.depthwise.bias
        torch.testing.assert_close(ours[0, :, m // width, m % width], expected * shrink)


def test_global_dsm_sees_the_whole_map():
    block = build_dsm(Stage("sa", 1, 16, 1, 2, "g"), 16, 8).eval()
    randomise([block])
    image = torch.randn(1, 16, 9, 11, requires_grad=True)
    block(image)[0, :, 0, 0].square().sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum(1).gt(0).all()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("pre", [False, True])
def test_folded_norms_equal_the_sequence_and_its_gradients(bias, pre):
    conv, norm, pre_norm = nn.Conv2d(6, 8, 1, bias=bias), nn.BatchNorm2d(8), nn.BatchNorm2d(6)
    randomise([conv, norm, pre_norm])
    image = torch.randn(2, 6, 5, 5)
    conv.eval(), norm.eval(), pre_norm.eval()
    parts = [*([pre_norm] if pre else []), conv, norm]
    weights = [p for part in parts for p in part.parameters()]
    folded = conv_norm(image, conv, norm, pre_norm if pre else None)
    plain = nn.Sequential(*parts)(image)
    torch.testing.assert_close(folded, plain)
    for ours, theirs in zip(
        torch.autograd.grad(folded.square().sum(), weights),
        torch.autograd.grad(plain.square().sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_pointwise_is_a_convolution():
    conv, image = nn.Conv2d(6, 8, 1), torch.randn(2, 6, 5, 7).contiguous(memory_format=torch.channels_last)
    found = pointwise(image, conv.weight, conv.bias)
    torch.testing.assert_close(found, conv(image))
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.gpu
@pytest.mark.parametrize("train", [False, True])
def test_a_gpu_gives_what_a_cpu_gives(train):
    block = build_block(Stage("mbconv", 1, 16, 4, 2), 8, 2, 0.0, 8, (8, 8)).train(train)
    randomise([block])
    image = torch.randn(3, 8, 17, 16).contiguous(memory_format=torch.channels_last)
    expected, device = block(image), get_device()
    with torch.backends.cudnn.flags(allow_tf32=False):
        found = block.to(device)(image.to(device))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


def test_residual_branches_start_as_nothing():
    for operator in ("mbconv", "fused_mbconv"):
        block = build_block(Stage(operator, 1, 16, 3), 16, 1, 0.0, 8, (8, 8)).train()
        image = torch.randn(2, 16, 8, 8)
        torch.testing.assert_close(block(image), image)


def test_drop_path_drops_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    out = DropPath(0.25)(torch.ones(20_000, 2, 1))
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (out[:, 0] == out[:, 1]).all()
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)
    assert DropPath(0.25).eval()(torch.ones(5)).tolist() == [1.0] * 5


@pytest.mark.parametrize(("value", "expected"), [(3, 8), (12, 16), (11, 16), (18, 24), (32, 32), (35, 32)])
def test_make_divisible_rounds_to_eights_and_never_loses_a_tenth(value, expected):
    assert make_divisible(value) == expected
