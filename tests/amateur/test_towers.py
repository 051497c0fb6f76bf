"""Both towers: features against plain restatements, what padding and freezing must not change, any trunk, refusals."""

import copy
import math
import re

import pytest
import torch
from torch import nn

import interngv  # noqa: F401  (repairs torchvision before a host library imports it)
from interngv.amateur.image_tower import ImageTower
from interngv.amateur.text_transformer import QuickGELU, TextTransformer
from interngv.amateur.trunk_outputs import width
from interngv.registry import MODELS

START, END, MASK = 98, 99, 100
VOCABULARY = dict(vocab_size=101, end_id=END)
SMALL = dict(**VOCABULARY, embed_dim=12, context_length=10, width=16, layers=2, heads=2)
STAGES = [
    dict(operator="fused_mbconv", repeats=1, channels=16, expansion=2, stride=2),
    dict(operator="mbconv", repeats=1, channels=24, expansion=2, stride=2),
    dict(operator="sa", repeats=1, channels=32, expansion=2, stride=2, dsm="lg"),
]
ARCH = dict(stem_channels=8, head_dim=8, feature_dim=40, img_size=32, stages=STAGES)
META = dict(type="interngv.MetaNet", arch=ARCH)
VIT = dict(type="interngv.TimmTrunk", model_name="vit_tiny_patch16_224", img_size=32, depth=2)


def text_tower(**changes) -> TextTransformer:
    torch.manual_seed(0)
    tower = TextTransformer(**SMALL | changes)
    for param in tower.parameters():  # the release starts with weights so small that errors would not show
        nn.init.normal_(param, std=0.3)
    return tower.eval()


