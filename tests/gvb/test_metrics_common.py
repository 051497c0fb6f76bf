"""What all metrics promise: one result a sample whatever the processes, configs that build, scores by the names."""

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from metric_runs import detection, jittered, random_boxes, run, write_annotations
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS as ROOT

from interngv.errors import UserError
from interngv.gvb.metrics import (
    HIGHER_IS_BETTER,
    AccuracyMetric,
    CocoBoxMetric,
    DepthErrorMetric,
    Faces,
    MeanIoUMetric,
    MissRateMetric,
    VocMetric,
    WiderFaceMetric,
    counts,
    evaluator,
    per_class,
    scores,
)

NUMBER = 11  # of samples, odd: a sampler of two processes repeats one


def detections(classes: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Data samples and the same annotations as rows of a file."""
    rng = np.random.default_rng(3)
    samples, rows = [], []
    for index in range(NUMBER):
        boxes = random_boxes(rng, 3)
        labels = rng.integers(classes, size=3)
        samples.append(detection(100 + index, jittered(rng, boxes, labels, classes), boxes, labels))
        for box, label in zip(boxes, labels, strict=True):
            size = [float(x) for x in (*box[:2], *(box[2:] - box[:2]))]
            rows.append(dict(image_id=100 + index, category_id=7 + int(label), bbox=size, vis_ratio=0.9))
    return samples, rows


def maps(names: tuple[str, str], high: float) -> list[dict[str, Any]]:
    rng = np.random.default_rng(4)
    return [
        {name: dict(data=torch.as_tensor(rng.uniform(0.5, high, (1, 6, 8)))) for name in names} for _ in range(NUMBER)
    ]


def case(name: str, folder: Path) -> tuple[BaseMetric, list[dict[str, Any]], tuple[str, ...]]:
    """A metric with samples and class names."""
    if name in ("accuracy", "per_class"):
        rng = np.random.default_rng(5)
        labels = torch.as_tensor(rng.integers(3, size=(NUMBER, 2)))
        return AccuracyMetric(), [dict(gt_label=one[:1], pred_label=one[1:]) for one in labels], ("a", "b", "c")
    if name == "miou":
        samples = maps(("pred_sem_seg", "gt_sem_seg"), 3.0)
        return (
            MeanIoUMetric(),
            [{k: dict(data=v["data"].long()) for k, v in one.items()} for one in samples],
            tuple("abc"),
        )
    if name == "rmse":
        return DepthErrorMetric(), maps(("pred_depth_map", "gt_depth_map"), 11.0), ()
    if name == "voc_map":
        return VocMetric(), detections(3)[0], ("a", "b", "c")
    if name == "wider_ap":
        samples = detections(1)[0]
        boxes = {str(one["img_id"]): one["gt_instances"]["bboxes"].numpy() for one in samples}
        faces = {key: Faces(value, np.ones((len(value), 3), dtype=bool)) for key, value in boxes.items()}
        return WiderFaceMetric(faces=faces), samples, ("face",)
    classes = ("pedestrian",) if name == "mr2" else ("a", "b", "c")
    samples, rows = detections(len(classes))
    path = write_annotations(folder / "v.json", NUMBER, rows, classes)
    return (MissRateMetric(path) if name == "mr2" else CocoBoxMetric(path, backend="pycocotools")), samples, classes


def as_two_processes(metric: BaseMetric, samples: list[dict[str, Any]], classes: tuple[str, ...]) -> dict[str, float]:
    """What mmengine does: samples dealt in turn, the first repeated to fill up, results pickled, dealt back and cut."""
    metric.dataset_meta = dict(classes=classes)
    filled = [*samples, samples[0]]
    parts = []
    for rank in range(2):
        metric.results = []
        metric.process(None, filled[rank::2])
        parts.append(pickle.loads(pickle.dumps(metric.results)))
    metric.results = [one for pair in zip(*parts, strict=True) for one in pair]
    return metric.evaluate(len(samples))


@pytest.mark.parametrize("name", HIGHER_IS_BETTER)
def test_two_processes_find_what_one_finds(name: str, tmp_path: Path) -> None:
    if name == "coco_ap":
        pytest.importorskip("pycocotools")
    metric, samples, classes = case(name, tmp_path)
    alone = run(metric, samples, classes)
    assert as_two_processes(metric, samples, classes) == alone
    found = scores(name, alone)
    assert all(np.isfinite(value) and isinstance(value, float) for value in found.values())
    assert scores(name, {f"cifar10/{key}": value for key, value in alone.items()}) == found
    assert (per_class(alone) is None) == (name in ("wider_ap", "mr2", "rmse"))


@pytest.mark.parametrize("name", HIGHER_IS_BETTER)
def test_an_empty_set_is_an_error(name: str, tmp_path: Path) -> None:
    metric, _, classes = case(name, tmp_path)
    with pytest.raises(UserError, match="no sample was evaluated; the test set is empty"):
        run(metric, [], classes)


@pytest.mark.parametrize("name", HIGHER_IS_BETTER)
def test_results_are_small(name: str, tmp_path: Path) -> None:
    """A result grows with the detections or the classes of a picture, never with its pixels."""
    metric, samples, classes = case(name, tmp_path)
    metric.dataset_meta = dict(classes=classes)
    for one in samples:
        one["img"] = torch.zeros(3, 512, 512)
        for key in [key for key in one if key.endswith(("_map", "_seg"))]:
            one[key] = dict(data=one[key]["data"].repeat(1, 64, 64))
    metric.process(None, samples)
    assert len(pickle.dumps(metric.results)) < 4000 * NUMBER


def test_evaluators_of_tasks_build() -> None:
    for metric, settings in [
        ("accuracy", dict(train_list="train.txt")),
        ("voc_map", dict(form="area")),
        ("miou", {}),
        ("rmse", dict(max_depth=80.0, crop="garg", depth_scale=256)),
    ]:
        task = SimpleNamespace(metric=metric, num_classes=7, settings=settings)
        built = ROOT.build(evaluator(task))
        for name, value in settings.items():
            assert getattr(built, name, value) == value
    assert evaluator(SimpleNamespace(metric="per_class", num_classes=7, settings={})) == {
        "type": "interngv.AccuracyMetric",
        "num_classes": 7,
    }
    faces = SimpleNamespace(metric="wider_ap", num_classes=1, settings={})
    assert evaluator(faces, ann_dir="gt") == {"type": "interngv.WiderFaceMetric", "ann_dir": "gt"}


def test_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    task = SimpleNamespace(metric="mIoU", num_classes=3, settings={})
    with pytest.raises(UserError, match="unknown metric 'mIoU'; did you mean 'miou'"):
        evaluator(task)
    task.metric = "mr2"
    with pytest.raises(UserError, match="MissRateMetric takes no 'ann_fil'; did you mean 'ann_file'"):
        evaluator(task, ann_fil="x")
    with pytest.raises(UserError, match="the evaluator reported no miou; it reported accuracy"):
        scores("miou", {"gvb/accuracy": 1.0})
    with pytest.raises(UserError, match="the data set names no classes"):
        run(VocMetric(), [detection(0, [])])
    with pytest.raises(UserError, match="the data set names 2 classes, expected 3"):
        run(AccuracyMetric(num_classes=3), [dict(gt_label=[0], pred_label=[0])], ("a", "b"))


def test_counts_are_reported_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    from interngv.gvb.metrics import base

    said: list[str] = []
    monkeypatch.setattr(base, "print_log", lambda text, **_: said.append(text))
    found = run(AccuracyMetric(), [dict(gt_label=[0], pred_label=[0])], ("a", "b", "c"))
    assert counts(found) == {"classes_without_a_sample": 2}
    assert said == ["AccuracyMetric: 2 classes without a sample"]
