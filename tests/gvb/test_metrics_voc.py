"""VOC mAP against a naive evaluation in exact fractions, and against mmdetection's."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from metric_runs import detection, jittered, random_boxes, run

from interngv.errors import UserError
from interngv.gvb.metrics import VocMetric, counts, per_class, scores

CLASSES = ("cat", "dog", "cow")


def pictures(seed: int, number: int = 30) -> list[dict]:
    rng = np.random.default_rng(seed)
    made = []
    for index in range(number):
        boxes = random_boxes(rng, int(rng.integers(6)))
        labels = rng.integers(3, size=len(boxes))
        found = jittered(rng, boxes, labels, 3)
        made.append(detection(index, found, boxes, labels, rng.random(len(boxes)) < 0.25))
    return made


def overlap(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (areas[0] + areas[1] - width * height)


def naive(samples: list[dict], label: int, form: str) -> float | None:
    """AP of a class as the devkit's text tells it: one ranked list, one detection at a time."""
    ranked, truth, wanted = [], {}, 0
    for one in samples:
        parts = [("gt_instances", False), ("ignored_instances", True)]
        truth[one["img_id"]] = [
            [box, difficult, False]
            for part, difficult in parts
            for box, name in zip(one[part]["bboxes"].tolist(), one[part]["labels"].tolist(), strict=True)
            if name == label
        ]
        wanted += sum(not difficult for _, difficult, _ in truth[one["img_id"]])
        found = one["pred_instances"]
        rows = zip(found["bboxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True)
        ranked += [(score, one["img_id"], box) for box, score, name in rows if name == label]
    if not wanted:
        return None
    points, right, wrong = [], 0, 0
    for _, name, box in sorted(ranked, key=lambda row: -row[0]):
        best, best_overlap = None, -1.0
        for candidate in truth[name]:
            if overlap(box, candidate[0]) > best_overlap:
                best, best_overlap = candidate, overlap(box, candidate[0])
        if best is not None and best_overlap >= 0.5 and best[1]:
            continue
        if best is not None and best_overlap >= 0.5 and not best[2]:
            best[2] = True
            right += 1
        else:
            wrong += 1
        points.append((Fraction(right, wanted), Fraction(right, right + wrong)))
    if form == "11points":
        tenths = [Fraction(tenth, 10) for tenth in range(11)]
        return float(sum(max([p for r, p in points if r >= tenth], default=0) for tenth in tenths) / 11)
    recalls = [Fraction(0), *sorted({r for r, _ in points})]
    return float(sum((high - low) * max(p for r, p in points if r >= high) for low, high in pairwise(recalls)))


@pytest.mark.parametrize("form", ["11points", "area"])
@pytest.mark.parametrize("seed", range(6))
def test_as_the_naive_evaluation(seed: int, form: str) -> None:
    samples = pictures(seed)
    found = run(VocMetric(form=form), samples, CLASSES)
    each = [naive(samples, label, form) for label in range(3)]
    table = per_class(found)
    assert table == pytest.approx({name: 100 * ap for name, ap in zip(CLASSES, each, strict=True) if ap is not None})
    assert found["gvb/voc_map"] == found[f"gvb/voc_map_{form}"] == pytest.approx(np.mean(list(table.values())))


@pytest.mark.parametrize("form", ["11points", "area"])
@pytest.mark.parametrize("seed", [1, 4, 7])
def test_as_mmdetection(seed: int, form: str) -> None:
    functional = pytest.importorskip("mmdet.evaluation.functional")
    rng = np.random.default_rng(seed)
    samples = pictures(seed)
    for one in samples:  # mmdetection leaves open which of two equal scores comes first
        one["pred_instances"]["scores"] += rng.uniform(0, 1e-3, len(one["pred_instances"]["scores"]))
    truth, found = [], []
    for one in samples:
        box, name, score = (one["pred_instances"][key].numpy() for key in ("bboxes", "labels", "scores"))
        found.append([np.hstack([box[name == label], score[name == label, None]]) for label in range(3)])
        truth.append(
            dict(
                bboxes=one["gt_instances"]["bboxes"].numpy(),
                labels=one["gt_instances"]["labels"].numpy(),
                bboxes_ignore=one["ignored_instances"]["bboxes"].numpy(),
                labels_ignore=one["ignored_instances"]["labels"].numpy(),
            )
        )
    theirs, rows = functional.eval_map(
        found, truth, iou_thr=0.5, logger="silent", eval_mode=form, use_legacy_coordinate=True, nproc=1
    )
    assert all(row["num_gts"] % 5 for row in rows), "recalls of exact tenths are where mmdetection rounds"
    assert run(VocMetric(form=form), samples, CLASSES)["gvb/voc_map"] == pytest.approx(100 * theirs, abs=1e-4)


@pytest.mark.parametrize("tenth", range(1, 11))
def test_a_recall_of_exactly_so_many_tenths_counts(tenth: int) -> None:
    boxes = [[20 * i, 0, 20 * i + 9, 9] for i in range(10)]
    found = [[*box, 1 - i / 100, 0] for i, box in enumerate(boxes[:tenth])]
    result = run(VocMetric(), [detection(0, found, boxes, [0] * 10)], CLASSES)
    assert result["gvb/voc_map"] == pytest.approx(100 * (tenth + 1) / 11)


def test_rules_one_by_one() -> None:
    box, other = [10, 10, 19, 19], [50, 50, 59, 59]
    twice = [[*box, 0.9, 0], [*box, 0.8, 0]]
    assert run(VocMetric("area"), [detection(0, twice, [box], [0])], CLASSES)["gvb/voc_map"] == 100
    late = [[*box, 0.9, 0], [*box, 0.8, 0], [*other, 0.7, 0]]
    result = run(VocMetric("area"), [detection(0, late, [box, other], [0, 0])], CLASSES)
    assert result["gvb/voc_map"] == pytest.approx(100 * (0.5 + 0.5 * 2 / 3))
    difficult = detection(0, late, [box, other], [0, 0], [True, False])
    assert run(VocMetric("area"), [difficult], CLASSES)["gvb/voc_map"] == 100
    inclusive = [[10, 10, 19, 14, 0.9, 0]]  # half of the 10 x 10 pixels
    assert run(VocMetric(), [detection(0, inclusive, [box], [0])], CLASSES)["gvb/voc_map"] == 100
    assert run(VocMetric(), [detection(0, [], [box], [0])], CLASSES)["gvb/voc_map"] == 0


def test_counts_what_it_leaves_out() -> None:
    strange = detection(0, [[5, 5, 5, 9, 0.5, 0]], [[10, 10, 19, 19], [30, 9, 20, 9], [-50, 0, 9, 9]], [0, 0, 0])
    found = run(VocMetric(), [strange], CLASSES)
    assert counts(found) == {
        "annotated_boxes_without_area": 1,
        "annotated_boxes_beyond_the_picture": 1,
        "classes_without_a_box": 2,
        "detections_without_area": 1,
    }
    assert scores("voc_map", found) == {"voc_map": 0, "voc_map_11points": 0, "voc_map_area": 0}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (detection("x", [[0, 0, 9, 9, np.nan, 0]]), "1 of 1 predicted scores are not finite"),
        (detection("x", [[0, 0, np.inf, 9, 0.5, 0]]), "1 of 4 predicted coordinates"),
        (detection("x", [[0, 0, 9, 9, 0.5, 3]]), "predicted label 3 is outside the 3 classes"),
        (detection("x", [], [[0, 0, 9, 9]], [5]), "annotated label 5"),
        (detection("x", [], [[0, 0, np.nan, 9]], [0]), "annotated coordinates"),
        ({k: v for k, v in detection("x", []).items() if k != "gt_instances"}, "the pipeline lacks LoadAnnotations"),
    ],
)
def test_refuses(bad: dict, said: str) -> None:
    with pytest.raises(UserError, match=f"pictures/x.jpg: .*{said}"):
        run(VocMetric(), [bad], CLASSES)


