"""The authors' table: complete, as printed, and of the means that were computed from it before."""

import pytest

from interngv.gvb.report.published import published

TASKS = """
cifar10 cifar100 food101 pets flowers102 sun397 cars dtd caltech101 aircraft svhn eurosat resisc45
retinopathy fer2013 ucf101 gtsrb pcam imagenet1k kinetics700 voc0712 widerface citypersons voc2012seg kitti nyuv2
""".split()  # noqa: SIM905
# Means of the 20 classification columns, worked out from the README's table on their own, rounded to two digits.
MEANS = (70.90, 74.71, 80.37, 73.73, 53.87, 47.46, 78.44, 59.22, 62.35, 84.23, 60.89, 74.28, 78.59, 84.35)


def test_has_26_tasks_of_four_kinds_and_14_trunks() -> None:
    table = published()
    assert list(table.tasks) == TASKS
    assert len(table.trunks) == len(set(table.trunks)) == 14
    assert all(len(task.printed) == 14 for task in table.tasks.values())
    sizes = {kind: len(table.of_kind(kind)) for kind in ("classification", "detection", "segmentation", "depth")}
    assert sizes == {"classification": 20, "detection": 3, "segmentation": 1, "depth": 2}


def test_the_mean_of_the_20_classification_columns_reproduces() -> None:
    table = published()
    assert table.means(table.of_kind("classification")) == pytest.approx(MEANS, abs=0.00501)


def test_the_generalists_lose_to_their_expert_only_where_the_authors_do() -> None:
    """Up-G MN-B15 against Up-E C-MN-B15 on classification: worse on four tasks, by less than a point and a half."""
    table = published()
    general, expert = table.trunks.index("Up-G MN-B15"), table.trunks.index("Up-E C-MN-B15")
    gaps = {name: table.tasks[name].scores[general] - table.tasks[name].scores[expert] for name in TASKS[:20]}
    assert {name for name, gap in gaps.items() if gap < 0} == {"food101", "sun397", "resisc45", "imagenet1k"}
    assert min(gaps.values()) > -1.5


def test_numbers_stand_as_printed() -> None:
    tasks = published().tasks
    assert tasks["widerface"].printed[-1] == "95.9/94.2/79.6" and tasks["widerface"].scores[-1] == 95.9
    assert tasks["nyuv2"].printed[7] == "0.40" and tasks["ucf101"].printed[-1] == "88"
    assert tasks["citypersons"].metric == "mr2" and "[I]" in tasks["citypersons"].note
    assert tasks["kitti"].metric == "rmse" and tasks["flowers102"].metric == "per_class"


def test_the_facts_say_whose_they_are() -> None:
    table = published()
    assert "gv-benchmark" in table.source and table.url.startswith("https://") and table.shots == "10"


def test_the_suite_has_the_same_tasks_kinds_and_metrics() -> None:
    tasks = pytest.importorskip("interngv.gvb.tasks").TASKS
    table = published().tasks
    assert {name: (tasks[name].kind, tasks[name].metric) for name in table} == {
        name: (task.kind, task.metric) for name, task in table.items()
    }