def captions(*lengths: int, columns: int = 10) -> torch.Tensor:
    """A caption a row, of so many tokens, behind it the pad id 0."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.zeros(len(lengths), columns, dtype=torch.long)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(1, START, (length,), generator=generator)
        row[0], row[length - 1] = START, END
    return ids


def images(side: int = 32, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def image_tower(trunk: dict = META, **changes) -> ImageTower:
    torch.manual_seed(0)
    return ImageTower(trunk, **dict(embed_dim=12) | changes)


# The text tower


def restated(tower: TextTransformer, ids: list[int]) -> torch.Tensor:
    """Word features (T, W) of one caption, a head and a position at a time."""
    x = tower.token_embedding.weight[ids] + tower.positional_embedding[: len(ids)]
    for block in tower.transformer.resblocks:
        heads = block.attn.heads
        parts = block.ln_1(x) @ block.attn.in_proj_weight.T + block.attn.in_proj_bias
        query, key, value = (part.chunk(heads, -1) for part in parts.chunk(3, -1))
        mixed = torch.zeros_like(x)
        for place in range(len(ids)):
            seen = [h[: place + 1] for h in key], [h[: place + 1] for h in value]
            shares = [(k @ q[place] / math.sqrt(q.shape[1])).softmax(0) for q, k in zip(query, seen[0], strict=True)]
            mixed[place] = torch.cat([share @ v for share, v in zip(shares, seen[1], strict=True)])
        x = x + mixed @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
        hidden = block.mlp.c_fc(block.ln_2(x))
        x = x + block.mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden))
    return tower.ln_final(x)


@torch.no_grad()
def test_text_features_are_the_restatement_of_each_caption_alone() -> None:
    tower, lengths = text_tower(), (7, 2, 9)
    ids = captions(*lengths)
    features = tower(ids, words=True, tokens=True)
    assert features.lengths.tolist() == list(lengths)
    assert features.embedding.shape == (3, 12) and features.words.shape == (3, 10, 16)
    for row, length in enumerate(lengths):
        words = restated(tower, ids[row, :length].tolist())
        torch.testing.assert_close(features.words[row, :length], words, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(features.embedding[row], words[-1] @ tower.text_projection, atol=1e-5, rtol=1e-5)
        tokens = words @ tower.text_projection
        torch.testing.assert_close(features.tokens[row, :length], tokens, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(4, 6), (10, 3)])
def test_nothing_behind_the_end_counts(lengths: tuple[int, int]) -> None:
    tower = text_tower(projection_bias=True)
    ids = captions(*lengths)
    other = ids.clone()
    for row, length in enumerate(lengths):
        other[row, length:] = torch.randint(0, 101, (10 - length,), generator=torch.Generator().manual_seed(row))
    plain, changed = tower(ids, words=True, tokens=True), tower(other, words=True, tokens=True)
    torch.testing.assert_close(plain.embedding, changed.embedding)
    for one in (plain, changed):
        for row, length in enumerate(lengths):
            assert one.words[row, length:].eq(0).all() and one.tokens[row, length:].eq(0).all()
    torch.testing.assert_close(plain.words, changed.words)
    cut = tower(ids[:, : max(lengths)], words=True)
    torch.testing.assert_close(cut.embedding, plain.embedding)
    assert cut.words.shape[1] == max(lengths)


@torch.no_grad()
def test_a_mask_word_greater_than_the_end_moves_nothing() -> None:
    tower, ids = text_tower(), captions(8)
    ids[0, 3] = MASK
    features = tower(ids, words=True)
    assert ids.argmax(1).item() == 3 and features.lengths.item() == 8
    torch.testing.assert_close(features.embedding, features.words[:, 7] @ tower.text_projection)


@torch.no_grad()
def test_a_word_sees_none_behind_it() -> None:
    tower, ids = text_tower(), captions(9)
    other = ids.clone()
    other[0, 5] = 1 + ids[0, 5] % 90
    first, second = tower(ids, words=True).words, tower(other, words=True).words
    torch.testing.assert_close(first[:, :5], second[:, :5])
    assert (first[:, 5:9] - second[:, 5:9]).abs().amax(-1).gt(1e-3).all()


@pytest.mark.parametrize("token_dim", [None, 6])
def test_every_parameter_gets_a_gradient_and_recomputation_the_same(token_dim: int | None) -> None:
    tower = text_tower(projection_bias=True, token_dim=token_dim)
    recomputing = copy.deepcopy(tower)
    recomputing.transformer.with_cp = True
    ids = captions(7, 10)
    for one in (tower, recomputing):
        features = one(ids, tokens=True)
        assert features.words is None and features.tokens.shape == (2, 10, token_dim or 12)
        (features.embedding.square().sum() + features.tokens.pow(3).sum()).backward()
    without = [name for name, param in tower.named_parameters() if not param.grad.any()]
    assert not without
    for own, other in zip(tower.parameters(), recomputing.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_quick_gelu_is_its_formula() -> None:
    x = torch.linspace(-30, 30, 400, dtype=torch.float64, requires_grad=True)
    formula = x * torch.sigmoid(1.702 * x)
    torch.testing.assert_close(QuickGELU()(x), formula)
    (expected,) = torch.autograd.grad(formula.sum(), x)
    (found,) = torch.autograd.grad(QuickGELU()(x).sum(), x)
    torch.testing.assert_close(found, expected)


def test_names_and_initial_values_are_those_of_open_clip() -> None:
    model = pytest.importorskip("open_clip.model")
    sizes = dict(width=64, layers=3, heads=4, vocab_size=600, context_length=40)
    torch.manual_seed(0)
    reference = model._build_text_tower(48, sizes).state_dict()
    state = TextTransformer(embed_dim=48, end_id=599, **sizes).state_dict()
    assert {name: value.shape for name, value in state.items()} == {k: v.shape for k, v in reference.items()}
    for name, value in state.items():
        expected = reference[name].std().item()
        assert value.std().item() == pytest.approx(expected, rel=0.35 if value.ndim == 1 else 0.06), name
        assert value.mean().item() == pytest.approx(reference[name].mean().item(), abs=0.02 + expected / 4), name


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(3, 10, dtype=torch.long), "3 of 3 captions have no end (id 99): rows 0, 1, 2"),
        (captions(4, 3, 5)[:, :4], "1 of 3 captions have no end (id 99): rows 2"),
        (torch.full((20, 2), 5), "rows 0, 1, 2, 3, 4, 5, 6, 7, ..."),
        (captions(4, columns=11), "shape (1, 11), expected (N, T) of at least one caption, T from 1 to 10"),
        (captions(4)[0], "shape (10,)"),
        (captions(4)[:0], "at least one caption"),
        (captions(4) + 2, "token ids from 2 to 101 in a vocabulary of 101"),
        (captions(4) - 1, "token ids from -1 to 98"),
    ],
)
def test_ids_that_are_no_captions_are_refused(ids: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        text_tower()(ids)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(activation="quickgelu"), "'quickgelu' is none of quick_gelu, gelu; did you mean 'quick_gelu'?"),
        (dict(heads=3), "width 16 does not divide into 3 heads"),
        (dict(end_id=101), "end_id 101 is not in a vocabulary of 101 ids"),
    ],
)
def test_wrong_text_towers_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        TextTransformer(**SMALL | changes)


# The image tower


@torch.no_grad()
def test_features_of_a_map_are_its_mean_and_its_cells() -> None:
    tower = image_tower(projection_bias=True).eval()
    features = tower(images(), tokens=True)
    (map_,) = tower.trunk(images())
    assert map_.shape[2:] == (2, 2) and features.tokens.shape == (2, 4, 12)
    torch.testing.assert_close(features.pooled, torch.stack([one.flatten(1).sum(1) / 4 for one in map_]))
    torch.testing.assert_close(features.embedding, tower.projection(features.pooled))
    for row in range(2):
        for column in range(2):
            cell = tower.projection(map_[:, :, row, column])
            torch.testing.assert_close(features.tokens[:, 2 * row + column], cell)
    assert tower(images()).tokens is None


@torch.no_grad()
def test_tokens_of_timms_transformers_are_their_patches() -> None:
    pytest.importorskip("timm")
    tower = image_tower(VIT).eval()
    features = tower(images(), tokens=True)
    model = tower.trunk.timm_model
    torch.testing.assert_close(features.pooled, model(images()))
    patches = model.get_intermediate_layers(images(), n=1, norm=True)[0]
    torch.testing.assert_close(features.tokens, tower.projection(patches))


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224", "vit_medium_patch16_reg1_gap_256"])
def test_cells_are_what_timms_models_average(name: str) -> None:
    pytest.importorskip("timm")
    trunk = MODELS.build(dict(type="interngv.TimmTrunk", model_name=name)).eval()
    side = trunk.timm_model.pretrained_cfg["input_size"][-1]
    cells, pooled = trunk(images(side), cells=True)
    averaged = cells.mean(1) if not hasattr(trunk.timm_model, "fc_norm") else trunk.timm_model.fc_norm(cells.mean(1))
    torch.testing.assert_close(pooled, averaged, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pooled, trunk(images(side))[-1])


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunk", "expected"),
    [
        (dict(type="mmpretrain.ResNet", depth=18), 512),
        (dict(type="mmpretrain.VisionTransformer", arch="deit-tiny", img_size=32, out_type="raw"), 192),
        (dict(type="mmpretrain.VisionTransformer", arch="deit-tiny", img_size=32), 192),
        (dict(type="interngv.TimmTrunk", model_name="mobilenetv3_small_050"), 1024),
        (dict(type="interngv.TimmTrunk", model_name="mobilenetv3_small_050", out_indices=(1, 2)), 16),
        (dict(type="interngv.TimmTrunk", model_name="resnet50_clip"), 2048),
        (dict(META, in_channels=1), 40),
    ],
)
def test_any_trunk_has_its_width_found(trunk: dict, expected: int) -> None:
    tower = image_tower(trunk).eval()
    assert tower.width == expected
    side = 224 if trunk.get("model_name") == "resnet50_clip" else 32
    assert tower(images(side)[:, : trunk.get("in_channels", 3)]).pooled.shape == (2, expected)


@torch.no_grad()
@pytest.mark.slow
def test_the_class_token_is_the_feature_of_mmpretrains_raw_tokens() -> None:
    config = dict(type="mmpretrain.VisionTransformer", arch="deit-tiny", img_size=32)
    raw, plain = image_tower(config | dict(out_type="raw")).eval(), image_tower(config).eval()
    plain.load_state_dict(raw.state_dict())
    features = raw(images(), tokens=True)
    torch.testing.assert_close(features.pooled, plain(images()).pooled)
    assert features.tokens.shape == (2, 4, 12)
    with pytest.raises(ValueError, match=r"VisionTransformer gives no cells.*out_type='raw'"):
        plain(images(), tokens=True)


def test_finding_the_width_changes_nothing() -> None:
    trunk = MODELS.build(META).train()
    trunk.stem.eval()
    before, modes = copy.deepcopy(trunk.state_dict()), [module.training for module in trunk.modules()]
    generator = torch.get_rng_state()
    assert width(trunk) == width(trunk, of_cells=True) == 40
    assert torch.equal(torch.get_rng_state(), generator)
    assert modes == [module.training for module in trunk.modules()]
    for name, value in trunk.state_dict().items():
        assert value.device.type == "cpu" and torch.equal(value, before[name]), name


@MODELS.register_module()
class ReadingTrunk(nn.Module):
    """Computes with values, which the meta device has none of."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 7, 3), nn.BatchNorm2d(7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return x * float(x.abs().max())


