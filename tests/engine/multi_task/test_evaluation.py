"""Validation and test on several data sets: against each host's own loop, in tables, as a score, as best checkpoint."""

import copy
from pathlib import Path
from typing import Any

import pytest
from mmengine.runner import Runner, ValLoop
from small import Digits, Hits, batch, plain_model, runner, shared_model, validation

from interngv.checkpoint import read_checkpoint
from interngv.errors import UserError

pytestmark = pytest.mark.gpu
BOTH = ("digit", "parity")


def evaluated(folder: Path, sections: dict[str, Any], **rest: Any) -> tuple[dict, Any]:
    run = runner(folder, {}, train_cfg=dict(max_iters=1), **sections | rest)
    return run.val(), run


def log_of(folder: Path) -> str:
    return next(folder.rglob("*.log")).read_text()


@pytest.mark.parametrize("norm", [False, True])
def test_every_set_gets_what_mmengines_own_loop_measures(norm: bool, tmp_path: Path) -> None:
    """Each task as a plain host model in mmengine's ValLoop."""
    model = shared_model(norm)
    for step in range(3):  # statistics of their own
        model.train()
        for task in BOTH:
            model(**model.preprocess(task, batch(task, step), True), mode="loss", task=task)
    sections = validation(*BOTH)
    found, run = evaluated(tmp_path, sections, model=model)
    assert list(found) == ["digits/hits/top1", "paritys/hits/top1"]
    assert run.val_evaluator.keys() == {"digits", "paritys"} and len(run.val_dataloader) == 8
    for task in BOTH:
        plain = plain_model(task, norm)
        plain.load_state_dict(model.host_state_dict(task))
        loader = {key: value for key, value in sections["val_dataloader"][f"{task}s"].items() if key != "task"}
        alone = Runner(
            plain,
            str(tmp_path / task),
            val_dataloader=loader,
            val_cfg={},
            val_evaluator=dict(type="Hits"),
            experiment_name=f"{tmp_path.name}-{task}-{norm}",
        )
        assert isinstance(alone.val_loop, ValLoop)
        assert alone.val() == {"hits/top1": found[f"{task}s/hits/top1"]}


def test_the_log_has_one_table(tmp_path: Path) -> None:
    sections = validation(*BOTH)
    sections["val_cfg"]["score"] = {"digits/hits/top1": 3.0, "paritys/hits/top1": 1}
    found, _ = evaluated(tmp_path, sections)
    lines = log_of(tmp_path).splitlines()
    start = next(index for index, line in enumerate(lines) if "val set" in line)
    rows = [line.split() for line in lines[start : start + 4]]
    assert rows[0][-6:] == ["val", "set", "task", "samples", "metric", "value"]
    assert rows[1] == ["digits", "digit", "390", "hits/top1", f"{found['digits/hits/top1']:.4f}"]
    assert rows[2] == ["paritys", "parity", "390", "hits/top1", f"{found['paritys/hits/top1']:.4f}"]
    score = 0.75 * found["digits/hits/top1"] + 0.25 * found["paritys/hits/top1"]
    assert found["score"] == pytest.approx(score) and rows[3] == ["score", f"{score:.4f}"]


def test_a_metric_of_which_less_is_better_takes_a_negative_weight(tmp_path: Path) -> None:
    sections = validation(*BOTH)
    sections["val_cfg"]["score"] = {"digits/hits/top1": 1.0, "paritys/hits/top1": -0.5}
    found, _ = evaluated(tmp_path, sections)
    assert found["score"] == pytest.approx((found["digits/hits/top1"] - 0.5 * found["paritys/hits/top1"]) / 1.5)


def test_several_sets_of_one_task_and_several_metrics_of_one_set(tmp_path: Path) -> None:
    sections = validation("digit")
    sections["val_dataloader"]["again"] = copy.deepcopy(sections["val_dataloader"]["digits"])
    sections["val_evaluator"] = dict(
        digits=[dict(type="Hits"), dict(type="Hits", prefix="more")], again=dict(type=Hits)
    )
    found, _ = evaluated(tmp_path, sections, model=plain_model())
    assert found.keys() == {"digits/hits/top1", "digits/more/top1", "again/hits/top1"} and len(set(found.values())) == 1


