"""Layouts: all 26 sets in miniature through the hosts' data sets, subsets, and every fault injected and found."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import miniature
import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image

from interngv.errors import UserError
from interngv.gvb import layouts, shots
from interngv.gvb.layouts import archives
from interngv.gvb.layouts.conversions import prepare
from interngv.gvb.layouts.depth import has_wrapped
from interngv.gvb.layouts.faults import Kind
from interngv.gvb.tasks import TASKS, Task, suite

PIPELINES = {
    "classification": [dict(type="mmpretrain.LoadImageFromFile")],
    "detection": [dict(type="mmdet.LoadImageFromFile"), dict(type="mmdet.LoadAnnotations", with_bbox=True)],
    "segmentation": [dict(type="mmseg.LoadImageFromFile"), dict(type="mmseg.LoadAnnotations")],
    "depth": [
        dict(type="mmseg.LoadImageFromFile"),
        dict(type="mmseg.LoadDepthAnnotation", depth_rescale_factor=0.001),
    ],
}


def built(config: dict[str, Any], kind: str) -> Any:
    """The host's data set with a pipeline that reads pictures and annotations."""
    parts = config.get("datasets", [config])
    for part in parts:
        part["pipeline"] = PIPELINES[kind]
    return DATASETS.build(config)


def path_of(dataset: Any, index: int) -> str:
    return dataset.get_data_info(index)["img_path"]


Official = tuple[Task, Path, miniature.Truth]


@pytest.fixture(scope="module", params=list(TASKS))
def official(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Official:
    """A task, the folder of its miniature, converted where the set needs it, and what is in it."""
    task, root = TASKS[request.param], tmp_path_factory.mktemp(request.param)
    truth = miniature.build(task, root)
    if task.prepare and task.name != "kinetics700":
        with pytest.MonkeyPatch.context() as patch:
            if find_spec("h5py") is None:
                patch.setattr(archives, "_hdf5", np.load)
            prepare(task.prepare, root)
    return task, root, truth


@pytest.mark.slow
def test_miniature_through_the_host(official: Official, tmp_path: Path) -> None:
    task, root, truth = official
    layout = layouts.of(task, root)
    for split, expected in truth.items():
        samples = layout.samples(split)
        assert len(samples) == (expected if isinstance(expected, int) else len(expected))
        if isinstance(expected, dict):
            labels = [None] * len(samples) if samples.labels is None else samples.labels.tolist()
            assert dict(zip(samples.names, labels, strict=True)) == expected
        assert all((root / name).is_file() for name in samples.names)
        dataset = built(layout.dataset(split, None, tmp_path / "lists"), task.kind)
        assert len(dataset) == len(samples)
        assert [path_of(dataset, x) for x in range(len(dataset))] == [str(root / name) for name in samples.names]
        assert_reads(dataset[len(dataset) - 1], task.kind)
        assert not [str(fault) for fault in layout.faults(split, deep=True) if fault.is_error]


def assert_reads(sample: dict[str, Any], kind: str) -> None:
    assert sample["img"].ndim == 3
    if kind == "detection":
        assert len(sample["gt_bboxes"]) == len(sample["gt_bboxes_labels"]) > 0
    elif kind == "segmentation":
        assert sample["gt_seg_map"].shape == sample["img"].shape[:2]
    elif kind == "depth":
        assert np.allclose(sample["gt_depth_map"], 2.0)  # metres


@pytest.mark.slow
def test_kept_samples_are_the_ones(official: Official, tmp_path: Path) -> None:
    task, root, _ = official
    layout = layouts.of(task, root)
    samples = layout.samples("train")
    kept = [0, len(samples) - 1]
    dataset = built(layout.dataset("train", kept, tmp_path / "lists"), task.kind)
    assert [path_of(dataset, x) for x in range(len(dataset))] == [str(root / samples.names[x]) for x in kept]
    if samples.labels is not None:
        assert dataset.get_gt_labels().tolist() == samples.labels[kept].tolist()
        assert len(dataset.metainfo["classes"]) == task.num_classes


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "fer2013"])
def test_converted_pictures_have_their_own_labels(name: str, tmp_path: Path) -> None:
    miniature.build(TASKS[name], tmp_path)
    prepare(name, tmp_path)
    for split in TASKS[name].splits:
        samples = layouts.of(TASKS[name], tmp_path).samples(split)
        assert samples.labels is not None
        for path, label in zip(samples.names, samples.labels, strict=True):
            pixels = np.asarray(Image.open(tmp_path / path).convert("RGB"))
            assert (pixels[..., 1] == label).all()


