"""Up-A-L: what target and teacher get, the hand-off from Up-A-G and back to zero-shot, resuming, a real training."""

import copy
import math
import re
from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("mmpretrain")
pytest.importorskip("mmdet")

from mmengine.logging import MessageHub
from mmengine.registry import MODELS as ROOT
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from interngv.amateur.local import LocalSelfSupervision, SeenView, ViewGeometry
from interngv.amateur.local.networks import LocalNetwork
from interngv.engine import handoff
from interngv.load_report import WeightsError
from interngv.registry import MODELS

TRUNK = dict(type="interngv.MetaNet", arch="mn-mini")
SMALL = dict(hidden=12, out=6)
DENSE = dict(trunk=TRUNK, matching=dict(type="interngv.DenseMatching", width=1280, **SMALL))
PYRAMID = dict(
    trunk=dict(TRUNK, out_indices=(0, 1, 2, 3, 4)),
    levels=(0, 1, 2, 3),
    neck=dict(type="mmdet.FPN", in_channels=[24, 40, 64, 128], out_channels=8, num_outs=4),
    matching=dict(type="interngv.BoxMatching", width=8, finest_scale=8, cells=3, head=10, **SMALL),
)
TEACHER = dict(weight=0.5, embed_dim=10)
FORMS = [DENSE, PYRAMID]
STEPS = 12


@pytest.fixture(autouse=True)
def length() -> None:
    MessageHub.get_current_instance().update_info("max_iters", STEPS)


def built(config: dict = DENSE, **changes) -> LocalSelfSupervision:
    torch.manual_seed(0)
    return ROOT.build(dict(config, type="interngv.LocalSelfSupervision", **changes))


def batch(views: int = 2, seed: int = 0, side: int = 32) -> tuple[list[Tensor], list[BaseDataElement]]:
    """Three images; their views overlap."""
    generator = torch.Generator().manual_seed(seed)
    boxes = 8 * torch.rand(3, views, 4, generator=generator) + torch.tensor([0.0, 0.0, 40.0, 40.0])
    flips = torch.rand(3, views, generator=generator) < 0.5
    samples = [BaseDataElement(view_boxes=box, view_flips=flip) for box, flip in zip(boxes, flips, strict=True)]
    return [torch.randn(3, 3, side, side, generator=generator) for _ in range(views)], samples


def step(net: LocalSelfSupervision, optimizer: torch.optim.Optimizer, seed: int) -> Tensor:
    total, _ = net.parse_losses(net(*batch(seed=seed), "loss"))
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    return total.detach()


def sgd(net: LocalSelfSupervision) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)


@pytest.mark.parametrize("config", FORMS)
def test_every_online_parameter_learns_and_no_other(config: dict) -> None:
    net = built(config, distillation=TEACHER).train()
    frozen = copy.deepcopy(net.teacher.state_dict())
    optimizer = sgd(net)
    for number in range(2):
        total, _ = net.parse_losses(net(*batch(seed=number), "loss"))
        total.backward()
        following = copy.deepcopy(net.target.state_dict())
        optimizer.step()
    assert all(torch.equal(value, following[name]) for name, value in net.target.state_dict().items())
    assert all(torch.equal(value, frozen[name]) for name, value in net.teacher.state_dict().items())
    for name, param in net.named_parameters():
        online = name.startswith(("trunk.", "neck.", "matching."))
        assert online == (param.grad is not None) == param.requires_grad, name
        assert online or name.startswith(("target.", "teacher.")), name
    # A level of the pyramid may have had no box, and a bias before a batch norm has no effect.
    weights = [name for name, param in net.named_parameters() if param.requires_grad and param.ndim > 1]
    assert not [name for name in weights if not name.startswith("neck.") and not net.get_parameter(name).grad.any()]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU in sight")
def test_a_gpu_gives_the_same_loss() -> None:
    net = built().eval()
    views, samples = batch()
    expected = copy.deepcopy(net)(views, samples, "loss")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        found = net.cuda()([view.cuda() for view in views], samples, "loss")
    assert found["loss_local"].item() == pytest.approx(expected["loss_local"].item(), abs=1e-3)


