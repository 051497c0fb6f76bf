"""The config check: wrong configs are refused with key, line and nearest name; right ones pass."""

import time
from pathlib import Path

import pytest
from mmengine.config import Config

from interngv.engine.config import (
    cfg_options,
    check_config,
    find_problems,
    load_config,
    resolve_config,
    shipped_configs_dir,
)
from interngv.engine.config.params import parameters
from interngv.errors import ConfigError

SUITES = ("suite.py", "mini.py", "open.py")  # of the benchmark: read by a reader of their own
OURS = sorted(
    path for path in shipped_configs_dir().rglob("*.py") if "_base_" not in path.parts and path.name not in SUITES
)
HOSTS = (
    "mmpretrain::resnet/resnet50_8xb32_in1k.py",
    "mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py",
    "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "mmdet::mask_rcnn/mask-rcnn_r101_fpn_1x_coco.py",
    "mmdet::vfnet/vfnet_r50_fpn_1x_coco.py",
    "mmseg::upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py",
)

BASE = """\
max_epochs = 5
image_size = 224
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=image_size),
    dict(type='PackInputs'),
]
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=512, loss=dict(type='CrossEntropyLoss')))
train_dataloader = dict(
    batch_size=2,
    dataset=dict(type='CIFAR10', data_root='data', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True))
train_cfg = dict(by_epoch=True, max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[3])
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
default_scope = 'mmpretrain'
"""

