"""Public weights: features equal to open_clip's own, DeCLIP's layout, what is new, unused or refused."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

import interngv  # noqa: F401  (repairs torchvision before a host library imports it)
from interngv.amateur.image_tower import ImageTower
from interngv.amateur.text_transformer import TextTransformer
from interngv.amateur.weights import load_public
from interngv.errors import UserError
from interngv.load_report import WeightsError

clip = pytest.importorskip("open_clip.model")
pytest.importorskip("timm")

END = 99
TEXT = dict(context_length=16, vocab_size=END + 1, width=32, heads=2, layers=2)
# DeCLIP's own parts beside the towers.
DECLIP_PARTS = {
    "projector.layer1.0.weight": (8, 8),
    "predictor.layer1.0.weight": (4, 8),
    "text_label_predictor.weight": (100, 32),
    "nn_replacer_text.bank": (24, 16),
    "nn_replacer_text.bank_ptr": (1,),
}


class Model(nn.Module):
    """What the weights fill, and a part of another kind."""

    def __init__(self, image: ImageTower, text: TextTransformer, bias: bool = False) -> None:
        super().__init__()
        self.image, self.text, self.projector = image, text, nn.Linear(3, 3)
        self.logit_scale = nn.Parameter(torch.tensor(0.5))
        self.logit_bias = nn.Parameter(torch.tensor(-10.0)) if bias else None


def reference(kind: str = "CLIP", quick: bool = True, logit_bias: float | None = None, **text) -> nn.Module:
    """A small model of open_clip's with random tensors."""
    vision = dict(layers=2, width=64, head_width=64, patch_size=16, image_size=32)
    return randomised(getattr(clip, kind)(24, vision, TEXT | text, quick_gelu=quick, init_logit_bias=logit_bias))


def own(quick: bool = True, bias: bool = False, image: Mapping = {}, **text) -> Model:
    """Our model of the same sizes."""
    torch.manual_seed(1)
    name = f"vit_base_patch32_clip_{'quickgelu_' if quick else ''}224"
    sizes = dict(img_size=32, patch_size=16, embed_dim=64, depth=2, num_heads=1)
    trunk = dict(type="interngv.TimmTrunk", model_name=name, **sizes)
    activation = "quick_gelu" if quick else "gelu"
    arguments = dict(end_id=END, embed_dim=24, activation=activation) | TEXT | text
    return Model(ImageTower(**dict(trunk=trunk, embed_dim=24) | image), TextTransformer(**arguments), bias).eval()