@pytest.mark.slow
def test_the_target_moves_by_a_momentum_that_goes_to_one() -> None:
    net = built(momentum=0.9).train()
    optimizer = sgd(net)
    name = "trunk.stem.conv.weight"
    following = f"target.module.{name}"
    expected = None
    for number in range(STEPS):
        online = net.state_dict()[name].double().clone()  # before the step
        share = 1 - 0.1 * (math.cos(math.pi * number / STEPS) + 1) / 2
        expected = online if expected is None else share * expected + (1 - share) * online
        step(net, optimizer, number)
        torch.testing.assert_close(net.state_dict()[following].double(), expected, atol=1e-6, rtol=1e-5)
    assert (net.state_dict()[following] - net.state_dict()[name]).abs().max() > 1e-3
    assert net.target.steps == STEPS
    state = copy.deepcopy(net.state_dict())
    net.eval()(*batch(), "loss")
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_the_target_starts_as_what_the_hand_off_filled() -> None:
    net = built(PYRAMID)
    net.trunk.load_state_dict(built(PYRAMID, trunk=dict(PYRAMID["trunk"])).trunk.state_dict())
    with torch.no_grad():
        for param in net.trunk.parameters():
            param.add_(1)
    net.train()(*batch(), "loss")
    for part, copied in ((net.trunk, "trunk"), (net.neck, "neck"), (net.matching.projector, "projector")):
        target = dict(getattr(net.target.module, copied).named_parameters())
        assert all(torch.equal(value, target[name]) for name, value in part.named_parameters())


@pytest.mark.parametrize("config", FORMS)
def test_three_views_are_compared_in_all_ordered_pairs(config: dict) -> None:
    net = built(config).eval()
    with torch.no_grad():
        for param in net.target.parameters():
            param.mul_(1.1)
    views, samples = batch(views=3)
    views[2] = torch.nn.functional.interpolate(views[2], (24, 40))
    torch.manual_seed(1)
    found = net(views, samples, "loss")
    places = [
        ViewGeometry(
            torch.stack([sample.view_boxes[k] for sample in samples]),
            torch.stack([sample.view_flips[k] for sample in samples]),
            tuple(views[k].shape[-2:]),
        )
        for k in range(3)
    ]
    torch.manual_seed(1)
    terms = []
    for one, other in permutations(range(3), 2):
        online = SeenView(net(views[one]), places[one])
        target = SeenView(net.target.module(views[other])[1], places[other])
        terms.append(net.matching(online, target, net.target.module.projector)[0])
    assert len(terms) == 6
    torch.testing.assert_close(found["loss_local"], sum(terms) / 6)


