"""Any trunk: what a user's word becomes, what is measured of it, and its weights from every form of checkpoint."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import interngv  # noqa: F401  (repairs torchvision before a host library imports it)
from interngv.checkpoint import directory
from interngv.errors import UserError
from interngv.gvb import trunks
from interngv.gvb.trunks import loading, words
from interngv.load_report import WeightsError

RESNET18 = "mmpretrain:resnet18_8xb32_in1k"
LITE0 = "timm:tf_efficientnet_lite0"


def random_images(side: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


# What is measured


@pytest.mark.slow
@pytest.mark.parametrize("word", ["mn-mini", "uninet-b0", LITE0, "timm:convnext_atto", RESNET18])
def test_widths_and_strides_are_those_of_the_maps(word: str) -> None:
    spec = trunks.resolve(word, "random")
    side = 128
    with torch.inference_mode():
        maps = trunks.load(spec, dense=True)(random_images(side, 1))
        feature = trunks.pooled(trunks.load(spec), random_images(spec.img_size))
    assert [one.shape[1] for one in maps] == list(spec.widths)
    assert [side // one.shape[-1] for one in maps] == list(spec.strides) == [4, 8, 16, 32]
    assert feature.shape == (2, spec.width) and feature.dtype == torch.float32


@pytest.mark.slow
def test_published_widths() -> None:
    """intern-spec of the released trunks: MN-B4 pooled 1280, FPN in 64, 128, 192, 384; ResNet-50's of any text."""
    assert trunks.resolve("mn-b4", "random").widths == (64, 128, 192, 384)
    assert trunks.resolve("mn-b4", "random").width == 1280
    resnet = trunks.resolve("resnet50", "random")
    assert (resnet.width, resnet.widths, resnet.pooling) == (2048, (256, 512, 1024, 2048), "avg")


def test_a_trunk_without_maps_says_so() -> None:
    spec = trunks.resolve("mmpretrain:vit-base-p16_64xb64_in1k", "random")
    assert spec.pooling == "own" and spec.widths == ()
    with pytest.raises(UserError, match="gives no feature maps"):
        assert spec.dense


def test_tokens_are_no_feature() -> None:
    rows = dict(raw=dict(backbone=dict(type="mmpretrain.VisionTransformer", arch="deit-tiny", out_type="raw")))
    with pytest.raises(UserError, match="a tensor of shape 1 x 197 x 192, expected"):
        trunks.resolve("raw", "random", rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "vit_tiny_patch16_224", "mobilenetv3_small_050", "convnext_atto", "resnet50_clip"]
)
def test_pooled_feature_is_timms_own(name: str) -> None:
    import timm

    spec = trunks.resolve(f"timm:{name}", "random:3")
    trunk = trunks.load(spec)
    reference = timm.create_model(name).eval()
    reference.load_state_dict(trunk.timm_model.state_dict(), strict=False)  # all but the classifier
    images = random_images(spec.img_size)
    with torch.inference_mode():
        expected = reference.forward_head(reference.forward_features(images), pre_logits=True)
        assert (trunks.pooled(trunk, images) - expected).abs().max() <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("word", ["mn-mini", "timm:vit_tiny_patch16_224", RESNET18])
def test_hosts_take_the_spec_as_it_is(word: str) -> None:
    from mmpretrain.registry import MODELS

    spec = trunks.resolve(word, "random")
    head = dict(type="LinearClsHead", num_classes=3, in_channels=spec.width)
    preprocessor = dict(type="ClsDataPreprocessor", **spec.data_preprocessor)
    neck = dict(type="GlobalAveragePooling") if spec.pooling == "avg" else None
    config = dict(type="ImageClassifier", backbone=dict(spec.backbone), neck=neck, head=head)
    model = MODELS.build(config | dict(data_preprocessor=preprocessor, _scope_="mmpretrain"))
    report = trunks.fill(model.backbone, spec)
    assert report.coverage == 1
    model.eval()
    images = random_images(spec.img_size)
    with torch.inference_mode():
        assert model(images).shape == (2, 3)
        assert torch.equal(model.extract_feat(images)[-1], trunks.pooled(trunks.load(spec), images))