def randomised(model: nn.Module) -> nn.Module:
    """Every tensor random, so that one in a wrong place shows; of sizes that keep features finite."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point() and not name.startswith("logit_"):
                noise = torch.randn(value.shape, generator=generator)
                spread = 0.1 if value.ndim < 2 else min(0.3, value[0].numel() ** -0.5)
                positive = name.endswith(("running_var", "weight")) and value.ndim == 1
                value.copy_(noise.abs() * 0.5 + 0.5 if positive else noise * spread)
    return model.eval()


def captions(vocabulary: int = END, context: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    ids = torch.zeros(3, context, dtype=torch.long)
    for row, length in zip(ids, (5, context, 2), strict=True):
        row[:length] = torch.randint(1, vocabulary, (length,), generator=generator)
        row[length - 1] = vocabulary
    return ids


@torch.no_grad()
def assert_equal_features(model: Model, origin: nn.Module, ids: torch.Tensor, side: int = 32) -> None:
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))
    pairs = (
        (model.image(images).embedding, origin.encode_image(images)),
        (
            model.text(ids).embedding,
            origin.encode_text(ids),
        ),
    )
    for found, expected in pairs:
        assert expected.std() > 1e-2  # a feature, not a constant that any weights would give
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert torch.equal(model.logit_scale, origin.logit_scale.reshape(()))


def saved(state: Mapping[str, torch.Tensor], folder: Path, entry: str | None = None) -> Path:
    path = folder / "public.pth"
    torch.save(dict(state) if entry is None else {entry: dict(state), "epoch": 3}, path)
    return path


# Equal to open_clip


@pytest.mark.parametrize("kind", ["CLIP", "CustomTextCLIP"])
@pytest.mark.parametrize("quick", [True, False])
def test_small_clip(kind: str, quick: bool, tmp_path: Path) -> None:
    origin, model = reference(kind, quick), own(quick)
    report = load_public(model, saved(origin.state_dict(), tmp_path))
    assert report.coverage == 1 and not report.new and not report.dropped
    assert_equal_features(model, origin, captions())


def test_sigmoid_models_and_biased_projections(tmp_path: Path) -> None:
    origin, model = reference(logit_bias=-7.5, proj_bias=True), own(bias=True, projection_bias=True)
    load_public(model, saved(origin.state_dict(), tmp_path))
    assert_equal_features(model, origin, captions())
    assert model.logit_bias.item() == -7.5


def test_safetensors_and_half_precision(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    origin, model = reference(), own()
    half = {name: value.half() for name, value in origin.state_dict().items()}
    save_file(half, tmp_path / "public.safetensors")
    load_public(model, tmp_path / "public.safetensors")
    origin.load_state_dict(half)
    assert_equal_features(model, origin, captions())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "trunk", "arguments", "activation"),
    [
        ("RN50", "resnet50_clip", dict(embed_dim=1024, projection_bias=True), "gelu"),
        ("ViT-B-32", "vit_base_patch32_clip_224", dict(embed_dim=512), "gelu"),
        ("ViT-B-32-quickgelu", "vit_base_patch32_clip_quickgelu_224", dict(embed_dim=512), "quick_gelu"),
    ],
)
def test_clip_at_full_size(name: str, trunk: str, arguments: dict, activation: str, tmp_path: Path) -> None:
    import open_clip

    origin = randomised(open_clip.create_model(name, pretrained=None))
    image = ImageTower(dict(type="interngv.TimmTrunk", model_name=trunk), **arguments)
    model = Model(image, TextTransformer(49408, 49407, arguments["embed_dim"], activation=activation)).eval()
    report = load_public(model, saved(origin.state_dict(), tmp_path))
    assert report.coverage == 1 and not report.dropped
    assert_equal_features(model, origin, captions(49407, 77), side=224)


# DeCLIP's layout


def as_linear(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    matrix = state.pop("encode_text.text_projection")
    return state | {"encode_text.text_projection.weight": matrix.T.contiguous()}


def declip(origin: nn.Module) -> dict[str, torch.Tensor]:
    """open_clip's names as DeCLIP's release has them: image tower and scale alike, text tower below its own name."""
    inside = ("visual.", "logit_")
    state = {name if name.startswith(inside) else f"encode_text.{name}": v for name, v in origin.state_dict().items()}
    return state | {name: torch.ones(shape) for name, shape in DECLIP_PARTS.items()}


@pytest.mark.parametrize("entry", [None, "state_dict", "model"])
@pytest.mark.parametrize("change", [dict, as_linear], ids=["matrix", "linear"])
def test_declip(entry: str | None, change: Callable, tmp_path: Path) -> None:
    origin, model = reference(), own()
    before = copy.deepcopy(model.projector.state_dict())
    state = change(declip(origin)) | {"logit_scale": origin.logit_scale.detach().reshape(1)}
    path = saved({f"module.{name}": value for name, value in state.items()}, tmp_path, entry)
    report = load_public(model, path)
    assert_equal_features(model, origin, captions())
    assert set(report.dropped) == set(DECLIP_PARTS) and "5 dropped (projector.layer1.0.weight, " in str(report)
    assert all(torch.equal(value, before[name]) for name, value in model.projector.state_dict().items())


def test_declip_projection_with_a_bias(tmp_path: Path) -> None:
    origin = reference(proj_bias=True)
    path = saved(declip(origin), tmp_path)
    with pytest.raises(WeightsError, match=r"1 tensors .*\(text.text_projection_bias\).*projection_bias is another"):
        load_public(own(), path)
    model = own(projection_bias=True)
    load_public(model, path, "declip")
    assert_equal_features(model, origin, captions())


# What the file has not


def test_a_mask_word_behind_the_files_vocabulary_stays(tmp_path: Path) -> None:
    origin, model = reference(), own(vocab_size=END + 2)
    last = model.text.token_embedding.weight[-1].clone()
    load_public(model, saved(origin.state_dict(), tmp_path))
    assert_equal_features(model, origin, captions())
    assert torch.equal(model.text.token_embedding.weight[-1], last)


def test_token_projections_and_the_logit_bias_stay(tmp_path: Path) -> None:
    origin, model = reference(), own(bias=True, image=dict(token_dim=6), token_dim=6)
    report = load_public(model, saved(origin.state_dict(), tmp_path))
    assert set(report.new) == {"image.token_projection.weight", "text.token_projection.weight", "logit_bias"}
    assert_equal_features(model, origin, captions())


METANET = dict(trunk=dict(type="interngv.MetaNet", arch="mn-mini"))


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        (dict(layers=3), {}, r"do not fit: .*12 new \(text.transformer.resblocks.2"),
        (dict(layers=1), {}, r"12 tensors of its towers have no place .*\(text.transformer.resblocks.1"),
        (dict(vocab_size=120), {"token_embedding.weight": torch.zeros(90, 32)}, "these are different vocabularies"),
        (dict(context_length=12), {}, r"1 of another shape \(text.positional_embedding: 16 x 32 for 12 x 32\)"),
        ({}, {"visual.proj": None}, r"do not fit: .*1 new \(image.projection.weight\)"),
        ({}, {"logit_scale": None}, r"do not fit: .*1 new \(logit_scale\)"),
        ({}, {"visual.other": torch.ones(1)}, r"1 tensors of its towers .*\(image.trunk.timm_model.other\)"),
        (dict(image=METANET), {}, r"fill trunks of timm, not MetaNet: .*resnet50_clip"),
        ({}, {"token_embedding.weight": None}, r"no image-text weights of a known layout \(open_clip, declip\)"),
    ],
)
def test_what_does_not_fit_is_refused(model: dict, change: dict, message: str, tmp_path: Path) -> None:
    state = {name: value for name, value in (reference().state_dict() | change).items() if value is not None}
    target = own(**model)
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(WeightsError, match=message):
        load_public(target, saved(state, tmp_path))
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


@pytest.mark.slow
def test_a_projection_that_lacks_its_bias_is_refused(tmp_path: Path) -> None:
    """CLIP's ResNets end in a linear layer; without its bias the features would be others."""
    state = {name: value for name, value in reference().state_dict().items() if not name.startswith("visual.")}
    visual = clip.ModifiedResNet((3, 4, 6, 3), 24, 32).state_dict()
    path = saved(state | {f"visual.{name}": value for name, value in visual.items()}, tmp_path)
    image = ImageTower(dict(type="interngv.TimmTrunk", model_name="resnet50_clip"), 24)
    with pytest.raises(WeightsError, match=r"1 tensors of its towers .*\(image.projection.bias\)"):
        load_public(Model(image, own().text), path)


def test_an_unknown_layout_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="layout 'openclip' is none of .*did you mean 'open_clip'"):
        load_public(own(), saved(reference().state_dict(), tmp_path), "openclip")
