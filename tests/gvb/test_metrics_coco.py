"""COCO AP: every evaluator against pycocotools, on real and made annotations; our reading of a file against its own."""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_runs import detection, jittered, random_boxes, run, write_annotations

from interngv.errors import UserError
from interngv.gvb.metrics import CocoBoxMetric, counts, per_class, scores
from interngv.gvb.metrics.coco_backends import BACKENDS

pytest.importorskip("pycocotools")
SCORES = ["coco_ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
CLASSES = ("cat", "dog", "cow")


def reference(path: Path, samples: list[dict], classes: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """pycocotools itself on the file itself, in percent: scores and AP of each class."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = []
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        ids = truth.getCatIds(catNms=list(classes))
        for one in samples:
            found = one["pred_instances"]
            for box, score, label in zip(*(found[key].tolist() for key in ("bboxes", "scores", "labels")), strict=True):
                size = [box[2] - box[0], box[3] - box[1]]
                rows.append(dict(image_id=one["img_id"], bbox=[*box[:2], *size], score=score, category_id=ids[label]))
        judged = COCOeval(truth, truth.loadRes(rows), "bbox")
        judged.params.catIds = ids
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    precision = judged.eval["precision"][:, :, :, 0, -1]
    each = {truth.cats[key]["name"]: precision[:, :, index] for index, key in enumerate(ids)}
    stats = dict(zip(SCORES, judged.stats[:6], strict=True))
    return (
        {name: 100 * value for name, value in stats.items() if value >= 0},
        {name: 100 * values.mean() for name, values in each.items() if (values >= 0).any()},
    )


def of_file(path: Path, seed: int) -> tuple[list[dict], list[str]]:
    """Detections made by jittering a file's boxes, and its class names."""
    rng, content = np.random.default_rng(seed), json.loads(path.read_text())
    labels = {row["id"]: label for label, row in enumerate(content["categories"])}
    made = []
    for image in content["images"]:
        ours = [row for row in content["annotations"] if row["image_id"] == image["id"]]
        boxes = np.array([row["bbox"] for row in ours], dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        names = np.array([labels[row["category_id"]] for row in ours], dtype=int)
        made.append(detection(image["id"], jittered(rng, boxes, names, len(labels))))
    return made, [row["name"] for row in content["categories"]]


def made_file(folder: Path, seed: int, images: int = 25) -> Path:
    """Boxes of all sizes, crowds among them; one class may lack any; more than 100 boxes in a picture."""
    rng, rows = np.random.default_rng(seed), []
    for index in range(images):
        boxes = random_boxes(rng, 130 if index == 0 else int(rng.integers(6)))
        boxes[::3, 2:] = boxes[::3, :2] + rng.uniform(5, 30, boxes[::3, 2:].shape)
        for box in boxes:
            size = [*box[:2], *(box[2:] - box[:2])]
            rows.append(
                dict(
                    image_id=100 + index,
                    category_id=7 if index == 0 else int(rng.integers(7, 9)),
                    bbox=size,
                    area=float(size[2] * size[3] * rng.uniform(0.4, 1)),
                    iscrowd=int(rng.random() < 0.1),
                )
            )
    for number, row in enumerate(rows, start=1):  # pycocotools never finds an annotation of id 0
        row["id"] = number
    return write_annotations(folder / "made.json", images, rows, CLASSES)


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(BACKENDS[request.param][0][0])
    return request.param


def check_parity(path: Path, seed: int, backend: str) -> None:
    samples, classes = of_file(path, seed)
    stats, each = reference(path, samples, classes)
    found = run(CocoBoxMetric(path, backend=backend), samples, classes)
    assert scores("coco_ap", found) == pytest.approx(stats, abs=1e-9)
    assert per_class(found) == pytest.approx(each, abs=1e-9)
    assert 5 < found["gvb/coco_ap"] < 95


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_parity_on_made_annotations(seed: int, backend: str, tmp_path: Path) -> None:
    check_parity(made_file(tmp_path, seed), seed, backend)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bccd", "coco_mini"])
def test_parity_on_real_annotations(name: str, backend: str, shared_data: Path | None) -> None:
    path = shared_data / name / "annotations/val.json" if shared_data else None
    if path is None or not path.is_file():
        pytest.skip("needs the shared data sets; made annotations are tested above")
    check_parity(path, 0, backend)


def test_nothing_found_is_zero(backend: str, tmp_path: Path) -> None:
    path = made_file(tmp_path, 0)
    samples = [detection(100 + index, []) for index in range(25)]
    found = run(CocoBoxMetric(path, backend=backend), samples, CLASSES)
    assert scores("coco_ap", found) == dict.fromkeys(SCORES[:5] if "gvb/ap_large" not in found else SCORES, 0)
    assert per_class(found) == {"cat": 0, "dog": 0} and counts(found) == {"classes_without_a_box": 1}


def test_perfect_with_an_annotation_of_id_0(backend: str, tmp_path: Path) -> None:
    rows = [dict(image_id=100, category_id=7 + i, bbox=[50.0 * i, 0, 20, 20]) for i in range(3)]
    path = write_annotations(tmp_path / "v.json", 1, rows, CLASSES)
    found = [[50 * i, 0, 50 * i + 20, 20, 0.9, i] for i in range(3)]
    result = run(CocoBoxMetric(path, backend=backend), [detection(100, found)], CLASSES)
    assert scores("coco_ap", result) == pytest.approx(dict.fromkeys(SCORES[:4], 100))


def test_labels_number_the_categories_of_the_classes_as_mmdetection_does(tmp_path: Path) -> None:
    rows = [dict(image_id=100, category_id=7 + i, bbox=[50.0 * i, 0, 20, 20]) for i in (0, 2)]
    path = write_annotations(tmp_path / "v.json", 1, rows, CLASSES)
    found = [[0, 0, 20, 20, 0.9, 0], [100, 0, 120, 20, 0.9, 1]]
    each = per_class(run(CocoBoxMetric(path), [detection(100, found)], ("cat", "cow")))
    assert each == pytest.approx({"cat": 100, "cow": 100})
    with pytest.raises(UserError, match="no category 'cows'; did you mean 'cow'"):
        run(CocoBoxMetric(path), [detection(100, found)], ("cat", "cows"))


def test_boxes_without_area_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [dict(image_id=100, category_id=7, bbox=box) for box in ([0.0, 0, 20, 20], [5.0, 5, 0, 9])]
    path = write_annotations(tmp_path / "v.json", 1, rows, CLASSES)
    found = run(CocoBoxMetric(path), [detection(100, [[0, 0, 20, 20, 0.9, 0]])], CLASSES)
    assert found["gvb/coco_ap"] == pytest.approx(100)
    assert counts(found)["annotated_boxes_without_area"] == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (dict(area=float("nan")), "an area is not finite"),
        (dict(iscrowd=1), "no box to find"),
    ],
)
def test_refuses(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    rows = [dict(dict(image_id=100, category_id=7, bbox=[0.0, 0, 20, 20]), **row)]
    path = write_annotations(tmp_path / "v.json", 1, rows, CLASSES)
    with pytest.raises(UserError, match=said):
        run(CocoBoxMetric(path), [detection(100, [[0, 0, 20, 20, 0.9, 0]])], CLASSES)


def test_falls_back_to_pycocotools_with_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interngv.gvb.metrics import coco_backends

    said: list[str] = []
    monkeypatch.setattr(coco_backends, "print_log", lambda text, **_: said.append(text))
    for name in ("hotcoco", "faster_coco_eval"):
        monkeypatch.setitem(sys.modules, name, None)
    check_parity(made_file(tmp_path, 5), 5, "pycocotools")
    assert not said, "whoever asks for it need not be told"
    samples, classes = of_file(tmp_path / "made.json", 5)
    run(CocoBoxMetric(tmp_path / "made.json"), samples, classes)
    assert len(said) == 1 and "pip install hotcoco" in said[0]
    with pytest.raises(UserError, match="needs hotcoco: pip install hotcoco"):
        run(CocoBoxMetric(tmp_path / "made.json", backend="hotcoco"), samples, classes)
    with pytest.raises(UserError, match="no COCO evaluator 'hotcocoa'; did you mean 'hotcoco'"):
        run(CocoBoxMetric(tmp_path / "made.json", backend="hotcocoa"), samples, classes)
