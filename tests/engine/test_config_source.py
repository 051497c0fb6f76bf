"""``explain``: the file and line that set a key, in every way in which a chain of configs may set it."""

from pathlib import Path

import pytest

from interngv.engine.config import explain
from interngv.errors import ConfigError

LOWEST = """\
depth = 18
train_pipeline = [
    dict(type='Load'),
    dict(type='Resize', scale=224),
]
model = dict(
    type='Net',
    backbone=dict(
        type='ResNet',
        depth=depth),
    head={'type': 'Head', 'classes': 10})
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
"""
SCHEDULE = "max_epochs = 3\ntrain_cfg = dict(max_epochs=max_epochs)\n"
MIDDLE = """\
_base_ = ['lowest.py', '../schedule.py']
model = dict(
    backbone=dict(depth=50),
    head=dict(_delete_=True,
              type='Other'))
"""
TOP = """\
_base_ = 'middle.py'
extra = _base_.train_pipeline
more = _base_.model.backbone
test_dataloader = dict(dataset=dict(pipeline=extra + [dict(type='Pack')]))
val_dataloader = dict(dataset=dict(
    pipeline=[*extra, dict(type='Last')]))
train_dataloader = dict(dataset=dict(repeat=2))
teacher = dict(
    backbone=more, pipeline={{_base_.train_pipeline}},
    **dict(kind='big'))
scales = [size * 2 for size in (1, 2)]
teacher['late'] = 1
teacher.update(later=2)
"""


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A chain top -> middle -> (lowest, ../schedule)."""
    folder = tmp_path / "configs"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (tmp_path / "schedule.py").write_text(SCHEDULE)
    for name, text in (("lowest", LOWEST), ("middle", MIDDLE), ("top", TOP)):
        (folder / f"{name}.py").write_text(text)
    return folder / "top.py"


@pytest.mark.parametrize(
    ("key", "place", "value"),
    [
        ("model.backbone.depth", "middle.py:3", 50),  # the child's dict over the base's
        ("model.backbone.type", "lowest.py:9", "ResNet"),  # kept in the merge
        ("model.head.type", "middle.py:5", "Other"),  # after _delete_
        ("train_dataloader.dataset.pipeline.1.scale", "lowest.py:4", 224),  # through a variable
        ("train_dataloader.dataset.repeat", "top.py:7", 2),
        ("test_dataloader.dataset.pipeline.1.type", "lowest.py:4", "Resize"),  # through _base_.x and a sum
        ("test_dataloader.dataset.pipeline.2.type", "top.py:4", "Pack"),
        ("val_dataloader.dataset.pipeline.0.type", "lowest.py:3", "Load"),  # through a starred list
        ("val_dataloader.dataset.pipeline.2.type", "top.py:6", "Last"),
        ("teacher.backbone.depth", "middle.py:3", 50),  # through _base_.x
        ("teacher.pipeline.0.type", "lowest.py:3", "Load"),  # through {{_base_.x}}
        ("teacher.kind", "top.py:10", "big"),
        ("teacher.late", "top.py:12", 1),
        ("teacher.later", "top.py:13", 2),
        ("train_cfg.max_epochs", "schedule.py:2", 3),  # a later base of the list, in another folder
    ],
)
def test_place_and_value(top: Path, key: str, place: str, value: object) -> None:
    origin = explain(str(top), key)
    assert str(origin.place).endswith(place)
    assert origin.value == value
    assert origin.exact


def test_history_names_what_was_overridden(top: Path) -> None:
    origin = explain(str(top), "model.backbone.depth", {"model.backbone.depth": 101})
    assert [str(place) for place in origin.written] == ["command line", "middle.py:3", "lowest.py:10"]
    text = str(origin)
    assert "model.backbone.depth = 101" in text
    assert "set by  command line" in text
    assert "instead of lowest.py:10" in text
    assert [Path(file).name for file in origin.chain] == ["top.py", "middle.py", "lowest.py", "schedule.py"]


def test_variables_are_named(top: Path) -> None:
    origin = explain(str(top), "train_cfg.max_epochs")
    ((name, place),) = origin.variables
    assert name == "max_epochs" and str(place).endswith("schedule.py:1")
    assert "through max_epochs" in str(origin)


def test_computed_value_gives_the_enclosing_assignment(top: Path) -> None:
    origin = explain(str(top), "scales.1")
    assert (str(origin.place), origin.value, origin.exact) == ("top.py:11", 4, False)
    assert "enclosing assignment" in str(origin)


def test_option_inside_a_list(top: Path) -> None:
    key = "train_dataloader.dataset.pipeline.1.scale"
    origin = explain(str(top), key, {key: 96})
    assert [str(place) for place in origin.written] == ["command line", "lowest.py:4"]
    assert origin.value == 96


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("model.backbone.detph", "no key 'detph' in 'model.backbone'; did you mean 'depth'"),
        ("modle", "did you mean 'model'"),
        ("scales.7", "a list of 2"),
        ("model.type.x", "the value 'Net'"),
    ],
)
def test_unknown_key(top: Path, key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        explain(str(top), key)


def test_yaml_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("model:\n  type: Net\n  depth: 3\n")
    (tmp_path / "b.yaml").write_text("_base_: a.yaml\nmodel:\n  depth: 4\n")
    assert [str(place) for place in explain("b.yaml", "model.depth").written] == ["b.yaml:3", "a.yaml:3"]
    assert str(explain("b.yaml", "model.type").place) == "a.yaml:2"


def test_new_style_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.py").write_text("model = dict(kind='a',\n             depth=3)\nepochs = 2\n")
    (tmp_path / "new.py").write_text(
        "from mmengine.config import read_base\n\nwith read_base():\n    from .base import *\n\n"
        "model.depth = 5\nmodel.update(width=7)\n"
    )
    assert [str(place) for place in explain("new.py", "model.depth").written] == ["new.py:6", "base.py:2"]
    assert str(explain("new.py", "model.kind").place) == "base.py:1"
    assert str(explain("new.py", "model.width").place) == "new.py:7"


def test_base_of_a_host() -> None:
    origin = explain("mmdet::mask_rcnn/mask-rcnn_r101_fpn_1x_coco.py", "model.rpn_head.loss_cls.type")
    assert origin.place.file.endswith("_base_/models/mask-rcnn_r50_fpn.py")
    line = Path(origin.place.file).read_text().splitlines()[origin.place.line - 1]
    assert "type='CrossEntropyLoss'" in line