def test_citypersons_keeps_what_the_miss_rate_needs(tmp_path: Path) -> None:
    miniature.build(TASKS["citypersons"], tmp_path)
    prepare("citypersons", tmp_path)
    rows = json.loads((tmp_path / "annotations" / "val.json").read_text())["annotations"]
    assert [(row["vis_ratio"], row["height"], row["iscrowd"]) for row in rows[:2]] == [(0.5, 100, 0), (1.0, 20, 1)]


def test_middle_frames_of_kinetics(tmp_path: Path) -> None:
    miniature.video(tmp_path / "videos" / "train" / "abseiling" / "x.mp4.avi", 9)
    prepare("kinetics700", tmp_path)
    assert Image.open(tmp_path / "frames" / "train" / "abseiling" / "x.mp4.jpg").size == (32, 24)


def test_lists_of_the_released_benchmark_count(tmp_path: Path) -> None:
    """They have no val, and a path may hold a space."""
    for split in ("train", "test"):
        miniature.lines(tmp_path / f"{split}_meta.list", ["a folder/x.jpg 6", "y.jpg 0"])
        for name, label in (("a folder/x.jpg", 6), ("y.jpg", 0)):
            miniature.picture(tmp_path / split / name, label)
    layout = layouts.of(TASKS["fer2013"], tmp_path)
    assert set(layout.task.splits) == {"train", "test"}
    samples = layout.samples("test")
    assert samples.names == ["test/a folder/x.jpg", "test/y.jpg"]
    assert samples.labels is not None and samples.labels.tolist() == [6, 0]
    assert len(built(layout.dataset("test", None, tmp_path / "out"), "classification")) == 2


@pytest.mark.parametrize("official", list(miniature.PER_CLASS), indirect=True)
def test_own_splits_are_whole_disjoint_and_even(official: Official) -> None:
    task, root, truth = official
    parts = [layouts.of(task, root).samples(split) for split in truth]
    everything = [name for part in parts for name in part.names]
    assert len(everything) == len(set(everything)) == miniature.PER_CLASS[task.name] * (task.num_classes or 0)
    for part in parts:
        assert part.labels is not None
        assert len(set(np.bincount(part.labels, minlength=task.num_classes or 0))) == 1
        assert all(
            int(name.split("class")[1][:3]) == label for name, label in zip(part.names, part.labels, strict=True)
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", list(suite("mini")))
def test_mini_suite_on_the_real_folders(name: str, shared_data: Path | None, tmp_path: Path) -> None:
    task = suite("mini")[name]
    if shared_data is None or not task.root(shared_data).is_dir():
        pytest.skip(f"{name} is not here")
    layout = layouts.of(task, task.root(shared_data))
    for split, size in task.splits.items():
        assert len(layout.samples(split)) == size
        assert not [fault for fault in layout.faults(split) if fault.is_error]
        dataset = built(layout.dataset(split, range(0, size or 0, 10), tmp_path), task.kind)
        assert len(dataset) == len(range(0, size or 0, 10))
        assert dataset[0]["img"].ndim == 3
    assert len(layout.class_names()) == (task.num_classes or 0)


# -- faults

SOME_CLASSES = Task.from_row(
    "birds",
    dict(
        title="Birds",
        kind="classification",
        num_classes=3,
        metric="accuracy",
        layout="list_file",
        settings=dict(lists=dict(train="train.txt", test="test.txt")),
    ),
)


def own(kind: str, layout: str, settings: dict[str, Any], **more: Any) -> Task:
    metric = {"detection": "coco_ap", "segmentation": "miou", "depth": "rmse", "classification": "accuracy"}[kind]
    return Task.from_row("own", dict(title="Own", kind=kind, metric=metric, layout=layout, settings=settings, **more))


def kinds(task: Task, root: Path, deep: bool = True) -> dict[Kind, int]:
    return {fault.kind: fault.count for fault in layouts.of(task, root).faults("train", deep)}


def birds(root: Path, rows: list[str]) -> Path:
    miniature.lines(root / "train.txt", rows)
    for row in rows:
        miniature.picture(root / row.split()[0])
    return root


@pytest.mark.parametrize(
    ("rows", "kind", "count"),
    [
        (["a.png 0", "b.png 1", "c.png 3", "d.png -1", "e.png two"], Kind.LABEL, 3),
        (["a.png 0", "b.png"], Kind.LINE, 1),
        (["a.png 0", "a.png 1"], Kind.CONFLICT, 1),
    ],
)
def test_wrong_lines_are_errors_with_their_place(tmp_path: Path, rows: list[str], kind: Kind, count: int) -> None:
    assert kinds(SOME_CLASSES, birds(tmp_path, rows))[kind] == count
    with pytest.raises(UserError, match=rf"birds: .*train.txt:\d.*{kind.text}"):
        layouts.of(SOME_CLASSES, tmp_path).samples("train")


def test_list_faults_that_one_can_live_with_are_counted(tmp_path: Path) -> None:
    birds(tmp_path, ["a.png 0", "b.png 1", "b.png 1"])
    assert kinds(SOME_CLASSES, tmp_path) == {Kind.DUPLICATE: 1, Kind.EMPTY_CLASS: 1}
    assert len(layouts.of(SOME_CLASSES, tmp_path).samples("train")) == 3


def test_missing_unreadable_and_equal_pictures(tmp_path: Path) -> None:
    birds(tmp_path, ["a.png 0", "b.png 1", "c.png 2", "d.png 2"])
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:80])
    (tmp_path / "d.png").write_bytes((tmp_path / "c.png").read_bytes())
    assert kinds(SOME_CLASSES, tmp_path, deep=False) == {Kind.MISSING_PICTURE: 1}
    assert kinds(SOME_CLASSES, tmp_path) == {
        Kind.MISSING_PICTURE: 1,
        Kind.UNREADABLE_PICTURE: 1,
        Kind.SAME_CONTENT: 1,
    }