def test_a_trunk_that_computes_with_values_is_tried_as_it_is() -> None:
    tower = image_tower(dict(type="interngv.ReadingTrunk"))
    assert tower.width == 7 and tower.training and tower.trunk.norm.training
    assert tower.trunk.norm.num_batches_tracked == 0 and tower.trunk.norm.running_mean.eq(0).all()


def test_towers_stand_on_the_meta_device() -> None:
    with torch.device("meta"):
        tower, text = ImageTower(META, 12), TextTransformer(**SMALL)
    assert tower.projection.weight.shape == (12, 40)
    assert all(one.is_meta for one in (*tower.parameters(), *text.parameters()))


def test_cells_of_another_width_need_their_own_projection() -> None:
    pytest.importorskip("timm")
    trunk = dict(type="interngv.TimmTrunk", model_name="test_mambaout")
    with pytest.raises(ValueError, match="cells are 64 wide and its feature 256.*give token_dim"):
        image_tower(trunk).eval()(images(), tokens=True)
    tower = image_tower(trunk, token_dim=5)
    features = tower(images(64), tokens=True)
    assert features.tokens.shape == (2, 4, 5) and features.embedding.shape == (2, 12)
    (features.embedding.sum() + features.tokens.pow(2).sum()).backward()
    assert not [name for name, param in tower.named_parameters() if param.grad is None]


