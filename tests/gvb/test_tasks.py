"""The rows of facts: the 26 tasks of GV-B as INTERN's specification has them, and rows of users."""

from collections import Counter
from typing import Any

import pytest

from interngv.errors import UserError
from interngv.gvb import tasks
from interngv.gvb.tasks import TASKS, Task
from interngv.gvd import open_data

# Classes, metric, and samples for training and test, from gv-benchmark's configs, Elevater's and VTAB's lists.
SPECIFIED = {
    "cifar10": (10, "accuracy", 50_000, 10_000),
    "cifar100": (100, "accuracy", 50_000, 10_000),
    "food101": (101, "accuracy", 75_750, 25_250),
    "pets": (37, "per_class", 3_680, 3_669),
    "flowers102": (102, "per_class", 2_040, 6_149),
    "sun397": (397, "accuracy", 19_850, 19_850),
    "cars": (196, "accuracy", 8_144, 8_041),
    "dtd": (47, "accuracy", 1_880, 1_880),
    "caltech101": (102, "per_class", 3_060, 6_084),
    "aircraft": (100, "per_class", 3_334, 3_333),
    "svhn": (10, "accuracy", 73_257, 26_032),
    "eurosat": (10, "accuracy", 16_200, 5_400),
    "resisc45": (45, "accuracy", 18_900, 6_300),
    "retinopathy": (5, "accuracy", 35_126, 42_670),
    "fer2013": (7, "accuracy", 28_709, 3_589),
    "ucf101": (101, "accuracy", 9_537, 1_794),
    "gtsrb": (43, "accuracy", 26_640, 12_630),
    "pcam": (2, "accuracy", 262_144, 32_768),
    "imagenet1k": (1000, "accuracy", 1_281_167, 50_000),
    "kinetics700": (700, "accuracy", None, None),
    "voc0712": (20, "voc_map", 16_551, 4_952),
    "widerface": (1, "wider_ap", 12_880, 3_226),
    "citypersons": (1, "mr2", 2_975, 500),
    "voc2012seg": (21, "miou", 10_582, 1_449),
    "kitti": (None, "rmse", 23_158, 652),
    "nyuv2": (None, "rmse", 24_231, 654),
}
ROW: dict[str, Any] = dict(
    title="Birds",
    kind="classification",
    num_classes=3,
    metric="accuracy",
    layout="folders",
    settings=dict(folders=dict(train="train", test="val")),
)


def test_rows_are_those_of_the_specification() -> None:
    found = {
        name: (task.num_classes, task.metric, task.splits["train"], task.splits["test"]) for name, task in TASKS.items()
    }
    assert found == SPECIFIED
    assert list(found) == list(SPECIFIED)


def test_kinds_are_twenty_three_one_two() -> None:
    kinds = Counter(task.kind for task in TASKS.values())
    assert kinds == dict(classification=20, detection=3, segmentation=1, depth=2)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_a_row_says_where_its_files_come_from(task: Task) -> None:
    assert task.source and task.place and task.licence and task.title
    assert task.prompts if task.kind == "classification" else not task.prompts
    if task.class_names is None:
        assert task.name == "kinetics700" or task.kind == "depth"
    else:
        assert len(task.class_names) == task.num_classes


def test_class_names_stand_in_the_order_of_the_labels() -> None:
    """Anchors where two usual orders differ: FER2013's codes, and Flowers', Pets' and ImageNet's first and last."""
    fer = TASKS["fer2013"].class_names or ()
    assert fer[5:] == ("surprised", "neutral")
    assert (TASKS["pets"].class_names or ())[1:4] == ("American Bulldog", "American Pit Bull Terrier", "Basset Hound")
    ends = {name: (names[0], names[-1]) for name in ("flowers102", "imagenet1k") if (names := TASKS[name].class_names)}
    assert ends == {"flowers102": ("pink primrose", "blackberry lily"), "imagenet1k": ("tench", "toilet paper")}


def test_titles_are_unique_and_metrics_suit_the_kind() -> None:
    everything = [task for suite in tasks.SUITES for task in tasks.suite(suite).values()]
    assert len({task.title for task in everything}) == len(everything) == 40
    assert all(task.metric in tasks.METRICS[task.kind] for task in everything)


@pytest.mark.parametrize("suite", tasks.SUITES)
def test_a_suite_has_all_kinds(suite: str) -> None:
    assert {task.kind for task in tasks.suite(suite).values()} == set(tasks.KINDS)


def test_open_sets_are_packs() -> None:
    assert all(open_data.pack_facts(task.pack or "") for task in tasks.suite("open").values())


def test_classes_that_prompts_name_differ() -> None:
    """CLIP's list calls two classes of ImageNet missile and two sunglasses; 744 is projectile here, 836 sunglass."""
    named = [
        task for suite in tasks.SUITES for task in tasks.suite(suite).values() if task.prompts and task.class_names
    ]
    assert len(named) > 10
    assert {task.name for task in named if len(set(task.class_names or ())) < (task.num_classes or 0)} == set()


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UserError, match="no task is called 'foods101'; did you mean 'food101'"):
        tasks.task("foods101")
    with pytest.raises(UserError, match="no suite is called 'min'; did you mean 'mini'"):
        tasks.suite("min")
    assert tasks.task("bccd").metric == "coco_ap"


def test_a_row_takes_the_class_names_of_a_shipped_task() -> None:
    row = Task.from_row("small", {**ROW, "class_names": "cifar10", "num_classes": 10})
    assert row.class_names == tasks.task("cifar10").class_names
    assert tasks.task("imagenet_one_each").class_names == tasks.task("imagenet1k").class_names


def test_a_users_row_joins() -> None:
    joined = tasks.with_rows({"birds": ROW})
    assert len(joined) == 27
    assert joined["birds"].root("some").as_posix() == "some/birds"
    with pytest.raises(UserError, match="has a task of this name"):
        tasks.with_rows({"pets": ROW})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(num_clases=3), "unknown key 'num_clases'; did you mean 'num_classes'"),
        (dict(kind="klassification"), "kind 'klassification' is not known; did you mean 'classification'"),
        (dict(metric="miou"), "metric 'miou' is not known"),
        (dict(layout="folder"), "layout 'folder' is not known; did you mean 'folders'"),
        (dict(settings=dict(folders=dict(), part=1)), "setting 'part' is not known; did you mean 'parts'"),
        (dict(settings=dict()), "its layout needs the settings folders"),
        (dict(num_classes=None), "needs at least one class"),
        (dict(num_classes="3"), "of another type"),
        (dict(num_classes=True), "of another type"),
        (dict(class_names=["a", "b"]), "2 class names for num_classes=3"),
        (dict(class_names="cifar01"), "no class names of 'cifar01' are known; did you mean 'cifar10'"),
        (dict(class_names="cifar10"), "10 class names for num_classes=3"),
        (dict(prompts=["a photo"]), "has no {c}"),
        (dict(splits=dict(training=3)), "split 'training' is not known; did you mean 'train'"),
        (dict(splits=dict(train=0)), "splits.train=0"),
        (dict(title=None), "lacks title"),
    ],
)
def test_wrong_rows_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Task.from_row("birds", {**ROW, **change})
