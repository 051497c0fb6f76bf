"""A suite's config: the shipped ones are read, protocols are chosen, mistakes are named."""

from pathlib import Path

import pytest

from interngv.engine.config import load_config, shipped_configs_dir
from interngv.errors import ConfigError
from interngv.gvb.suite import is_suite, read_suite
from interngv.gvb.tasks import KINDS

SHIPPED = ["gvb/suite.py", "gvb/mini.py"]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_suites_have_a_default_for_every_kind_and_configs_that_load(name: str) -> None:
    suite = read_suite(name)
    assert set(suite.default) == set(KINDS) and is_suite(name)
    for protocol in suite.protocols.values():
        for path in filter(None, [protocol.config, *protocol.tasks.values()]):
            assert {"model", "train_dataloader", "test_evaluator", "train_cfg"} <= set(load_config(str(path)))


def test_the_released_linear_probe_is_exact() -> None:
    cfg = load_config(str(read_suite("gvb/suite.py").protocols["linear"].config))
    assert cfg.optim_wrapper.optimizer.to_dict() == dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.001)
    assert (cfg.train_cfg.max_iters, cfg.param_scheduler.milestones) == (10_000, [3000, 6000, 9000])
    assert cfg.train_dataloader.batch_size == 64 * 8
    assert [step.type for step in cfg.pipeline] == ["LoadImageFromFile", "ResizeEdge", "CenterCrop", "PackInputs"]


def test_a_task_may_have_a_config_of_its_own() -> None:
    detector = read_suite("gvb/suite.py").protocols["faster-rcnn"]
    assert detector.template("citypersons") != detector.template("voc0712") == detector.config
    assert load_config(str(detector.template("citypersons"))).train_cfg.max_epochs == 60
    assert detector.sha256("citypersons") != detector.sha256("voc0712")


def test_protocols_are_chosen_for_their_kind() -> None:
    suite = read_suite("gvb/suite.py")
    assert suite.chosen(["knn"]) == {**suite.default, "classification": "knn"}
    with pytest.raises(ConfigError, match="did you mean 'ridge'"):
        suite.chosen(["rigde"])
    with pytest.raises(ConfigError, match="both for classification"):
        suite.chosen(["knn", "ridge"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("suite['data_rot'] = 'x'", "'data_rot'; did you mean 'data_root'"),
        ("suite['protocols']['knn']['prob'] = 'knn'", "'prob'; did you mean 'probe'"),
        ("suite['protocols']['knn']['probe'] = 'kn'", "did you mean 'knn'"),
        ("suite['protocols']['knn']['kind'] = 'cls'", "expected one of classification"),
        ("suite['protocols']['knn']['config'] = 'x.py'", "either probe"),
        ("suite['protocols']['linear']['config'] = 'x.py'", "config 'x.py' is neither"),
        ("suite['default']['depth'] = 'knn'", "depth='knn'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, line: str, words: str) -> None:
    text = (shipped_configs_dir() / "gvb/suite.py").read_text()
    (tmp_path / "mine.py").write_text(f"{text}\n{line}\n")
    with pytest.raises(ConfigError) as error:
        read_suite(str(tmp_path / "mine.py"))
    assert words in str(error.value)


def test_a_config_that_is_no_suite_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no suite"):
        read_suite("gva/mn-b4_8xb128-300e_in1k.py")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("image_sise = 3", "nobody reads this top-level key"),
        ("train_cfg = dict(max_iters=3)", "a suite does not take 'train_cfg'"),
        ("suite = dict(name='mine')", "lacks protocols, default"),
    ],
)
def test_what_would_have_no_effect_is_refused(tmp_path: Path, line: str, words: str) -> None:
    text = (shipped_configs_dir() / "gvb/suite.py").read_text()
    (tmp_path / "mine.py").write_text(f"{text}\n{line}\n")
    with pytest.raises(ConfigError, match=words):
        read_suite(str(tmp_path / "mine.py"))