def test_test_is_as_validation(tmp_path: Path) -> None:
    sections = validation(*BOTH)
    expected, _ = evaluated(tmp_path / "val", sections)
    of_test = {key.replace("val", "test", 1): value for key, value in sections.items()}
    of_test["test_cfg"] = dict(type="interngv.MetaTestLoop")
    run = runner(tmp_path / "test", {}, train_cfg=dict(max_iters=1), **of_test)
    assert run.test() == expected
    assert "test set" in log_of(tmp_path / "test")


@pytest.mark.parametrize("key", ["score", "paritys/hits/top1", "digits/hits/top1"])
def test_the_best_checkpoint_is_by_any_metric_or_the_score(key: str, tmp_path: Path) -> None:
    sections = validation(*BOTH)
    sections["val_cfg"]["score"] = {f"{task}s/hits/top1": 0.5 for task in BOTH}
    rule = "less" if key.startswith("paritys") else None
    hook = dict(save_best=key, interval=2, max_keep_ckpts=1, rule=rule)
    run = runner(tmp_path, dict(schedule="joint"), hook, train_cfg=dict(max_iters=8, val_interval=2), **sections)
    run.train()
    history = run.message_hub.get_scalar(f"val/{key}").data[0].tolist()
    best = (min if rule else max)(history)
    (saved,) = tmp_path.glob("best_*")
    assert saved.name == f"best_{key.replace('/', '_')}_iter_{2 * history.index(best) + 2}"
    assert run.message_hub.get_info("best_score") == best and len(set(history)) > 1
    model = shared_model()
    model.load_state_dict(read_checkpoint(saved)["state_dict"])
    again, _ = evaluated(tmp_path / "again", sections, model=model)
    assert again[key] == pytest.approx(best)


def changed(path: str, value: Any) -> dict[str, Any]:
    """The sections of both tasks with one entry changed or, by None, removed."""
    sections = copy.deepcopy(validation(*BOTH))
    *way, last = path.split(".")
    inner = sections
    for key in way:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return sections


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("val_evaluator.paritys", None, "val_evaluator has no 'paritys'"),
        ("val_dataloader.digits", None, "val_dataloader has no 'digits'"),
        ("val_evaluator", dict(type="Hits"), "val_evaluator: expected several by name"),
        ("val_dataloader", validation("digit")["val_dataloader"]["digits"], "val_dataloader: expected several by name"),
        ("val_dataloader.digits.task", "digits", "task 'digits'; did you mean 'digit'?"),
        ("val_cfg.score", {"digit/hits/top1": 1.0}, "expected weights by 'SET/METRIC' of digits, paritys"),
        ("val_cfg.score", {"digits/hits/top1": 0}, "expected weights"),
        ("val_cfg.score", {"digits/hits/top2": 1.0}, "no metric 'digits/hits/top2'; did you mean 'digits/hits/top1'?"),
    ],
)
def test_what_does_not_go_together_is_refused(path: str, value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        evaluated(tmp_path, changed(path, value))
    assert message in str(error.value)


class Deadly(Digits):
    """Ends the worker process that reads its third sample."""

    def __getitem__(self, index: int) -> dict:
        if index == 2:
            import os

            os._exit(1)
        return super().__getitem__(index)


def test_a_dead_worker_is_an_error_that_names_the_set(tmp_path: Path) -> None:
    sections = validation(*BOTH)
    sections["val_dataloader"]["paritys"] |= dict(num_workers=1, dataset=dict(type=Deadly, task="parity"))
    with pytest.raises(UserError, match=r"val_dataloader\.paritys: DataLoader worker"):
        evaluated(tmp_path, sections)