def test_a_suites_own_row_goes_before_all_others() -> None:
    backbone = dict(type="interngv.MetaNet", arch="mn-mini")
    rows = {"mn-mini": dict(backbone=backbone, mean=[1, 2, 3], std=[4, 5, 6], to_rgb=False, img_size=64)}
    spec = trunks.resolve("mn-mini", "random", rows)
    assert spec.data_preprocessor == dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=False)
    assert spec.to_rgb is False and spec.img_size == 64


def test_lite0_wants_its_own_normalisation() -> None:
    spec = trunks.resolve("efficientnet-lite0", "random")
    assert (spec.mean, spec.std) == ((127.0,) * 3, (128.0,) * 3)


# Weights


def checkpoint_forms(trunk: nn.Module, folder: Path) -> dict[str, Path]:
    """One set of weights as projects save it."""
    from safetensors.torch import save_file

    state = dict(trunk.state_dict())
    host = {f"backbone.{name}": value for name, value in state.items()} | {"head.fc.weight": torch.zeros(3, 4)}
    bare = {name.removeprefix("timm_model."): value for name, value in state.items()}
    forms = {
        "bare": bare,
        "host": dict(state_dict=host, meta=dict(epoch=1)),
        "wrapped": {f"module.{name}": value for name, value in host.items()},
        "no counters": {name: value for name, value in bare.items() if not name.endswith("num_batches_tracked")},
    }
    paths = {name: folder / f"{name}.pth" for name in forms}
    for name, content in forms.items():
        torch.save(content, paths[name])
    save_file({name: value.contiguous() for name, value in bare.items()}, folder / "bare.safetensors")
    multi_task = {f"trunk.{name}": value for name, value in state.items()} | {"tasks.a.head.weight": torch.zeros(2)}
    directory.write(folder / "multi-task", dict(state_dict=multi_task, meta=dict(iter=1)))
    return paths | {"safetensors": folder / "bare.safetensors", "multi-task": folder / "multi-task"}


@pytest.mark.slow
@pytest.mark.parametrize("word", ["mn-mini", "timm:convnext_atto", RESNET18])
def test_one_set_of_weights_in_any_form(word: str, tmp_path: Path) -> None:
    origin = trunks.load(trunks.resolve(word, "random:1"))
    seen = {}
    for name, path in checkpoint_forms(origin, tmp_path).items():
        spec = trunks.resolve(word, str(path))
        loaded = trunks.load(spec)
        for key, value in origin.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value), (name, key)
        assert not loaded.training and not any(one.requires_grad for one in loaded.parameters())
        seen[name] = trunks.weights_sha256(spec)
    assert len(set(seen.values())) == 1
    dense = trunks.load(spec, dense=True).state_dict()
    assert all(torch.equal(value, origin.state_dict()[key]) for key, value in dense.items())
    changed = dict(origin.state_dict())
    changed[next(iter(changed))] = changed[next(iter(changed))] + 1e-3
    torch.save(changed, tmp_path / "other.pth")
    assert trunks.weights_sha256(trunks.resolve(word, str(tmp_path / "other.pth"))) not in seen.values()


@pytest.mark.slow
def test_random_trunks_depend_on_their_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, same, other = (trunks.resolve(RESNET18, word) for word in ("random:7", "random:7", "random"))
    state = trunks.load(first).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(state[key], value) for key, value in trunks.load(same).state_dict().items())
    assert all(torch.equal(state[key], value) for key, value in trunks.load(first, dense=True).state_dict().items())
    assert not torch.equal(state["conv1.weight"], trunks.load(other).state_dict()["conv1.weight"])
    assert trunks.weights_sha256(first) == trunks.weights_sha256(same) != trunks.weights_sha256(other)


