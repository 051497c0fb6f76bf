"""What is there: verified, wrong or absent, as text and JSON, and what a script prepares."""

import hashlib
import json
from pathlib import Path
from typing import Any

import miniature
import pytest

from interngv.errors import UserError
from interngv.gvb import data_status, tasks
from interngv.gvb.tasks import TASKS, Task, suite
from interngv.gvd.open_data import OpenDataError


def sized(name: str, **sizes: int) -> Task:
    """A task of the suite with other sizes, as its miniature has them."""
    task = TASKS[name]
    row = {key: value for key, value in vars(task).items() if key != "name" and value is not None}
    return Task.from_row(name, {**row, "splits": sizes})


@pytest.fixture
def food(tmp_path: Path) -> Task:
    task = sized("food101", train=4, test=3)
    miniature.build(task, tmp_path / "food101")
    return task


def kinds(found: data_status.Status) -> dict[str, list[str]]:
    return {split: [fault.kind.name for fault in faults] for split, faults in found.faults.items()}


def test_verified(food: Task, tmp_path: Path) -> None:
    found = data_status.status(food, tmp_path, deep=True)
    assert (found.state, found.splits, found.advice) == ("verified", {"train": 4, "test": 3}, "")
    assert kinds(found) == {"train": ["EMPTY_CLASS"], "test": ["EMPTY_CLASS"]}


def test_another_size_is_wrong_unless_the_size_is_uncertain(food: Task, tmp_path: Path) -> None:
    found = data_status.status(TASKS["food101"], tmp_path)
    assert found.state == "wrong"
    assert "SIZE" in kinds(found)["train"]
    assert "error: train: another number of samples than the set has: 75746 (4 found, 75750 expected)" in (
        data_status.table([found])
    )
    miniature.build(TASKS["sun397"], tmp_path / "sun397")
    found = data_status.status(TASKS["sun397"], tmp_path)
    assert found.state == "verified"
    assert "SIZE_UNCERTAIN" in kinds(found)["train"]


def test_absent_says_where_from_and_how(tmp_path: Path) -> None:
    found = data_status.suite_status("gvb", tmp_path)
    assert [one.state for one in found] == ["absent"] * 26
    said = data_status.table(found)
    for task in TASKS.values():
        assert task.source in said and task.place in said
    assert "then `interngv data prepare cifar10`" in said


def test_test_pictures_in_the_training_list_are_wrong(food: Task, tmp_path: Path) -> None:
    lists = tmp_path / "food101" / "meta"
    (lists / "test.txt").write_text("".join((lists / "train.txt").read_text().splitlines(keepends=True)[:3]))
    found = data_status.status(food, tmp_path)
    assert found.state == "wrong"
    assert [(fault.kind.name, fault.count) for fault in found.faults["all"]] == [("LEAK", 3)]


def test_archives_are_compared_when_deep(food: Task, tmp_path: Path) -> None:
    (tmp_path / "food101" / "food-101.tar.gz").write_bytes(b"half of it")
    assert data_status.status(food, tmp_path).state == "verified"
    assert kinds(data_status.status(food, tmp_path, deep=True))["all"] == ["CHECKSUM"]
    row: dict[str, Any] = {key: value for key, value in vars(food).items() if key != "name" and value is not None}
    right = {"food-101.tar.gz": hashlib.md5(b"half of it").hexdigest()}
    assert data_status.status(Task.from_row("food101", {**row, "archives": right}), tmp_path, deep=True).state == (
        "verified"
    )


def test_json_has_every_field(food: Task, tmp_path: Path) -> None:
    (tmp_path / "food101" / "images" / "apple_pie" / "train_0.jpg").unlink()
    (said,) = json.loads(data_status.as_json([data_status.status(food, tmp_path)]))
    assert set(said) == {"name", "state", "root", "splits", "faults", "advice"}
    missing = next(fault for fault in said["faults"]["train"] if fault["kind"] == "missing_picture")
    assert missing == {
        "kind": "missing_picture",
        "text": "missing picture",
        "is_error": True,
        "count": 1,
        "examples": ["images/apple_pie/train_0.jpg"],
    }


def test_prepare_makes_official_files_readable(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cifar10 is not there. Get it from https"):
        data_status.prepare("cifar10", tmp_path)
    task = sized("cifar10", train=20, test=3)
    miniature.build(task, tmp_path / "cifar10")
    before = data_status.status(task, tmp_path)
    assert before.state == "wrong" and "interngv data prepare cifar10" in before.advice
    assert "lists/train.txt" in data_status.prepare("cifar10", tmp_path)
    assert data_status.status(task, tmp_path).state == "verified"
    data_status.prepare("cifar10", tmp_path)  # again: the same
    assert data_status.status(task, tmp_path).state == "verified"


def test_prepare_where_nothing_is_to_be_done(tmp_path: Path) -> None:
    assert data_status.prepare("food101", tmp_path).startswith("food101: nothing to convert. Get it from")
    assert data_status.prepare("bccd", tmp_path).startswith("bccd: nothing to convert")
    with pytest.raises(UserError, match="did you mean 'food101'"):
        data_status.prepare("food11", tmp_path)


def test_an_open_set_is_fetched(tmp_path: Path) -> None:
    absent = data_status.status(tasks.task("digits-8x8"), tmp_path)
    assert absent.advice == "`interngv data prepare digits-8x8` fetches it, from pypi's package scikit-learn"
    try:
        said = data_status.prepare("digits-8x8", tmp_path)
    except OpenDataError as error:
        pytest.skip(str(error))
    assert said == f"digits-8x8: {tmp_path / 'digits-8x8'}"
    assert data_status.status(tasks.task("digits-8x8"), tmp_path, deep=True).state == "verified"


def test_the_two_tasks_of_voc_share_a_folder(tmp_path: Path) -> None:
    miniature.build(TASKS["voc0712"], tmp_path / "VOCdevkit")
    assert data_status.status(sized("voc0712", train=6, test=3), tmp_path).state == "verified"
    segmentation = data_status.status(TASKS["voc2012seg"], tmp_path)
    assert segmentation.state == "wrong"  # VOC2012 is there, its lists for segmentation are not
    assert kinds(segmentation)["train"] == ["UNREADABLE_LIST"]


def test_the_mini_suite_is_verified_where_it_is_shared(shared_data: Path | None) -> None:
    if shared_data is None:
        pytest.skip("no shared data here")
    found = data_status.suite_status("mini", shared_data)
    assert {one.name: one.state for one in found if one.state != "absent"} == {
        name: "verified" for name, task in suite("mini").items() if task.root(shared_data).is_dir()
    }