@pytest.mark.parametrize(("trunk", "start"), [(VIT, "patch_embed"), (META, "stem"), (META, "blocks.0")])
def test_what_is_frozen_stays(trunk: dict, start: str) -> None:
    if trunk is VIT:
        pytest.importorskip("timm")
    tower = image_tower(trunk, frozen=(start,)).train()
    buffers = {name: value.clone() for name, value in tower.named_buffers()}
    tower(images()).embedding.square().sum().backward()
    below = re.compile(rf"trunk\.(timm_model\.)?{start}\.")
    assert any(below.match(name) for name, _ in tower.named_parameters())
    for name, param in tower.named_parameters():
        assert (param.grad is None) == (not param.requires_grad) == bool(below.match(name)), name
    for name, value in tower.named_buffers():
        assert torch.equal(value, buffers[name]) == bool(below.match(name)), name


def test_frozen_names_are_whole_parts_of_the_trunks() -> None:
    with pytest.raises(ValueError, match=r"'stems' is no part of the trunk; did you mean 'stem'\? it has stem, blocks"):
        image_tower(frozen=("stems",))
    with pytest.raises(ValueError, match="frozen='ste'"):
        image_tower(frozen=("ste",))


def test_a_trunks_own_initialisation_is_reached() -> None:
    tower = image_tower(META | dict(init_cfg=dict(type="Constant", layer="Conv2d", val=0.25)))
    tower.init_weights()
    assert tower.trunk.stem.conv.weight.eq(0.25).all()
    assert tower.projection.weight.std().item() == pytest.approx(40**-0.5, rel=0.1)


@pytest.mark.parametrize(
    ("name", "embed_dim", "bias", "total"),
    [
        ("vit_base_patch32_clip_quickgelu_224", 512, False, 151_277_313),
        ("resnet50_clip", 1024, True, 102_007_137),
    ],
)
def test_clips_models_have_their_published_size(name: str, embed_dim: int, bias: bool, total: int) -> None:
    """The counts that OpenAI's notebook prints for ViT-B/32 and RN50; one parameter is the logit scale."""
    pytest.importorskip("timm")
    trunk = dict(type="interngv.TimmTrunk", model_name=name)
    with torch.device("meta"):
        towers = ImageTower(trunk, embed_dim, bias), TextTransformer(49408, 49407, embed_dim)
    assert sum(param.numel() for tower in towers for param in tower.parameters()) + 1 == total