def test_distillation_is_the_cosine_to_the_frozen_tower() -> None:
    net = built(distillation=TEACHER).train()
    views, samples = batch()
    with torch.no_grad():
        teacher = [net.teacher.projection(net.teacher.trunk(view)[0].mean((2, 3))) for view in views]
    assert not net.teacher.training and not net.teacher.trunk.training
    student = [net.teacher.projection(copy.deepcopy(net.trunk)(view)[0].mean((2, 3))) for view in views]
    cosines = [
        (one @ two) / (one.norm() * two.norm())
        for mine, goal in zip(student, teacher, strict=True)
        for one, two in zip(mine, goal, strict=True)
    ]
    found = net(views, samples, "loss")
    torch.testing.assert_close(found["loss_global"], 0.5 * (1 - sum(cosines) / 6), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("distillation", [None, dict(weight=0), dict(weight=0.0, embed_dim=10)])
def test_without_a_weight_there_is_no_teacher(distillation: dict | None) -> None:
    net = built(distillation=distillation).train()
    assert net.teacher is None and not any(name.startswith("teacher") for name in net.state_dict())
    assert set(net(*batch(), "loss")) == {"loss_local", "matches", "spread"}


# From Up-A-G and back


def image_text_model(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    text = dict(vocab_size=50, end_id=49, embed_dim=10, context_length=6, width=16, layers=1, heads=2)
    config = dict(image=dict(trunk=TRUNK, embed_dim=10), text=text, losses=dict(clip=dict(type="interngv.InfoNCE")))
    net = MODELS.build(dict(type="interngv.ImageTextModel", **config))
    net(batch(side=64)[0][0])  # one pass in training mode: statistics of batch norms
    return net.eval()


def saved(net: torch.nn.Module, path: Path) -> Path:
    torch.save({"state_dict": net.state_dict()}, path)
    return path


SELECT = {"image.trunk": "trunk", "image": "teacher"}


@pytest.mark.parametrize("config", FORMS)
def test_handed_over_from_up_a_g_and_back_to_zero_shot(config: dict, tmp_path: Path) -> None:
    amateur = image_text_model(1)
    net = built(config, distillation=TEACHER)
    report = handoff.load(net, handoff.Upstream(saved(amateur, tmp_path / "global.pth"), "test", select=SELECT))
    assert report.coverage == 1
    views, samples = batch()
    assert net.eval()(views, samples, "loss")["loss_global"].item() == pytest.approx(0, abs=1e-6)
    optimizer = sgd(net.train())
    for number in range(3):
        step(net, optimizer, number)

    other = image_text_model(1)
    local = handoff.Upstream(saved(net, tmp_path / "local.pth"), "test", select={"trunk": "image.trunk"})
    assert handoff.load(other, local).coverage == 1
    net.eval()
    with torch.no_grad():
        expected = torch.nn.functional.normalize(amateur.image.projection(net.trunk(views[0])[-1].mean((2, 3))), dim=-1)
        torch.testing.assert_close(other.encode_image(views[0]), expected)
        drift = (other.encode_image(views[0]) - amateur.encode_image(views[0])).norm(dim=1)
    assert (drift > 1e-3).all()
    assert torch.equal(net.teacher.projection.weight, amateur.image.projection.weight)


def test_the_next_stage_finds_the_trunk(tmp_path: Path) -> None:
    net = built(PYRAMID, distillation=TEACHER)
    step(net.train(), sgd(net), 0)
    step(net, sgd(net), 1)
    holder = torch.nn.Module()
    holder.backbone = MODELS.build(dict(PYRAMID["trunk"], out_indices=(0, 1, 2, 3)))
    handoff.load(holder, handoff.Upstream(saved(net, tmp_path / "local.pth"), "test"))
    trunk = net.trunk.state_dict()
    assert all(torch.equal(value, trunk[name]) for name, value in holder.backbone.state_dict().items())


def test_a_teacher_of_another_space_is_refused(tmp_path: Path) -> None:
    upstream = handoff.Upstream(saved(image_text_model(1), tmp_path / "global.pth"), "test", select=SELECT)
    with pytest.raises(WeightsError, match=re.escape("teacher.projection.weight: 10 x 1280 for 11 x 1280")):
        handoff.load(built(distillation=dict(TEACHER, embed_dim=11)), upstream)


# Resuming


@pytest.mark.parametrize("config", FORMS)
@pytest.mark.slow
def test_a_resumed_training_is_bit_for_bit_the_undisturbed(config: dict) -> None:
    whole = built(config, distillation=TEACHER).train()
    optimizer = sgd(whole)
    for number in range(3):
        if number == 2:
            stopped = copy.deepcopy((whole.state_dict(), optimizer.state_dict(), torch.get_rng_state()))
        step(whole, optimizer, number)

    resumed = built(config, distillation=TEACHER, momentum=0.99).train()
    again = sgd(resumed)
    resumed.load_state_dict(stopped[0])
    again.load_state_dict(stopped[1])
    torch.set_rng_state(stopped[2])
    assert resumed.target.steps == 2
    step(resumed, again, 2)
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name


# Trunks


@torch.no_grad()
def test_one_map_is_the_trunks_own_whatever_the_images_sides() -> None:
    trunk = MODELS.build(TRUNK).eval()
    images = batch(side=64)[0][0][:, :, :, :].repeat(1, 1, 1, 2)[:, :, :, :96]
    pooled, (map_,) = LocalNetwork(trunk, None, None, torch.nn.Identity())(images)
    (expected,) = trunk(images)
    assert map_.shape == (3, 1280, 2, 3) and torch.equal(map_, expected)
    torch.testing.assert_close(pooled, expected.mean((2, 3)))


def test_patches_of_a_transformer_are_a_map() -> None:
    pytest.importorskip("timm")
    vit = dict(type="interngv.TimmTrunk", model_name="vit_tiny_patch16_224", img_size=(32, 48), depth=1)
    net = built(
        trunk=vit, matching=dict(type="interngv.DenseMatching", width=192, **SMALL), distillation=TEACHER
    ).train()
    views = [torch.randn(3, 3, 32, 48) for _ in range(2)]
    assert net(views[0])[0].shape == (3, 192, 2, 3)
    total, _ = net.parse_losses(net(views, batch()[1], "loss"))
    total.backward()
    assert not [name for name, param in net.named_parameters() if param.requires_grad and param.grad is None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(levels=(0, 1)), "levels=(0, 1): the trunk gives 1 maps; its out_indices say which"),
        (
            dict(levels=(0,), trunk=dict(type="mmpretrain.VisionTransformer", arch="deit-tiny", img_size=32)),
            "gives no maps",
        ),
    ],
)
def test_levels_that_the_trunk_has_not_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        built(**changes)(batch()[0])


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(momentum=1.0), "momentum=1.0: expected a share of the target that stays, between 0 and 1"),
        (dict(distillation=dict(embed_dim=10)), "distillation.weight=None: expected a number from 0 up"),
        (dict(distillation=dict(weight=-1, embed_dim=10)), "distillation.weight=-1"),
        (dict(distillation=dict(weight=math.nan, embed_dim=10)), "distillation.weight=nan"),
    ],
)
def test_wrong_models_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        built(**changes)


