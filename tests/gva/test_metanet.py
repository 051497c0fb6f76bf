"""MetaNet over every named size: counts, shapes, gradients, freezing, recomputation, hosts' conventions, export."""

import copy
import math

import pytest
import torch
from torch import nn

from benchmarks.plain_metanet import randomise
from interngv.gva import ARCHS, MetaNet
from interngv.gva.complexity import multiply_adds, parameters
from interngv.registry import MODELS

CLASSIFIER = 1280 * 1000 + 1000
# Exact counts: INTERN's and UniNet's releases with a 1000-class head; rounded ones: the comments in UniNet's code.
EXACT_PARAMETERS = {"mn-b4": 31_705_992, "mn-b15": 1_003_706_020}
ROUNDED_PARAMETERS = {
    "uninet-b0": 11.451e6,
    "uninet-b1": 11.451e6,
    "uninet-b2": 16.211e6,
    "uninet-b3": 24.02e6,
    "uninet-b4": 43.796e6,
    "uninet-b5": 72.883e6,
    "uninet-b6": 116.687e6,
}
GIGA_MULTIPLY_ADDS = {
    ("mn-b4", 256): 4.18,
    ("mn-b15", 224): 137.72,
    ("mn-b15", 384): 404.6,
    ("uninet-b0", 160): 0.544,
    ("uninet-b1", 224): 1.095,
    ("uninet-b2", 256): 2.114,
    ("uninet-b3", 288): 4.186,
    ("uninet-b4", 320): 9.296,
    ("uninet-b5", 384): 20.19,
    ("uninet-b6", 448): 50.51,
}
# One of each operator and down-sampling module, every kind of transition.
MIXED = dict(
    stem_channels=8,
    head_dim=8,
    feature_dim=48,
    img_size=32,
    stages=[
        dict(operator="fused_mbconv", repeats=2, channels=16, expansion=1),
        dict(operator="fused_mbconv", repeats=2, channels=16, expansion=2, stride=2),
        dict(operator="mbconv", repeats=1, channels=24, expansion=1, stride=2, dsm="l"),
        dict(operator="mixer", repeats=2, channels=32, expansion=2, stride=2),
        dict(operator="xca", repeats=2, channels=32, expansion=2, dsm="lg"),
        dict(operator="sa", repeats=2, channels=40, expansion=3, stride=2, dsm="g"),
    ],
)
SMALL = ["mn-mini", "mn-b1", "uninet-b0", MIXED]
QUICK = ("mn-mini", "mn-b4", "uninet-b0")  # one of each family, in the tests that run deep nets on the meta device


def name_of(arch) -> str:
    return arch if isinstance(arch, str) else "mixed"


def slow_unless(quick: bool, *values):
    return pytest.param(*values, marks=() if quick else pytest.mark.slow)


def on_meta(arch, **kwargs) -> MetaNet:
    with torch.device("meta"):
        return MetaNet(arch, **kwargs)


def randomised(arch, **kwargs) -> MetaNet:
    torch.manual_seed(0)
    net = MetaNet(arch, **kwargs)
    randomise([net])
    return net


@pytest.mark.parametrize("arch", EXACT_PARAMETERS)
def test_parameters_are_the_published_ones(arch):
    assert parameters(on_meta(arch)) + CLASSIFIER == EXACT_PARAMETERS[arch]


@pytest.mark.parametrize("arch", ROUNDED_PARAMETERS)
def test_parameters_round_to_the_published_ones(arch):
    assert parameters(on_meta(arch)) + CLASSIFIER == pytest.approx(ROUNDED_PARAMETERS[arch], abs=1.1e3)


def test_mn_mini_is_small():
    assert parameters(on_meta("mn-mini")) <= 1.5e6


def classifier_multiply_adds(arch: str, size: int) -> int:
    return multiply_adds(on_meta(arch), torch.empty(1, 3, size, size, device="meta")) + 1280 * 1000


def test_multiply_adds_of_mn_b4_are_exact():
    assert classifier_multiply_adds("mn-b4", 224) == 3_167_691_520


@pytest.mark.parametrize(("arch", "size"), [slow_unless(key[0] in QUICK, *key) for key in GIGA_MULTIPLY_ADDS])
def test_multiply_adds_round_to_the_published_ones(arch, size):
    assert classifier_multiply_adds(arch, size) / 1e9 == pytest.approx(GIGA_MULTIPLY_ADDS[arch, size], rel=2e-3)