def clip_names(name: str) -> str:
    """OpenAI's name of a tensor of timm's CLIP ResNet, by their two sources."""
    name = re.sub(r"^stem\.conv(\d)\.conv", r"conv\1", name)
    name = re.sub(r"^stem\.conv(\d)\.bn", r"bn\1", name)
    name = re.sub(r"^stages\.(\d)\.", lambda found: f"layer{int(found[1]) + 1}.", name)
    name = re.sub(r"conv(\d)_(?:1x1|kxk)\.conv", r"conv\1", name)
    name = re.sub(r"conv(\d)_(?:1x1|kxk)\.bn", r"bn\1", name)
    name = name.replace("shortcut.conv.conv", "downsample.0").replace("shortcut.conv.bn", "downsample.1")
    name = re.sub(r"^head\.([qkv])\.", r"attnpool.\1_proj.", name)
    return "visual." + name.replace("head.pos_embed", "attnpool.positional_embedding")


def lite0_names() -> Callable[[str], str]:
    """The package's names of EfficientNet-Lite0: blocks counted through, norms by their place in the original code."""
    places: dict[str, int] = {}

    def renamed(name: str) -> str:
        if not name.startswith("blocks."):
            return {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}[
                name.partition(".")[0]
            ] + name[name.index(".") :]
        stage, block, module, leaf = name.split(".")[1:]
        number = places.setdefault(f"{stage}.{block}", len(places))
        first = dict(conv_dw="_depthwise_conv", bn1="_bn1", conv_pw="_project_conv", bn2="_bn2")
        others = dict(conv_pw="_expand_conv", bn1="_bn0", conv_dw="_depthwise_conv", bn2="_bn1")
        others |= dict(conv_pwl="_project_conv", bn3="_bn2")
        return f"_blocks.{number}.{(others if number else first)[module]}.{leaf}"

    return renamed


PUBLISHED: dict[str, Callable[[str], str]] = {
    "mocov2": lambda name: f"module.encoder_q.{name}",
    "detco": lambda name: f"module.encoder_q.{name}",
    "swav": lambda name: f"module.{name}",
    "deepclusterv2": lambda name: f"module.{name}",
    "resnet50": lambda name: name,
    "clip-r50": lambda name: clip_names(name.removeprefix("timm_model.")),
    "bit-m-r50x1": lambda name: name.removeprefix("timm_model."),
    "efficientnet-lite0": lambda name: lite0(name.removeprefix("timm_model.")),
}
lite0 = lite0_names()
ALSO_THERE = {
    "mocov2": {"module.queue": (8,), "module.encoder_q.fc.0.weight": (2, 2), "module.encoder_k.conv1.weight": (64, 3)},
    "swav": {"module.projection_head.0.weight": (4, 4), "module.prototypes.weight": (4, 4)},
    "clip-r50": {"visual.attnpool.c_proj.weight": (1024, 2048), "logit_scale": ()},
    "efficientnet-lite0": {"_fc.weight": (1000, 1280), "_fc.bias": (1000,)},
}


@pytest.mark.slow
@pytest.mark.parametrize("row", PUBLISHED)
def test_adapters_read_the_published_names(row: str, tmp_path: Path) -> None:
    origin = trunks.load(trunks.resolve(row, "random:1")).state_dict()
    published = {PUBLISHED[row](name): value for name, value in origin.items()}
    assert len(published) == len(origin)
    others = {name: torch.zeros(shape) for name, shape in ALSO_THERE.get(row, {}).items()}
    torch.save(dict(state_dict=published | others), tmp_path / "published.pth")
    spec = trunks.resolve(row, str(tmp_path / "published.pth"))
    for dense in (False, True):
        loaded = trunks.load(spec, dense).state_dict()
        assert all(torch.equal(value, origin[name]) for name, value in loaded.items())