@pytest.mark.parametrize(
    ("views", "samples", "message"),
    [
        (1, 3, "compares two views of an image or more, got 1"),
        (2, 0, "0 samples of 3 images say where their views lie: interngv.LocalViews makes view_boxes"),
        (3, 2, "3 views, and view_boxes (2, 4) and view_flips (2,) an image"),
    ],
)
def test_samples_that_do_not_say_where_views_lie_are_refused(views: int, samples: int, message: str) -> None:
    net = built()
    given = batch(views=samples)[1] if samples else None
    with pytest.raises(ValueError, match=re.escape(message)):
        net(batch(views=views)[0], given, "loss")


def test_the_length_of_the_training_must_be_known() -> None:
    MessageHub.get_current_instance().runtime_info.pop("max_iters")
    with pytest.raises(ValueError, match=re.escape("update_info('max_iters', STEPS)")):
        built().train()(*batch(), "loss")
    with pytest.raises(ValueError, match="mode='predict': LocalSelfSupervision has 'tensor' and 'loss'"):
        built()(*batch(), "predict")


# A training


VIEW = dict(
    crop=dict(scale=32, crop_ratio_range=(0.3, 1.0)),
    flip=0.5,
    photometric=[dict(type="mmpretrain.ColorJitter", brightness=0.4, contrast=0.4)],
)


@pytest.mark.slow
@pytest.mark.parametrize("config", FORMS, ids=["grid", "boxes"])
def test_digits_lower_the_loss_without_a_collapse(config: dict, digits_folder: Path, tmp_path: Path) -> None:
    pack = dict(type="mmpretrain.PackInputs", algorithm_keys=("view_boxes", "view_flips"))
    pipeline = [dict(type="mmcv.LoadImageFromFile"), dict(type="interngv.LocalViews", views=[VIEW, VIEW]), pack]
    dataset = dict(
        type="mmpretrain.CustomDataset", data_root=str(digits_folder), data_prefix="train", pipeline=pipeline
    )
    processor = dict(type="mmpretrain.SelfSupDataPreprocessor", mean=[80.0] * 3, std=[90.0] * 3)
    small = dict(hidden=64, out=32)
    net = dict(
        config,
        type="interngv.LocalSelfSupervision",
        matching=dict(config["matching"], **small),
        data_preprocessor=processor,
    )
    runner = Runner(
        model=net,
        work_dir=str(tmp_path),
        train_dataloader=dict(
            batch_size=32,
            sampler=dict(type="InfiniteSampler"),
            collate_fn=dict(type="default_collate"),
            dataset=dataset,
        ),
        train_cfg=dict(by_epoch=False, max_iters=60),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-3)),
        default_scope="mmengine",
        randomness=dict(seed=0),
        experiment_name=f"local_{tmp_path.name}",
    )
    runner.train()
    logged = runner.message_hub.log_scalars
    loss, spreads = (logged[f"train/{name}"].data[0] for name in ("loss_local", "spread"))
    assert len(loss) == 60 and loss[-10:].mean() < 0.75 * loss[:5].mean()
    assert spreads[-10:].min() > 0.4