def test_empty_absent_and_unknown_splits(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("\n")
    layout = layouts.of(SOME_CLASSES, tmp_path)
    assert Kind.EMPTY in kinds(SOME_CLASSES, tmp_path)
    with pytest.raises(UserError, match="no samples"):
        layout.samples("train")
    with pytest.raises(UserError, match=r"test.txt is missing"):
        layout.samples("test")
    with pytest.raises(UserError, match="no split 'tset'; did you mean 'test'"):
        layout.samples("tset")
    assert [fault.kind for fault in layout.faults("test")] == [Kind.UNREADABLE_LIST]


def test_a_missing_class_folder_is_an_error(tmp_path: Path) -> None:
    task = own("classification", "folders", dict(folders=dict(train="train", test="val")), num_classes=3)
    for name in ("train/a/1.png", "train/b/1.png", "val/a/1.png", "val/c/1.png"):
        miniature.picture(tmp_path / name)
    with pytest.raises(UserError, match="has 2 class folders, expected 3"):
        layouts.of(task, tmp_path).samples("test")
    (tmp_path / "train" / "z").mkdir()
    assert kinds(task, tmp_path) == {Kind.EMPTY_CLASS: 1}
    with pytest.raises(UserError, match=r"val/c: label outside the classes"):
        layouts.of(task, tmp_path).samples("test")


COCO = own("detection", "coco", dict(annotations=dict(train="train.json"), images="images"), num_classes=2)


def test_coco_faults(tmp_path: Path) -> None:
    miniature.picture(tmp_path / "images" / "a.png")
    good, outside, flat = [1, 1, 5, 5], [8, 1, 9, 5], [3, 3, 0, 4]
    miniature.coco_file(tmp_path / "train.json", ["a.png"], [(0, 1, good), (0, 1, outside), (0, 1, flat)])
    assert kinds(COCO, tmp_path) == {Kind.BOX_OUTSIDE: 1, Kind.BOX_WITHOUT_AREA: 1, Kind.EMPTY_CLASS: 1}
    miniature.coco_file(tmp_path / "train.json", ["a.png"], [(0, 7, good), (4, 1, good), (0, 2, good)])
    found = kinds(COCO, tmp_path)
    assert found[Kind.LABEL] == 1 and found[Kind.LINE] == 1
    with pytest.raises(UserError, match=r"annotation 0, category 7: label outside"):
        layouts.of(COCO, tmp_path).dataset("train", None, tmp_path)
    miniature.coco_file(tmp_path / "train.json", ["a.png"], [], classes=3)
    with pytest.raises(UserError, match="has the 3 categories"):
        layouts.of(COCO, tmp_path).samples("train")
    (tmp_path / "train.json").write_text('{"images": [{"id": 1}], "annotations": [], "categories": []}')
    with pytest.raises(UserError, match=r"images\[0\]: expected the keys id, file_name"):
        layouts.of(COCO, tmp_path).samples("train")


def test_voc_faults(tmp_path: Path) -> None:
    task = TASKS["voc0712"]
    miniature.build(task, tmp_path)
    folder = tmp_path / "VOC2007" / "Annotations"
    first, second, third = sorted(folder.glob("*trainval*.xml"))
    miniature.voc_xml(first, [("dog", (3, 3, 30, 5)), ("cat", (4, 4, 4, 6)), ("unicorn", (1, 1, 3, 3))])
    second.unlink()
    third.write_text("<annotation>")
    found = kinds(task, tmp_path, deep=False)
    assert [found[kind] for kind in (Kind.BOX_OUTSIDE, Kind.BOX_WITHOUT_AREA, Kind.LABEL)] == [1, 1, 1]
    assert [found[kind] for kind in (Kind.MISSING_TARGET, Kind.UNREADABLE_TARGET)] == [1, 1]
    with pytest.raises(UserError, match="the class 'unicorn' is none of the task's"):
        layouts.of(task, tmp_path).dataset("train", [0], tmp_path / "lists")


def test_wider_face_faults(tmp_path: Path) -> None:
    task = TASKS["widerface"]
    miniature.build(task, tmp_path)
    file = tmp_path / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    file.write_text(file.read_text().replace("1 1 4 5 ", "9 1 9 5 ").replace("2 2 5 5 ", "2 2 0 5 "))
    found = kinds(task, tmp_path)
    assert found == {Kind.BOX_OUTSIDE: 1, Kind.BOX_WITHOUT_AREA: 1}
    file.write_text(file.read_text().replace("9 1 9 5 ", "9 1 9 "))
    with pytest.raises(UserError, match=r"gt.txt:1: expected a path, a count and so many faces"):
        layouts.of(task, tmp_path).samples("train")


def test_wider_face_annotations_reach_the_host(tmp_path: Path) -> None:
    miniature.build(TASKS["widerface"], tmp_path)
    config = layouts.of(TASKS["widerface"], tmp_path).dataset("train", None, tmp_path / "lists")
    rows = json.loads(Path(config["ann_file"]).read_text())["annotations"]
    assert [(row["image_id"], row["iscrowd"], row["occlusion"]) for row in rows] == [(0, 0, 0), (0, 1, 2), (2, 0, 0)]


MASKS = own("segmentation", "masks", dict(parts=dict(train=[dict(images="x", masks="y")])), num_classes=3)


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda path: path.unlink(), Kind.MISSING_TARGET),
        (lambda path: path.write_bytes(b"no picture"), Kind.UNREADABLE_TARGET),
        (lambda path: miniature.mask(path, [0, 1, 2], size=(8, 12)), Kind.TARGET_SIZE),
        (lambda path: miniature.mask(path, [255]), Kind.BLANK_MASK),
        (lambda path: miniature.mask(path, [0, 3]), Kind.MASK_VALUE),
        (lambda path: miniature.picture(path), Kind.MASK_VALUE),
    ],
)
def test_mask_faults(tmp_path: Path, spoil: Callable[[Path], None], kind: Kind) -> None:
    for name in ("a", "b"):
        miniature.picture(tmp_path / "x" / f"{name}.jpg")
        miniature.mask(tmp_path / "y" / f"{name}.png", [0, 1, 2, 255])
    assert kinds(MASKS, tmp_path) == {}
    spoil(tmp_path / "y" / "b.png")
    assert kinds(MASKS, tmp_path) == {kind: 1}
    miniature.mask(tmp_path / "y" / "b.png", [0])
    miniature.mask(tmp_path / "y" / "a.png", [0, 2])
    assert kinds(MASKS, tmp_path) == {Kind.EMPTY_CLASS: 1}