@pytest.mark.parametrize("arch", [slow_unless(arch in QUICK, arch) for arch in ARCHS])
@pytest.mark.parametrize("size", [(224, 224), (65, 127)])
def test_levels_have_strides_4_to_32_and_the_widths_of_the_table(arch, size):
    net = on_meta(arch, out_indices=(0, 1, 2, 3, 4))
    maps = net.eval()(torch.empty(2, 3, *size, device="meta"))
    widths = [ARCHS[arch].stages[s].channels for s in (1, 2, 4, 5)]
    assert net.out_channels == (*widths, 1280)
    for level, (width, stride) in enumerate(zip([*widths, 1280], (4, 8, 16, 32, 32), strict=True)):
        assert maps[level].shape == (2, width, math.ceil(size[0] / stride), math.ceil(size[1] / stride))


def test_widths_of_mn_b4_are_those_its_detectors_expect():
    assert on_meta("mn-b4", out_indices=(0, 1, 2, 3)).out_channels == (64, 128, 192, 384)


@pytest.mark.parametrize("arch", SMALL, ids=name_of)
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 64)])
def test_any_input_size_gives_finite_contiguous_maps(arch, size):
    net = randomised(arch, out_indices=(0, 1, 2, 3)).eval()
    for out in net(torch.randn(2, 3, *size)):
        assert out.isfinite().all()
        assert out.is_contiguous()


@pytest.mark.parametrize("arch", [slow_unless(arch in ("mn-mini", MIXED), arch) for arch in SMALL], ids=name_of)
@pytest.mark.parametrize("out_indices", [(4,), (0, 1, 2, 3), (0, 1), (2,)])
def test_gradients_reach_every_parameter(arch, out_indices):
    net = randomised(arch, out_indices=out_indices).eval()  # batch statistics would cancel biases in front of a norm
    sum(out.square().mean() for out in net(torch.randn(2, 3, 64, 64))).backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("arch", ["mn-mini", MIXED], ids=name_of)
@pytest.mark.parametrize("drop_path_rate", [0.0, 0.3])
def test_recomputation_changes_nothing(arch, drop_path_rate):
    plain = randomised(arch, drop_path_rate=drop_path_rate).train()
    recomputed = MetaNet(arch, with_cp=True, drop_path_rate=drop_path_rate).train()
    recomputed.load_state_dict(plain.state_dict())
    image = torch.randn(3, 3, 40, 40)
    grads: list[dict] = []
    for net in (plain, recomputed):
        torch.manual_seed(1)
        net(image)[0].square().mean().backward()
        grads.append({name: p.grad for name, p in net.named_parameters()})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, msg=lambda m, name=name: f"{name}: {m}")
    for name, value in plain.named_buffers():
        torch.testing.assert_close(recomputed.get_buffer(name), value, rtol=0, atol=0)


def trained_for_a_step(net: MetaNet) -> tuple[dict, dict]:
    before = copy.deepcopy(net.state_dict())
    net.train()
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net(torch.randn(4, 3, 64, 64))[0].square().mean().backward()
    optimiser.step()
    return before, net.state_dict()


@pytest.mark.parametrize("frozen_stages", range(-1, 7))
def test_freezing_keeps_parameters_and_statistics_of_exactly_the_first_stages(frozen_stages):
    net = randomised(MIXED, frozen_stages=frozen_stages)
    before, after = trained_for_a_step(net)
    end = 0 if frozen_stages < 1 else net.stage_ends[frozen_stages - 1]
    frozen = {f"blocks.{i}." for i in range(end)} | ({"stem."} if frozen_stages >= 0 else set())
    for key, value in after.items():
        kept = torch.equal(value, before[key])
        if any(key.startswith(part) for part in frozen):
            assert kept, f"{key} moved although it is frozen"
        elif key.endswith(("running_mean", "num_batches_tracked")):
            assert not kept, f"{key} stood still although it is not frozen"


def test_freezing_everything_leaves_no_gradient():
    net = MetaNet("mn-mini", frozen_stages=7).train()
    assert not any(p.requires_grad for p in net.parameters())
    assert not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_norm_eval_keeps_statistics_but_trains_parameters():
    before, after = trained_for_a_step(randomised("mn-mini", norm_eval=True))
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    assert not any("running_" in key for key in moved)
    assert "stem.conv.weight" in moved


def test_drop_path_rises_linearly_to_its_rate():
    rates = [
        block.drop_path.rate for block in MetaNet("mn-b1", drop_path_rate=0.2).blocks if hasattr(block, "drop_path")
    ]
    assert rates[0] == 0.0
    assert rates[-1] == pytest.approx(0.2)
    assert rates == sorted(rates)


