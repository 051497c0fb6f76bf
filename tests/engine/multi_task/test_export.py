"""A task of a MultiTaskModel as the plain host model: its config, its weights, its predictions."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from host_models import HOSTS, TRUNK, classifier
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

pytestmark = pytest.mark.slow


def build(tasks: dict[str, Any], trunk: dict[str, Any] = TRUNK) -> Any:
    return MODELS.build(dict(type="interngv.MultiTaskModel", trunk=trunk, tasks=tasks)).eval()


@pytest.fixture(scope="module")
def seven() -> Any:
    """Seven tasks on one trunk; every tensor, also of the norms' statistics, has a value of its own."""
    torch.manual_seed(0)
    model = build({name: host.task() for name, host in HOSTS.items()})
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(0.02 * torch.rand_like(value))
    return model


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor and array in the hosts' predictions, by its path."""
    if isinstance(value, BaseDataElement):
        value = dict(value.items())
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{name}.{index}")
    elif torch.is_tensor(value):
        yield name, value


def predictions(model: Any, batch: Any) -> dict[str, Tensor]:
    with torch.no_grad():
        return dict(leaves(model.eval().val_step(batch)))


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("name", HOSTS)
def test_the_exported_model_predicts_the_same_bits(seven: Any, name: str, tmp_path: Path) -> None:
    host = HOSTS[name]
    file = tmp_path / "config.py"
    Config(dict(model=seven.host_config(name))).dump(file)
    torch.save(dict(state_dict=seven.host_state_dict(name)), tmp_path / "weights.pth")
    plain = MODELS.build(Config.fromfile(file).model)
    load_checkpoint(plain, str(tmp_path / "weights.pth"), strict=True)
    assert type(plain) is type(seven.tasks[name]) and type(plain.backbone) is type(seven.trunk)

    expected = predictions(seven, {name: host.batch()})
    assert_same(predictions(plain, host.batch()), expected)
    result = {"mmpretrain": "pred_score", "mmdet": "pred_instances.bboxes", "mmseg": "pred_"}[host.scope]
    assert any(result in key and value.numel() for key, value in expected.items())


@pytest.mark.parametrize("name", HOSTS)
def test_weights_have_the_names_and_order_of_the_host(seven: Any, name: str) -> None:
    plain = HOSTS[name].plain()
    exported = seven.host_state_dict(name)
    assert [(key, value.shape) for key, value in exported.items()] == [
        (key, value.shape) for key, value in plain.state_dict().items()
    ]
    projection = [key for key in exported if key.startswith("backbone.head.")]
    assert bool(projection) == (name in ("pets", "foods"))  # the detectors' levels do not need it


def test_config_builds_in_any_scope_and_is_a_copy(seven: Any) -> None:
    config = seven.host_config("segments")
    for scope in ("mmdet", "mmengine"):
        with DefaultScope.overwrite_default_scope(scope):
            assert type(MODELS.build(copy.deepcopy(config))) is type(seven.tasks["segments"])
    assert config.backbone == dict(**TRUNK, out_indices=(0, 1, 2, 3), _scope_="interngv")
    config.decode_head.num_classes = 99
    assert seven.host_config("segments").decode_head.num_classes == 2


@pytest.mark.parametrize(("kind", "scope"), [("mmdet.ResNet", "mmdet"), ("ResNet", "mmpretrain")])
def test_types_mean_the_same_after_the_export(kind: str, scope: str) -> None:
    config = ConfigDict({**classifier(2), "type": "ImageClassifier", "head": None})
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = build(dict(a=config), trunk=dict(type=kind, depth=18))
    plain = MODELS.build(model.host_config("a"))
    assert type(plain.backbone) is type(model.trunk) and type(model.trunk).__module__.startswith(scope)
    plain.load_state_dict(model.host_state_dict("a"), strict=True)


def test_a_norm_that_only_another_task_needs_stays_behind() -> None:
    settings = dict(arch=dict(embed_dims=16, depths=[1] * 4, num_heads=[1, 1, 2, 2]), img_size=64, window_size=2)

    def task(levels: tuple[int, ...]) -> ConfigDict:
        return ConfigDict({**classifier(2), "head": None, "backbone": dict(out_indices=levels)})

    model = build(dict(a=task((3,)), b=task((1, 3))), trunk=dict(type="mmpretrain.SwinTransformer", **settings))
    image = torch.rand(1, 3, 64, 64)
    norms = dict(a={"norm3"}, b={"norm1", "norm3"})
    for name, expected in norms.items():
        state = model.host_state_dict(name)
        assert {key.split(".")[1] for key in state if key.startswith("backbone.norm")} == expected
        plain: nn.Module = MODELS.build(model.host_config(name)).eval()
        plain.load_state_dict(state, strict=True)
        with torch.no_grad():
            assert_same(dict(enumerate(plain(image))), dict(enumerate(model(image, task=name))))


def test_export_leaves_the_random_numbers_alone(seven: Any) -> None:
    before = torch.get_rng_state()
    seven.host_state_dict("boxes")
    assert torch.equal(torch.get_rng_state(), before)