DEPTH = own("depth", "depth", dict(scale=0.001, images=dict(train="x"), depths=dict(train="y")))
SLOPE = np.linspace(60_000, 70_000, 96).reshape(8, 12).astype(np.uint32)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.zeros((8, 12), np.uint16), Kind.NO_DEPTH),
        (np.full((8, 12), 200, np.uint8), Kind.DEPTH_BITS),
        (np.full((12, 8), 200, np.uint16), Kind.TARGET_SIZE),
        (SLOPE.astype(np.uint16), Kind.DEPTH_WRAP),
    ],
)
def test_depth_faults(tmp_path: Path, values: np.ndarray, kind: Kind) -> None:
    for name in ("a", "b"):
        miniature.picture(tmp_path / "x" / f"{name}.jpg")
        miniature.depth_map(tmp_path / "y" / f"{name}.png")
    assert kinds(DEPTH, tmp_path) == {}
    miniature.depth_map(tmp_path / "y" / "b.png", values)
    assert kinds(DEPTH, tmp_path) == {kind: 1}


def test_infinite_and_missing_depth(tmp_path: Path) -> None:
    lists = dict(train="list.txt")
    task = own("depth", "depth", {**DEPTH.settings, "lists": lists})
    values = np.full((8, 12), 2.0, np.float32)
    values[0, 0], values[1, 1] = np.inf, np.nan
    for name in ("a.jpg", "b.jpg"):
        miniature.picture(tmp_path / "x" / name)
    (tmp_path / "y").mkdir()
    Image.fromarray(values).save(tmp_path / "y" / "a.tif")
    miniature.lines(tmp_path / "list.txt", ["a.jpg a.tif 500", "b.jpg b.tif 500", "c.jpg None 500"])
    assert kinds(task, tmp_path) == {Kind.WITHOUT_TRUTH: 1, Kind.INFINITE_DEPTH: 1, Kind.MISSING_TARGET: 1}
    assert layouts.of(task, tmp_path).samples("train").names == ["x/a.jpg", "x/b.jpg"]
    miniature.lines(tmp_path / "list.txt", ["a.jpg"])
    with pytest.raises(UserError, match=r"list.txt:1: line of another form"):
        layouts.of(task, tmp_path).samples("train")


