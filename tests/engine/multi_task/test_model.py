"""MultiTaskModel against plain host models: same seed, same bits; one trunk, whatever is done to the model."""

import copy
import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from host_models import HOSTS, TRUNK, Host, classifier
from mmengine.config import ConfigDict
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.runner import set_random_seed
from torch import Tensor, distributed, nn

from interngv.errors import UserError

State = dict[str, Tensor]


def build(tasks: dict[str, Any], trunk: dict[str, Any] = TRUNK, **rest: Any) -> Any:
    return MODELS.build(dict(type="interngv.MultiTaskModel", trunk=trunk, tasks=tasks, **rest))


def build_hosts(*names: str, **rest: Any) -> Any:
    """The model with some of the seven tasks, initialised from seed 0."""
    set_random_seed(0)
    model = build({name: HOSTS[name].task() for name in names}, **rest)
    model.init_weights()
    return model


def plain_names(state: State, task: str) -> State:
    """Of the model's tensors, the trunk's and one task's, as the plain host model names them."""
    own = {name.removeprefix(f"tasks.{task}."): v for name, v in state.items() if name.startswith(f"tasks.{task}.")}
    return {name.replace("trunk.", "backbone.", 1): v for name, v in state.items() if name.startswith("trunk.")} | own


def gradients(model: nn.Module) -> State:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def sgd(model: nn.Module) -> OptimWrapper:
    return OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9))