@pytest.mark.parametrize("row", words.baselines())
def test_rows_of_baselines_are_complete(row: str) -> None:
    facts = words.baselines()[row]
    assert {"title", "backbone", "mean", "std", "weights", "licence", "source", "confidence"} <= set(facts)
    assert facts["confidence"] in ("high", "recalled") and len(facts["mean"]) == len(facts["std"]) == 3
    assert "https://" in facts["weights"]


@pytest.mark.slow
def test_real_weights_from_the_registry() -> None:
    """The file's tensors are in the order of timm's model, so position alone says where each belongs."""
    import timm

    spec = trunks.resolve("efficientnet-lite0")
    reference = timm.create_model("tf_efficientnet_lite0").eval()
    tensors = torch.load(spec.checkpoint, weights_only=True).values()
    reference.load_state_dict(dict(zip(reference.state_dict(), tensors, strict=True)))
    images = random_images(224)
    with torch.inference_mode():
        expected = reference.forward_head(reference.forward_features(images), pre_logits=True)
        assert (trunks.pooled(trunks.load(spec), images) - expected).abs().max() <= 1e-5
    assert trunks.weights_sha256(spec).startswith("e0ca0a85d523")


# What is refused


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("mn-b44", "unknown trunk 'mn-b44'; did you mean 'mn-b4'?"),
        ("mocov22", "did you mean 'mocov2'?"),
        ("tim:resnet50", "did you mean 'timm'?"),
        ("timm:resnet5O", "timm has no model 'resnet5O'; did you mean 'resnet50'?"),
        ("timm:resnet50.a1_in1kk", "has no weights 'a1_in1kk'; did you mean 'a1_in1k'?"),
        ("mmpretrain:resnet18_8xb32_in2k", "mmpretrain ships no config .* did you mean resnet18_8xb32_in1k"),
        ("mine", "unknown trunk 'mine'"),
    ],
)
def test_unknown_words_get_the_nearest(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        trunks.resolve(word, "random")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (dict(backbone="mn-mini"), "expected dict"),
        (dict(backbone=dict(type="interngv.MetaNet"), imgsize=3), "trunks.x.imgsize: .* did you mean 'img_size'"),
    ],
)
def test_a_wrong_row_of_the_suite_is_named(row: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        trunks.resolve("x", "random", dict(x=row))


def test_no_weights_are_fetched_or_invented(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dl\.fbaipublicfiles\.com.*swav_800ep.*--checkpoint random"):
        trunks.resolve("swav")
    with pytest.raises(UserError, match=r"huggingface\.co/timm/resnet50"):
        trunks.resolve("timm:resnet50")
    with pytest.raises(UserError, match="random:SEED"):
        trunks.resolve("mn-mini", "random:x")
    (tmp_path / "weights.pth").touch()
    with pytest.raises(UserError, match=r"does not exist; did you mean 'weights.pth'"):
        trunks.resolve("mn-mini", str(tmp_path / "weight.pth"))


class Payload:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("payload-ran"),))


def test_a_pickle_with_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict=Payload()), "bad.pth")
    spec = trunks.resolve(LITE0, "bad.pth")
    with pytest.raises(UserError, match="bad.pth is not read"):
        trunks.load(spec)
    assert not Path("payload-ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize("word", ["mn-mini", LITE0])
def test_weights_of_another_trunk_are_refused(word: str, tmp_path: Path) -> None:
    state = loading.build(trunks.resolve(word, "random")).state_dict()
    state.pop(next(name for name in state if name.endswith("conv_stem.weight") or name == "stem.conv.weight"))
    torch.save(state, tmp_path / "lacking.pth")
    with pytest.raises(WeightsError, match=r"1 new .*stem.*100.0% must load"):
        trunks.load(trunks.resolve(word, str(tmp_path / "lacking.pth")))