def test_an_overflow_is_told_from_depth_that_fits() -> None:
    assert has_wrapped(SLOPE.astype(np.uint16)) and has_wrapped(SLOPE.T.astype(np.uint16))
    assert not has_wrapped((SLOPE // 2).astype(np.uint16))
    holes = np.where(SLOPE > 64_000, 0, SLOPE).astype(np.uint16)  # 0 is no depth, not a near one
    assert not has_wrapped(holes)


def test_sample_names_identify_a_list(tmp_path: Path) -> None:
    birds(tmp_path, ["a.png 0", "b.png 1", "c.png 2"])
    names = layouts.of(SOME_CLASSES, tmp_path).samples("train").names
    assert shots.list_sha256(names) != shots.list_sha256(names[:2])


def test_a_list_file_is_named_by_its_content(tmp_path: Path) -> None:
    birds(tmp_path, ["a.png 0", "b.png 1", "c.png 2"])
    layout = layouts.of(SOME_CLASSES, tmp_path)
    files = [layout.dataset("train", kept, tmp_path / "out")["ann_file"] for kept in ([0, 2], [0, 1], [0, 2])]
    assert files[0] == files[2] != files[1]
    assert Path(files[0]).read_text() == "a.png 0\nc.png 2\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted({Path(file).name for file in files})


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    miniature.build(TASKS["cifar10"], tmp_path)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin").write_bytes(b"\0" * 3000)
    with pytest.raises(UserError, match="cifar10: the official files in .* cannot be read"):
        prepare("cifar10", tmp_path)
    assert not (tmp_path / "lists").exists()