def test_layer_depth_covers_every_parameter_in_order():
    net = on_meta("uninet-b0")
    depths = {name: net.get_layer_depth(f"backbone.{name}", "backbone.") for name, _ in net.named_parameters()}
    layers = len(net.blocks) + 2
    assert {total for _, total in depths.values()} == {layers}
    assert sorted({depth for depth, _ in depths.values()}) == list(range(layers))
    assert depths["stem.conv.weight"][0] == 0
    assert depths["blocks.0.project.weight"][0] == 1
    assert net.get_layer_depth("head.fc.weight", "backbone.") == (layers - 1, layers)


def test_seeded_forward_is_unchanged():
    torch.manual_seed(0)
    net = MetaNet("mn-mini").eval()
    out = net(torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32))[0]
    assert out.double().abs().sum().item() == pytest.approx(
        219.580137, rel=1e-4
    )  # guards initialisation and order of draws


def test_builds_by_name_from_any_registry():
    from mmengine.registry import MODELS as ROOT

    for registry in (MODELS, ROOT):
        net = registry.build(dict(type="interngv.MetaNet", arch="mn-mini", out_indices=(0, 3)))
        assert isinstance(net, MetaNet)
        assert net.out_channels == (24, 128)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(arch="mn_b4"), "did you mean 'mn-b4'"),
        (dict(arch=4), "name or a stage table"),
        (dict(arch=dict(stages=[], stem_channels=8, head_dim=8)), "at least one stage"),
        (dict(arch=dict(stages=[], stem_channels=8)), "lacks head_dim"),
        (dict(arch={**MIXED, "stem_chanels": 8}), "did you mean 'stem_channels'"),
        (dict(arch={**MIXED, "stages": [dict(operator="mbcnov", repeats=1, channels=8, expansion=1)]}), "'mbconv'"),
        (dict(arch={**MIXED, "stages": [dict(operator="sa", repeats=1, channels=8, expnsion=1)]}), "'expansion'"),
        (dict(arch={**MIXED, "stages": [dict(operator="sa", repeats=1, channels=8)]}), "stage 0 .* lacks expansion"),
        (dict(arch={**MIXED, "stages": [dict(operator="sa", repeats=0, channels=8, expansion=1)]}), "repeats"),
        (dict(arch={**MIXED, "stages": [dict(operator="sa", repeats=1, channels=8, expansion=1, stride=3)]}), "stride"),
        (dict(arch={**MIXED, "head_dim": 12}), "head_dim"),
        (dict(arch="mn-mini", out_indices=(5,)), "out_indices must lie in 0..4"),
        (dict(arch="mn-mini", out_indices=()), "out_indices"),
        (dict(arch="mn-mini", out_indices=(1.5,)), "out_indices must lie in"),
        (dict(arch={**MIXED, "stages": [None]}), "must be a list of dicts"),
        (dict(arch={**MIXED, "stages": 3}), "must be a list of dicts"),
        (dict(arch={**MIXED, "stem_channels": 8.0}), "stem_channels .* positive integer"),
        (dict(arch={**MIXED, "stages": [dict(operator="sa", repeats=1, channels=8, expansion=float("nan"))]}), "expan"),
        (dict(arch="mn-mini", frozen_stages=8), "frozen_stages must lie in -1..7"),
        (dict(arch="mn-mini", drop_path_rate=1.0), "drop_path_rate"),
    ],
)
def test_wrong_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MetaNet(**kwargs)


@pytest.mark.parametrize("shape", [(2, 3, 0, 32), (0, 3, 32, 32), (3, 32, 32)])
def test_empty_images_are_refused(shape):
    with pytest.raises(ValueError, match="at least one pixel"):
        MetaNet("mn-mini")(torch.empty(shape))


# The default backend compiles C++ for every operator, a minute on two cores: it gets a net of one block a kind.
TINY = {**MIXED, "stages": [{**MIXED["stages"][i], "repeats": 1} for i in (1, 5)]}


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "backend"), [("mn-mini", "aot_eager"), (MIXED, "aot_eager"), (TINY, "inductor")])
def test_compiles_without_a_graph_break(arch, backend):
    net = randomised(arch, out_indices=(0,)).eval()
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(compiled(image)[0], net(image)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["mn-mini", "uninet-b0", MIXED], ids=name_of)
def test_exports_to_onnx(arch, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    net = MetaNet(arch, out_indices=(0, 1, 2, 3, 4)).eval()
    image = torch.randn(1, 3, 64, 96)
    exported = torch.export.export(net, (image,))
    torch.onnx.export(exported, f=str(tmp_path / "trunk.onnx"), dynamo=True)
    session = onnxruntime.InferenceSession(tmp_path / "trunk.onnx")
    found = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    for ours, theirs in zip(net(image), found, strict=True):
        torch.testing.assert_close(torch.from_numpy(theirs), ours.detach(), rtol=1e-4, atol=1e-4)