def losses_of(host_model: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """One forward and backward pass of a plain host model in training, from seed 2."""
    host_model.train().zero_grad()
    set_random_seed(2)
    loss, log = host_model.parse_losses(host_model(**host_model.data_preprocessor(batch, True), mode="loss"))
    loss.backward()
    return loss, log


def task_losses(model: Any, task: str, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The same of one task of the model."""
    model.train().zero_grad()
    set_random_seed(2)
    losses = model(**model.preprocess(task, batch, training=True), mode="loss", task=task)
    loss, log = model.parse_losses({task: losses})
    loss.backward()
    return loss, log


@pytest.mark.parametrize("name", HOSTS)
def test_one_task_is_the_plain_host_model_to_the_bit(name: str) -> None:
    host: Host = HOSTS[name]
    plain = host.plain(seed=0)
    model = build_hosts(name)
    assert_same(plain_names(model.state_dict(), name), plain.state_dict())

    set_random_seed(1)
    expected_log = plain.train_step(host.batch(), sgd(plain))
    set_random_seed(1)
    log = model.train_step({name: host.batch()}, sgd(model))
    assert_same(log, {"loss": expected_log["loss"]} | {f"{name}.{key}": value for key, value in expected_log.items()})
    assert_same(plain_names(model.state_dict(), name), plain.state_dict())

    loss, _ = losses_of(plain, host.batch())
    assert torch.equal(task_losses(model, name, host.batch())[0], loss) and loss > 0
    found = gradients(model)
    assert_same(plain_names(found, name), gradients(plain))
    assert any(value.abs().max() > 0 for key, value in found.items() if key.startswith("trunk.stem"))
    assert any(value.abs().max() > 0 for key, value in found.items() if key.startswith("tasks."))


@pytest.fixture(scope="module")
def seven() -> Any:
    return build_hosts(*HOSTS)


@pytest.mark.parametrize("name", HOSTS)
def test_each_of_seven_tasks_has_the_losses_and_gradients_of_its_plain_model(seven: Any, name: str) -> None:
    host, plain = HOSTS[name], HOSTS[name].plain()
    wanted = plain.state_dict()
    plain.load_state_dict({key: v for key, v in plain_names(seven.state_dict(), name).items() if key in wanted})
    loss, log = task_losses(seven, name, host.batch())
    expected, expected_log = losses_of(plain, host.batch())
    assert torch.equal(loss, expected)
    assert_same({f"{name}.{key}": v for key, v in expected_log.items()}, {k: v for k, v in log.items() if k != "loss"})
    assert_same(plain_names(gradients(seven), name), gradients(plain))


def test_hosts_are_not_subclassed_and_hold_no_trunk(seven: Any) -> None:
    for name, host in HOSTS.items():
        task = seven.tasks[name]
        assert type(task).__module__.startswith(f"{host.scope}.models")
        assert not any(key.startswith("backbone") for key in task.state_dict())
        assert task.backbone.trunk is seven.trunk


def test_every_tensor_is_in_the_state_once(seven: Any) -> None:
    state = seven.state_dict()
    assert {key.split(".")[0] for key in state} == {"trunk", "tasks"}
    parameters = [value for _, value in seven.named_parameters(remove_duplicate=False)]
    assert len({id(one) for one in parameters}) == len(parameters)
    own = [sum(p.numel() for key, p in seven.named_parameters() if key.startswith(f"tasks.{n}.")) for n in HOSTS]
    trunk = sum(p.numel() for p in seven.trunk.parameters())
    assert sum(p.numel() for p in parameters) == trunk + sum(own)
    head = sum(p.numel() for key, p in seven.trunk.named_parameters() if key.startswith("head."))
    for name, count in zip(HOSTS, own, strict=True):
        plain = sum(p.numel() for p in HOSTS[name].plain().parameters())
        assert plain == count + trunk - (0 if 4 in HOSTS[name].levels else head)


def test_a_task_gets_its_own_levels(seven: Any) -> None:
    seven.eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        maps = seven.trunk(image)
        assert [one.shape[1] for one in maps] == [24, 40, 64, 128, 1280]
        assert_same(dict(enumerate(seven.tasks["boxes"].backbone(image))), dict(enumerate(maps[:4])))
        assert_same(dict(enumerate(seven.tasks["pets"].backbone(image))), {0: maps[4]})


def test_joint_step_is_the_weighted_sum() -> None:
    model = build_hosts("pets", "boxes", loss_weights=dict(pets=0.5))
    assert model.loss_weights == dict(pets=0.5, boxes=1.0)
    data = {name: HOSTS[name].batch() for name in model.tasks}
    alone, found = {}, {}
    for name in model.tasks:
        single = copy.deepcopy(model)
        alone[name] = task_losses(single, name, HOSTS[name].batch())[0].item()
        found[name] = gradients(single.trunk)
    model.train()
    set_random_seed(2)
    loss, log = model.parse_losses(model(**model.data_preprocessor(data, training=True), mode="loss"))
    loss.backward()
    assert log["loss"] is loss and loss.item() == pytest.approx(sum(alone.values()), rel=1e-6)
    assert log["pets.loss"].item() == pytest.approx(2 * alone["pets"], rel=1e-6)  # as the host gives it
    assert {"pets.loss", "boxes.loss_cls", "boxes.loss_bbox", "boxes.loss_rpn_cls", "boxes.acc"} < set(log)
    for key, value in gradients(model.trunk).items():
        torch.testing.assert_close(value, sum(one[key] for one in found.values() if key in one))


def test_copies_and_averages_have_a_trunk_of_their_own() -> None:
    model = build_hosts("pets", "segments").eval()
    average = ExponentialMovingAverage(model, momentum=0.5)
    image = torch.rand(1, 3, 64, 96)
    before = model(image, task="pets")
    twin = copy.deepcopy(model)
    for one in (twin, average.module):
        assert all(host.backbone.trunk is one.trunk is not model.trunk for host in one.tasks.values())
    with torch.no_grad():
        for parameter in model.trunk.parameters():
            parameter.add_(0.1)
    assert not torch.equal(model(image, task="pets"), before)
    assert torch.equal(twin(image, task="pets"), before)
    average.update_parameters(model)  # the first update copies
    assert_same(average.module.state_dict(), model.state_dict())
    assert torch.equal(average(image, task="pets"), model(image, task="pets"))


def test_a_wrapped_trunk_is_the_one_that_runs() -> None:
    model = build_hosts("pets").eval()
    image = torch.rand(1, 3, 32, 32)
    expected = model(image, task="pets")
    calls: list[nn.Module] = []

    class Wrapper(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Any:
            calls.append(self.inner)
            return self.inner(x)

    model.trunk = Wrapper(model.trunk)
    assert torch.equal(model(image, task="pets"), expected) and len(calls) == 1


def test_reference_shows_the_trunks_attributes_to_the_host() -> None:
    reference = build_hosts("pets").tasks["pets"].backbone
    assert reference.out_channels == (1280,) and reference.feature_dim == 1280
    assert not hasattr(reference, "stem_of_roses") and not hasattr(reference, "_checkpoint_filter")


def test_frozen_stages_stay_frozen_and_modes_reach_all() -> None:
    model = build_hosts("pets", "boxes", trunk=dict(**TRUNK, frozen_stages=2)).train()
    assert not model.trunk.stem.training and model.trunk.blocks[-1].training
    assert all(host.training for host in model.tasks.values())
    task_losses(model, "boxes", HOSTS["boxes"].batch())
    assert not any(key.startswith(("stem.", "blocks.0.")) for key in gradients(model.trunk))
    assert any(key.startswith("blocks.9.") for key in gradients(model.trunk))
    assert not any(module.training for module in model.eval().modules())


def test_preprocessors_follow_to_a_device() -> None:
    model = build_hosts("pets", "segments").to("meta")
    assert {str(host.data_preprocessor.device) for host in model.tasks.values()} == {"meta"}
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_distributed_wrapper_trains_all_tasks_in_one_pass() -> None:
    model = build_hosts("pets", "depths")
    twin = copy.deepcopy(model)
    data = [{name: HOSTS[name].batch() for name in model.tasks} for _ in range(2)]
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        wrapped = MMDistributedDataParallel(twin)
        log = wrapped.train_step(data[0], sgd(wrapped))
    finally:
        distributed.destroy_process_group()
    assert_same(model.train_step(data[1], sgd(model)), log)
    assert_same(model.state_dict(), twin.state_dict())


@pytest.mark.parametrize("step", ["val_step", "test_step"])
def test_steps_of_evaluation_give_the_hosts_predictions(step: str) -> None:
    model = build_hosts("pets", "boxes").eval()
    with torch.no_grad():
        found = getattr(model, step)({"pets": HOSTS["pets"].batch()})
        assert [type(one).__module__.split(".")[0] for one in found] == ["mmpretrain"] * 2
        assert found[0].pred_score.shape == (10,)
    with pytest.raises(UserError, match="one task, got pets, boxes"):
        getattr(model, step)({name: HOSTS[name].batch() for name in model.tasks})


TRUNCATED = [dict(type="TruncNormal", layer=["Conv2d", "Linear"], std=0.02, bias=0.5)]


def test_init_cfg_of_a_whole_host_model_reaches_the_trunk_as_in_the_plain_model() -> None:
    host = Host("mmpretrain", (4,), lambda: ConfigDict({**classifier(10), "init_cfg": TRUNCATED}), HOSTS["pets"].label)
    plain = host.plain(seed=3)
    set_random_seed(3)
    model = build(dict(pets=host.task()))
    model.init_weights()
    assert_same(plain_names(model.state_dict(), "pets"), plain.state_dict())


def test_the_trunk_is_initialised_once_by_its_own_init_cfg() -> None:
    trunk = dict(**TRUNK, init_cfg=dict(type="Constant", layer="Linear", val=0.25))
    model = build(dict(a=classifier(3), b=ConfigDict({**classifier(4), "init_cfg": TRUNCATED})), trunk=trunk)
    model.init_weights()
    linear = [module.weight for module in model.trunk.modules() if isinstance(module, nn.Linear)]
    assert linear and all((weight == 0.25).all() for weight in linear)
    assert model.tasks["b"].backbone.trunk is model.tasks["a"].backbone.trunk is model.trunk
    assert {key for key in model.state_dict() if "backbone" in key} == set()


OTHER_TRUNKS = {  # with the channels of level 3
    "mmdet.ResNet": (64, dict(depth=18, base_channels=8)),
    "mmpretrain.ResNet": (512, dict(depth=18)),
    "mmpretrain.SwinTransformer": (
        128,
        dict(arch=dict(embed_dims=16, depths=[1] * 4, num_heads=[1, 1, 2, 2]), img_size=64, window_size=2),
    ),
    "mmpretrain.TIMMBackbone": (256, dict(model_name="resnet18", features_only=True)),
}


@pytest.mark.parametrize("kind", OTHER_TRUNKS)
def test_any_backbone_can_be_the_trunk(kind: str) -> None:
    width, settings = OTHER_TRUNKS[kind]

    def task(levels: tuple[int, ...], classes: int) -> ConfigDict:
        config = classifier(classes)
        config.backbone, config.head.in_channels = dict(out_indices=levels), width
        return config

    model = build(dict(a=task((3,), 2), b=task((1, 3), 3)), trunk=dict(type=kind, **settings))
    model.init_weights()
    model.eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        maps = model.trunk(image)
        assert type(model.trunk).__name__ == kind.split(".")[1] and len(maps) == 2
        assert_same(dict(enumerate(model.tasks["a"].backbone(image))), {0: maps[1]})
        assert_same(dict(enumerate(model.tasks["b"].backbone(image))), dict(enumerate(maps)))
    assert model(image, task="a").shape == (1, 2) and model(image, task="b").shape == (1, 3)


def test_a_trunk_with_its_own_init_weights_is_initialised_as_in_the_plain_model() -> None:
    trunk = dict(
        type="mmdet.SwinTransformer", embed_dims=16, depths=(1,) * 4, num_heads=(1, 1, 2, 2), window_size=2
    )  # overrides init_weights and never says that it is initialised
    host = Host("mmdet", (0, 1, 2, 3), lambda: _retinanet_on([16, 32, 64, 128]), HOSTS["dense_boxes"].label)
    plain = host.plain(seed=4, trunk=trunk)
    set_random_seed(4)
    model = build(dict(a=host.task()), trunk=trunk)
    model.init_weights()
    assert_same(plain_names(model.state_dict(), "a"), plain.state_dict())


def _retinanet_on(channels: list[int]) -> ConfigDict:
    config = HOSTS["dense_boxes"].config()
    config.neck.in_channels = channels
    return config


WRONG = {
    "no task": (dict(tasks={}), "at least one task"),
    "backbone": (dict(tasks=dict(a={**classifier(2), "backbone": dict(type="mmdet.ResNet", depth=50)})), "is shared"),
    "backbone key": (dict(tasks=dict(a={**classifier(2), "backbone": dict(frozen_stages=1)})), "frozen_stages"),
    "type": (dict(tasks=dict(a=dict(head=None))), "'a' lacks the host's model"),
    "dot": (dict(tasks={"a.b": classifier(2)}), "'a.b' cannot be used"),
    "method": (dict(tasks={"train": classifier(2)}), "'train' cannot be used"),
    "attribute": (dict(tasks={"training": classifier(2)}), "'training' cannot be used"),
    "weight": (dict(tasks=dict(pets=classifier(2)), loss_weights=dict(pet=1)), "'pet'; did you mean 'pets'"),
    "weight's value": (dict(tasks=dict(pets=classifier(2)), loss_weights=dict(pets=-1.0)), "at least 0, got -1.0"),
    "levels": (
        dict(tasks=dict(a=classifier(2), b={**classifier(2), "backbone": dict(out_indices=(0, 1))})),
        "'a' has out_indices=None",
    ),
    "order": (
        dict(tasks={n: {**classifier(2), "backbone": dict(out_indices=o)} for n, o in dict(a=(3, 1), b=(0,)).items()}),
        r"'a' has out_indices=\(3, 1\)",
    ),
    "pretrained": (
        dict(tasks=dict(a=dict(type="mmseg.EncoderDecoder", pretrained="resnet", decode_head={}))),
        "gives its backbone .*pretrained",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses(case: str) -> None:
    arguments, message = WRONG[case]
    with pytest.raises(UserError, match=message):
        build(**arguments)


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model(torch.rand(1, 3, 32, 32), task="pet"),
        lambda model: model.preprocess("pet", {}, True),
        lambda model: model.train_step({"pet": HOSTS["pets"].batch()}, sgd(model)),
        lambda model: model.host_config("pet"),
        lambda model: model.host_state_dict("pet"),
    ],
)
def test_an_unknown_task_is_named_with_the_nearest(use: Any) -> None:
    with pytest.raises(UserError, match="unknown task 'pet'; did you mean 'pets'.* pets, boxes"):
        use(build_hosts("pets", "boxes"))


def test_forward_wants_a_task() -> None:
    with pytest.raises(TypeError, match="task=NAME"):
        build_hosts("pets")(torch.rand(1, 3, 32, 32))


@pytest.mark.slow
def test_the_import_of_interngv_is_enough() -> None:
    tasks = {name: dict(HOSTS[name].task()) for name in ("pets", "dense_boxes", "depths")}
    code = f"""
import json, interngv
from mmengine.registry import MODELS
tasks = json.loads({json.dumps(json.dumps(tasks))})
print(len(MODELS.build(dict(type="interngv.MultiTaskModel", trunk={TRUNK}, tasks=tasks)).tasks))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and done.stdout.strip().endswith("3"), done.stderr
