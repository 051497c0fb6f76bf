"""Released, host and own checkpoints: prefixes, structural matching, reports, refusals, the way back."""

import pytest
import torch
from mmengine.runner import save_checkpoint
from safetensors.torch import save_file

from benchmarks.plain_metanet import PlainMetaNet, randomise
from interngv.gva import ARCHS, MetaNet, WeightsError, load_trunk, to_released
from interngv.gva.weights import select_trunk
from interngv.registry import MODELS

# The plain restatement has other names inside its blocks, and another order of registration, as released files may.
RELEASED = ["mn-mini", "mn-b1", "uninet-b0"]


def released(arch: str) -> PlainMetaNet:
    torch.manual_seed(0)
    net = PlainMetaNet(ARCHS[arch]).eval()
    randomise([net])
    return net


@pytest.mark.parametrize("arch", [*RELEASED, pytest.param("mn-b4", marks=pytest.mark.slow)])
def test_released_weights_give_the_released_forward(arch):
    theirs, ours = released(arch), MetaNet(arch).eval()
    report = load_trunk(ours, theirs.state_dict(), coverage=1.0)
    assert report.new == report.dropped == ()
    image = torch.randn(2, 3, 64, 80)
    with torch.no_grad():
        expected = theirs(image)
        difference = (ours(image)[0] - expected).abs().max() / expected.abs().max()
    assert difference < 1e-5


@pytest.fixture(scope="module", params=[RELEASED[0], *(pytest.param(x, marks=pytest.mark.slow) for x in RELEASED[1:])])
def loaded(request):
    """A released trunk's tensors and a trunk that holds them."""
    theirs, ours = released(request.param).state_dict(), MetaNet(request.param)
    load_trunk(ours, theirs)
    return request.param, theirs, ours


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.", "model.backbone.gv_global."])
def test_round_trip_through_the_released_layout(loaded, prefix):
    arch, theirs, ours = loaded
    back = to_released(ours, template=theirs, prefix=prefix)
    assert set(back) == {prefix + key for key in theirs}
    for key, value in theirs.items():
        torch.testing.assert_close(back[prefix + key], value, rtol=0, atol=0)
    again = MetaNet(arch)
    load_trunk(again, select_trunk(to_released(ours, prefix=prefix)), coverage=1.0)
    found = again.state_dict()
    for key, value in ours.state_dict().items():
        assert torch.equal(found[key], value), key


def test_a_generalists_file_asks_for_the_task():
    ours = MetaNet("mn-mini")
    state = {
        f"model.backbone.{task}.{key}": value + (task == "gv_patch")
        for task in ("gv_global", "gv_patch")
        for key, value in ours.state_dict().items()
    }
    with pytest.raises(WeightsError, match="2 trunks.*gv_global.*gv_patch"):
        select_trunk(state)
    with pytest.raises(WeightsError, match="did you mean 'gv_patch'"):
        select_trunk(state, "gv_pach")
    picked = select_trunk(state, "model.backbone.gv_patch")
    assert torch.equal(picked["stem.conv.weight"], ours.stem.conv.weight + 1)


def test_two_trunks_of_one_name_want_the_whole_prefix():
    state = {f"{who}.backbone.stem.conv.weight": torch.full((1,), n) for n, who in enumerate(("student", "teacher"))}
    with pytest.raises(WeightsError, match="2 trunks, choose one"):
        select_trunk(state, "backbone")
    assert select_trunk(state, "teacher.backbone")["stem.conv.weight"].item() == 1


def test_a_tensor_of_another_shape_is_not_loaded():
    state = MetaNet("mn-mini").state_dict()
    state["blocks.6.mlp.fc1.weight"] = state["blocks.6.mlp.fc1.weight"].T.contiguous()
    with pytest.raises(
        WeightsError, match="1 of another shape \\(blocks.6.mlp.fc1.weight: \\d+ x \\d+ for \\d+ x \\d+\\), 0 new"
    ):
        load_trunk(MetaNet("mn-mini"), state)


def test_report_counts_what_only_the_order_tells_apart():
    report = load_trunk(MetaNet("mn-mini"), released("mn-mini").state_dict())
    assert {"blocks.6.norm1.weight", "blocks.6.norm2.weight", "blocks.6.gamma_1"} <= set(report.by_order)
    assert not {"blocks.6.mixer.qkv.weight", "blocks.6.mlp.fc1.bias", "blocks.1.shortcut.conv.bias"} & {
        *report.by_order
    }
    assert f"{len(report.by_order)} told apart by their order only" in str(report)
    assert load_trunk(MetaNet("mn-mini"), MetaNet("mn-mini").state_dict()).by_order == ()


def test_report_is_one_line_and_names_what_is_new_and_dropped():
    state = MetaNet("mn-mini").state_dict()
    state["fc.weight"] = torch.zeros(10, 1280)
    del state["blocks.6.gamma_1"], state["stem.conv.weight"]
    report = load_trunk(MetaNet("mn-mini"), state, coverage=0.9)
    assert report.new == ("stem.conv.weight", "blocks.6.gamma_1")
    assert report.dropped == ("fc.weight",)
    line = str(report)
    assert "\n" not in line
    assert "stem.conv.weight" in line and "fc.weight" in line


@pytest.mark.parametrize("other", ["mn-b1", "uninet-b0"])
def test_another_models_checkpoint_is_refused_and_the_model_untouched(other):
    net = MetaNet("mn-mini")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(WeightsError, match=r"does not fit.*new \(.*at least 100.0% must load"):
        load_trunk(net, MetaNet(other).state_dict())
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_a_resnet_checkpoint_is_refused_by_name():
    with pytest.raises(WeightsError, match="no MetaNet trunk.*conv1.weight"):
        select_trunk({"conv1.weight": torch.zeros(3)})


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_init_cfg_reads_a_host_checkpoint(tmp_path, suffix):
    torch.manual_seed(0)
    source = MetaNet("mn-mini")
    state = {f"backbone.{key}": value for key, value in source.state_dict().items()}
    state["head.fc.weight"] = torch.zeros(10, 1280)
    path = tmp_path / f"host.{suffix}"
    save_checkpoint({"meta": {}, "state_dict": state}, str(path)) if suffix == "pth" else save_file(state, path)
    cfg = dict(
        type="interngv.MetaNet", arch="mn-mini", init_cfg=dict(type="interngv.PretrainedTrunk", checkpoint=str(path))
    )
    net = MODELS.build(cfg)
    net.init_weights()
    for key, value in source.state_dict().items():
        assert torch.equal(net.state_dict()[key], value), key