def test_refuses_a_set_without_boxes_and_an_unknown_form() -> None:
    with pytest.raises(UserError, match="no picture of the test set has an annotated box"):
        run(VocMetric(), [detection(0, [])], CLASSES)
    with pytest.raises(UserError, match="no form 'areas'; did you mean 'area'"):
        VocMetric(form="areas")


def test_difficult_boxes_survive_mmdetections_reading(tmp_path: Path) -> None:
    """VOC's own files through ``VOCDataset`` and its pipeline: 1-based inclusive pixels, difficult boxes apart."""
    pytest.importorskip("mmdet")
    from mmdet.registry import DATASETS
    from mmdet.utils import register_all_modules
    from PIL import Image

    register_all_modules()
    root = tmp_path / "VOC2007"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    rows = [("cat", 0, (11, 11, 60, 60)), ("cat", 1, (101, 101, 150, 150)), ("dog", 0, (1, 1, 200, 100))]
    objects = "".join(
        f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, hard, (a, b, c, d) in rows
    )
    size = "<size><width>200</width><height>160</height><depth>3</depth></size>"
    (root / "Annotations/000001.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    (root / "ImageSets/Main/test.txt").write_text("000001\n")
    Image.new("RGB", (200, 160)).save(root / "JPEGImages/000001.jpg")
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=(1000, 600), keep_ratio=True),
        dict(type="LoadAnnotations", with_bbox=True),
        dict(type="PackDetInputs"),
    ]
    data = DATASETS.build(
        dict(
            type="mmdet.VOCDataset",
            data_root=str(tmp_path),
            ann_file="VOC2007/ImageSets/Main/test.txt",
            data_prefix=dict(sub_data_root="VOC2007/"),
            pipeline=pipeline,
            test_mode=True,
        )
    )
    read = data[0]["data_samples"].to_dict()
    cat, dog = data.metainfo["classes"].index("cat"), data.metainfo["classes"].index("dog")
    found = detection(0, [[0, 0, 199, 99, 0.9, dog], [100, 100, 149, 149, 0.8, cat], [10, 10, 59, 59, 0.7, cat]])
    result = run(VocMetric(), [dict(read, pred_instances=found["pred_instances"])], data.metainfo["classes"])
    assert per_class(result) == {"cat": 100, "dog": 100}, "the better scored cat is difficult"
    assert counts(result) == {"classes_without_a_box": 18}