# What the child config adds below its `_base_` line, the wrong key, its line, and what the message must offer.
WRONG = [
    ("optim_wraper = dict(optimizer=dict(lr=1))", "optim_wraper", 2, "'optim_wrapper'"),
    ("model = dict(backbone=dict(detph=50))", "model.backbone.detph", 2, "'depth'"),
    ("model = dict(\n    head=dict(\n        num_class=3))", "model.head.num_class", 4, "'num_classes'"),
    ("model = dict(backbone=dict(type='ResNets'))", "model.backbone.type", 2, "'ResNet'"),
    ("model = dict(backbone=dict(type='mmdet.ResNetts'))", "model.backbone.type", 2, "'mmdet.ResNet'"),
    ("model = dict(bakbone=dict(depth=50))", "model.bakbone", 2, "'backbone'"),
    ("train_dataloader = dict(batchsize=4)", "train_dataloader.batchsize", 2, "'batch_size'"),
    ("train_dataloader = dict(dataset=dict(dataroot='x'))", "train_dataloader.dataset.dataroot", 2, "'data_root'"),
    ("train_dataloader = dict(sampler=dict(shufle=True))", "train_dataloader.sampler.shufle", 2, "'shuffle'"),
    ("train_cfg = dict(max_epoch=3)", "train_cfg.max_epoch", 2, "'max_epochs'"),
    ("optim_wrapper = dict(clip_gradd=dict(max_norm=1))", "optim_wrapper.clip_gradd", 2, "'clip_grad'"),
    ("optim_wrapper = dict(optimizer=dict(momentun=1))", "optim_wrapper.optimizer.momentun", 2, "'momentum'"),
    (
        "optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mul=0.0))",
        "optim_wrapper.paramwise_cfg.norm_decay_mul",
        2,
        "'norm_decay_mult'",
    ),
    (
        "optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.bias': dict(lr_mul=2)}))",
        "optim_wrapper.paramwise_cfg.custom_keys..bias.lr_mul",
        2,
        "'lr_mult'",
    ),
    ("param_scheduler = dict(milestone=[2])", "param_scheduler.milestone", 2, "'milestones'"),
    ("default_hooks = dict(checkpoint=dict(intervall=2))", "default_hooks.checkpoint.intervall", 2, "'interval'"),
    ("default_hooks = dict(loger=dict(type='LoggerHook'))", "default_hooks.loger", 2, "'logger'"),
    ("custom_hooks = [dict(type='EMAHok')]", "custom_hooks.0.type", 2, "'EMAHook'"),
    ("env_cfg = dict(cudnn_benchmak=True)", "env_cfg.cudnn_benchmak", 2, "'cudnn_benchmark'"),
    ("auto_scale_lr = dict(base_batchsize=8)", "auto_scale_lr.base_batchsize", 2, "'base_batch_size'"),
    ("randomness = dict(sed=0)", "randomness.sed", 2, "'seed'"),
    ("val_evaluator = dict(type='Acuracy')", "val_evaluator.type", 2, "'Accuracy'"),
    ("max_epochs = 9", "max_epochs", 2, "train_cfg.max_epochs"),
    ("train_pipeline = []", "train_pipeline", 2, "train_dataloader.dataset.pipeline"),
    ("image_size = 96", "image_size", 2, "train_dataloader.dataset.pipeline"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's project with one right base config."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.py").write_text(BASE)
    return tmp_path


def child(folder: Path, text: str) -> Path:
    path = folder / "child.py"
    path.write_text(f"_base_ = ['base.py']\n{text}\n")
    return path


def refusal(path: Path, options: dict | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        check_config(load_config(path, options))
    return str(caught.value)


@pytest.mark.parametrize(("text", "key", "line", "offered"), WRONG, ids=[case[1] for case in WRONG])
def test_wrong_config_is_refused(folder: Path, text: str, key: str, line: int, offered: str) -> None:
    path = child(folder, text)
    message = refusal(path)
    (problem,) = message.splitlines()[1:]  # one mistake, one problem: no second complaint follows from it
    assert problem.startswith(f"  {key} (child.py:{line}): ")
    assert offered in problem


def test_right_config_passes(folder: Path) -> None:
    check_config(load_config(folder / "base.py"))
    check_config(load_config(child(folder, "size = 50\nmodel = dict(backbone=dict(depth=size))")))


def test_every_problem_is_listed(folder: Path) -> None:
    path = child(folder, "optim_wraper = 1\nmodel = dict(backbone=dict(detph=50))\nenv_cfg = dict(dist=1)")
    assert [problem.key for problem in find_problems(load_config(path))] == [
        "model.backbone.detph",
        "env_cfg.dist",
        "optim_wraper",
    ]


def test_problem_is_placed_where_the_base_has_it(folder: Path) -> None:
    (folder / "base.py").write_text(BASE.replace("scale=image_size", "scal=image_size"))
    message = refusal(child(folder, "model = dict(backbone=dict(depth=50))"))
    assert "train_dataloader.dataset.pipeline.1.scal (base.py:5): " in message
    assert "RandomResizedCrop needs 'scale'" in message


@pytest.mark.parametrize("key", ["model.backbone.detph", "model.backbone.type", "nonsense", "max_epochs"])
def test_command_line_is_checked_alike(folder: Path, key: str) -> None:
    assert f"  {key} (command line): " in refusal(folder / "base.py", {key: 7})


def test_options_reach_lists_and_are_remembered(folder: Path) -> None:
    options = {"train_dataloader.dataset.pipeline.1.scale": 96, "model.backbone.depth": 34}
    cfg = load_config(folder / "base.py", options)
    check_config(cfg)
    assert cfg.train_dataloader.dataset.pipeline[1].scale == 96
    assert cfg_options(cfg) == options
    with pytest.raises(ConfigError, match="does not fit"):
        load_config(folder / "base.py", {"train_dataloader.dataset.pipeline.9.scale": 96})


def test_variable_that_a_child_reads_from_its_base_is_no_trap(folder: Path) -> None:
    (folder / "base.py").write_text(BASE + "deep = 50\n")
    message = refusal(folder / "base.py")
    assert "deep (base.py:22): nobody reads" in message
    check_config(load_config(child(folder, "model = dict(backbone=dict(depth=_base_.deep))")))
    check_config(load_config(child(folder, "depth = {{_base_.deep}}\nmodel = dict(backbone=dict(depth=depth))")))


def test_key_that_a_hook_reads_from_the_config_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    (folder / "config_check_plugin.py").write_text(
        "from mmengine.hooks import Hook\nfrom mmengine.registry import HOOKS\n\n\n@HOOKS.register_module()\n"
        "class ConfigCheckHook(Hook):\n    def before_run(self, runner):\n        print(runner.cfg.greeting)\n"
    )
    plugin = "greeting = 'hello'\ncustom_imports = dict(imports=['config_check_plugin'])\n"
    assert "greeting (child.py:2): nobody reads" in refusal(child(folder, plugin))
    check_config(load_config(child(folder, plugin + "custom_hooks = [dict(type='ConfigCheckHook', priority=40)]")))


def test_leftover_delete_is_refused(folder: Path) -> None:
    message = refusal(child(folder, "model = dict(head=dict(loss=dict(extra=dict(_delete_=True))))"))
    assert "model.head.loss.extra (child.py:2): CrossEntropyLoss takes no 'extra'" in message
    message = refusal(child(folder, "custom_hooks = [dict(_delete_=True, type='SyncBuffersHook')]"))
    assert "custom_hooks.0._delete_ (child.py:2): SyncBuffersHook takes no '_delete_'" in message


def test_typed_places_need_a_type(folder: Path) -> None:
    (folder / "base.py").write_text(BASE.replace("type='CheckpointHook', ", "").replace("type='CIFAR10', ", ""))
    message = refusal(folder / "base.py")
    assert "default_hooks.checkpoint (base.py:20): a hook needs a 'type'" in message
    assert "train_dataloader.dataset (base.py:15): a dataset needs a 'type'" in message


KINDS = {
    "model": "resnet",
    "train_dataloader": 3,
    "train_dataloader.dataset": "cifar",
    "train_dataloader.sampler": "DefaultSampler",
    "train_dataloader.dataset.pipeline": "a",
    "optim_wrapper": "OptimWrapper",
    "optim_wrapper.optimizer": "AdamW",
    "train_cfg": 3,
    "val_cfg": True,
    "param_scheduler": "cosine",
    "default_hooks": "LoggerHook",
    "default_hooks.logger": "LoggerHook",
    "custom_hooks": "EMAHook",
    "visualizer": "tb",
    "visualizer.vis_backends": "tb",
    "val_evaluator": "Accuracy",
    "env_cfg": "x",
    "randomness": 0,
    "data_preprocessor": "x",
}


@pytest.mark.parametrize(("key", "value"), KINDS.items(), ids=list(KINDS))
def test_wrong_kind_of_value_is_refused(folder: Path, key: str, value: object) -> None:
    message = refusal(folder / "base.py", {key: value})
    assert f"  {key} (command line): expected a dict" in message
    assert f", got {value!r}" in message


MULTI_TASK = shipped_configs_dir() / "engine/mn-mini_multi-task_2x64-600i_fashion-mnist-mnist-5k.py"
MULTI_TASK_SLIPS = {
    "train_dataloader.schedules": ("joint", "did you mean 'schedule'"),
    "train_dataloader.sources.digits.batchsize": (8, "did you mean 'batch_size'"),
    "train_dataloader.sources.digits.dataset.data_rot": ("x", "did you mean 'data_root'"),
    "train_dataloader.sources.digits.dataset.pipeline.1.scal": (3, "did you mean 'scale'"),
    "train_dataloader.sources.digits": (3, "expected a dict"),
    "val_dataloader.digits.batch_sise": (8, "did you mean 'batch_size'"),
    "val_evaluator.digits.type": ("mmpretrain.Accuracyy", "did you mean 'mmpretrain.Accuracy'"),
    "model.tasks.clothes.head.type": ("LinearClsHed", "did you mean 'LinearClsHead'"),
    "train_cfg.max_iter": (3, "did you mean 'max_iters'"),
}


@pytest.mark.parametrize("key", MULTI_TASK_SLIPS)
def test_slips_in_a_multi_task_config_are_refused(key: str) -> None:
    pytest.importorskip("mmpretrain")
    value, hint = MULTI_TASK_SLIPS[key]
    message = refusal(MULTI_TASK, {key: value})
    assert f"  {key} (command line)" in message and hint in message


def test_wrong_kinds_in_lists_are_refused(folder: Path) -> None:
    message = refusal(folder / "base.py", {"train_dataloader.dataset.pipeline": ["a", "b"], "param_scheduler": [3]})
    assert "train_dataloader.dataset.pipeline.1 (command line): expected a dict with 'type', got 'b'" in message
    assert "param_scheduler.0 (command line): expected a dict with 'type', got 3" in message


def test_none_and_built_objects_may_stand_for_dicts(folder: Path) -> None:
    cfg = load_config(folder / "base.py")
    cfg.param_scheduler = cfg.data_preprocessor = None
    cfg.default_hooks.logger = None
    cfg.train_dataloader.dataset.pipeline = [lambda data: data]
    cfg.train_dataloader.sampler = object()
    assert not [problem for problem in find_problems(cfg) if "expected" in problem.message]


def test_types_that_a_class_interprets_itself_pass(folder: Path) -> None:
    transform = "dict(type='Albumentations', transforms=[dict(type='Flip', p=1)], bbox_params=dict(type='Bb'))"
    hook = "dict(type='ProfilerHook', on_trace_ready=dict(type='tb_trace'))"
    text = f"train_dataloader = dict(dataset=dict(pipeline=[{transform}]))\ncustom_hooks = [{hook}]"
    assert not [problem for problem in find_problems(load_config(child(folder, text))) if "registry" in problem.message]


def test_missing_import_is_shown_as_such(folder: Path) -> None:
    (folder / "base.py").write_text(BASE.replace("'mmpretrain'", "'no_such_package'"))
    message = refusal(folder / "base.py")
    assert "default_scope (base.py:" in message
    assert "No module named 'no_such_package'" in message
    assert "ImageClassifier" not in message  # one cause, one complaint


def test_config_without_a_file_is_checked() -> None:
    with pytest.raises(ConfigError, match="did you mean 'optim_wrapper'"):
        check_config(Config({"default_scope": "mmpretrain", "optim_wraper": {}}))


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(shipped_configs_dir())))
def test_shipped_configs_pass(path: Path) -> None:
    check_config(load_config(path))


@pytest.mark.parametrize("name", HOSTS)
def test_host_configs_pass_fast(name: str) -> None:
    cfg = load_config(name)
    check_config(cfg)  # imports the host on its first use
    start = time.perf_counter()
    check_config(load_config(name))
    assert time.perf_counter() - start < 2


def test_names_of_configs() -> None:
    first = OURS[0].relative_to(shipped_configs_dir())
    assert resolve_config(str(first)) == resolve_config(str(first.with_suffix(""))) == OURS[0]
    with pytest.raises(ConfigError, match=first.name):
        resolve_config(str(first).replace("mn-", "nm-"))
    with pytest.raises(ConfigError, match="faster-rcnn_r50_fpn_1x_coco"):
        resolve_config("mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_cocco.py")
    with pytest.raises(ConfigError, match="no_scope"):
        resolve_config("no_scope::a/b.py")


def test_own_project_may_build_on_a_shipped_config(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"_base_ = ['interngv::{OURS[0].relative_to(shipped_configs_dir())}']\n")
    cfg, shipped = load_config(path), load_config(OURS[0])
    check_config(cfg)
    assert cfg.model == shipped.model


class _Top:
    def __init__(self, a: int, **kwargs: int) -> None:
        self.a, self.b = a, kwargs.pop("b", 0)


class _Left(_Top):
    def __init__(self, c: int, *args: int, **kwargs: int) -> None:
        super().__init__(*args, **kwargs)


class _Right(_Top):
    def __init__(self, d: int, **kwargs: int) -> None:
        super().__init__(a=1, **kwargs)


class _Both(_Left, _Right):
    def __init__(self, e: int, **kwargs: int) -> None:
        super().__init__(c=2, **kwargs)


class _Open:
    def __init__(self, **kwargs: int) -> None:
        self.kwargs = kwargs


class _Swallows:
    def __init__(self, f: int = 1, **kwargs: int) -> None:
        self.f = f


def test_parameters_follow_kwargs() -> None:
    assert parameters(_Left).names == {"a", "b", "c"}
    assert parameters(_Right).names == {"b", "d"}
    assert parameters(_Both).names == {"b", "d", "e"}
    assert parameters(_Both).required == {"d", "e"}
    _Both(d=1, e=2, b=3)  # and Python agrees
    assert parameters(_Open).open
    assert parameters(_Swallows).swallows and not parameters(_Swallows).open
