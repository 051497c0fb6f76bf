"""CityPersons' MR^-2 against the official procedure, told detection by detection."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from metric_runs import detection, jittered, random_boxes, run, write_annotations

from interngv.errors import UserError
from interngv.gvb.metrics import MissRateMetric, counts, scores
from interngv.gvb.metrics.miss_rate import FLOOR

SETUPS = {
    "reasonable": ((50, 1e10), (0.65, 1e10)),
    "small": ((50, 75), (0.65, 1e10)),
    "heavy": ((50, 1e10), (0.2, 0.65)),
    "all": ((20, 1e10), (0.2, 1e10)),
}
FPPI = [0.0100, 0.0178, 0.0316, 0.0562, 0.1000, 0.1778, 0.3162, 0.5623, 1.0000]
PERSON = ("pedestrian",)


def pictures(seed: int, folder: Path, number: int = 120) -> tuple[list[dict], Path]:
    rng = np.random.default_rng(seed)
    rows, samples = [], []
    for index in range(number):
        boxes = random_boxes(rng, int(rng.integers(5)))
        for box in boxes:
            size = box[2:] - box[:2]
            visible = rng.choice([0.1, 0.2, 0.5, 0.65, 0.8, 1.0])
            rows.append(
                dict(
                    image_id=100 + index,
                    category_id=7,
                    bbox=[*box[:2], *size],
                    height=size[1],
                    vis_ratio=visible,
                    ignore=int(rng.random() < 0.2),
                )
            )
        found = jittered(rng, boxes, np.zeros(len(boxes), dtype=int), 1)
        samples.append(detection(100 + index, found))
    return samples, write_annotations(folder / "val.json", number, rows, PERSON)


def overlap(a: list[float], b: list[float], over_first: bool) -> float:
    """Of x, y, width, height."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] if over_first else a[2] * a[3] + b[2] * b[3] - width * height)


def naive(samples: list[dict], path: Path, setup: str) -> float:
    (low, high), (seen, clear) = SETUPS[setup]
    content = json.loads(path.read_text())
    ranked, wanted = [], 0
    for image in content["images"]:
        truth = []
        for row in content["annotations"]:
            if row["image_id"] == image["id"]:
                out = not low <= row["height"] <= high or not seen <= row["vis_ratio"] <= clear
                truth.append((row["bbox"], bool(row["ignore"] or out)))
        truth.sort(key=lambda pair: pair[1])
        wanted += sum(not ignored for _, ignored in truth)
        found = next(one for one in samples if one["img_id"] == image["id"])["pred_instances"]
        rows = zip(found["scores"].tolist(), found["bboxes"].tolist(), strict=True)
        taken: set[int] = set()
        for score, (x1, y1, x2, y2) in sorted(rows, key=lambda row: -row[0])[:1000]:
            if not low / 1.25 <= y2 - y1 < high * 1.25:
                continue
            box = [x1, y1, x2 - x1, y2 - y1]
            best, at = 0.5, None
            for index, (other, ignored) in enumerate(truth):
                if index in taken:
                    continue
                if at is not None and not truth[at][1] and ignored:
                    break
                value = overlap(box, other, ignored)
                if value >= best:
                    best, at = value, index
            if at is None:
                ranked.append((score, False))
            elif not truth[at][1]:
                taken.add(at)
                ranked.append((score, True))
    ranked.sort(key=lambda row: -row[0])
    misses = []
    for limit in FPPI:
        right = wrong = 0
        for _, is_right in ranked:
            right, wrong = right + is_right, wrong + (not is_right)
            if wrong / len(content["images"]) > limit:
                break
        misses.append(max(1 - right / wanted, FLOOR))
    return 100 * math.exp(sum(map(math.log, misses)) / len(misses))


@pytest.mark.parametrize("seed", range(4))
def test_as_the_procedure_detection_by_detection(seed: int, tmp_path: Path) -> None:
    samples, path = pictures(seed, tmp_path)
    found = scores("mr2", run(MissRateMetric(path), samples, PERSON))
    assert list(found) == list(SETUPS)
    assert found == pytest.approx({name: naive(samples, path, name) for name in SETUPS}, abs=1e-9)
    assert all(5 < value < 100 for value in found.values())


def person(box: list[float], **more: object) -> dict:
    return dict(dict(image_id=100, category_id=7, bbox=box, vis_ratio=1.0), **more)


def rows(boxes: list[list[float]]) -> list[list[float]]:
    """Detections of exactly these boxes, by falling score."""
    return [[x, y, x + w, y + h, 0.9 - i / 100, 0] for i, (x, y, w, h) in enumerate(boxes)]


def measured(tmp_path: Path, annotations: list[dict], found: list, pictures: int = 1) -> dict[str, float]:
    path = write_annotations(tmp_path / "val.json", pictures, annotations, PERSON)
    samples = [detection(100 + index, found if index == 0 else []) for index in range(pictures)]
    return run(MissRateMetric(path), samples, PERSON)


TALL, SHORT, HIDDEN = [10.0, 10, 40, 100], [100.0, 10, 24, 60], [200.0, 10, 40, 100]


def test_perfect_is_the_floor_and_nothing_is_hundred(tmp_path: Path) -> None:
    people = [person(TALL), person(SHORT), person(HIDDEN, vis_ratio=0.4)]
    perfect = scores("mr2", measured(tmp_path, people, rows([TALL, SHORT, HIDDEN])))
    assert perfect == pytest.approx(dict.fromkeys(SETUPS, 100 * FLOOR))
    assert scores("mr2", measured(tmp_path, people, [])) == pytest.approx(dict.fromkeys(SETUPS, 100))


def test_what_is_ignored_counts_neither_way(tmp_path: Path) -> None:
    crowd = person([300.0, 0, 300, 300], ignore=1)
    inside = [[310.0, 10, 40, 100], [400.0, 20, 40, 100]]
    found = measured(tmp_path, [person(TALL), crowd], rows([*inside, TALL]))
    assert found["gvb/reasonable"] == pytest.approx(100 * FLOOR), "any number of detections may lie in a crowd"
    other = measured(tmp_path, [person(TALL)], rows([*inside, TALL]), pictures=1)
    assert other["gvb/reasonable"] == pytest.approx(100), "two false positives before the first hit, one picture"


def test_heights_out_of_range_by_a_quarter_are_dropped(tmp_path: Path) -> None:
    kept, dropped = [300.0, 0, 20, 40], [300.0, 0, 20, 39.9]
    assert measured(tmp_path, [person(TALL)], rows([dropped, TALL]))["gvb/reasonable"] == pytest.approx(100 * FLOOR)
    counted = measured(tmp_path, [person(TALL)], rows([kept, TALL]))["gvb/reasonable"]
    assert counted == pytest.approx(100 * FLOOR ** (1 / 9)), "one false positive: found at the last of nine limits only"


def test_recall_is_zero_where_the_first_false_positive_is_too_many(tmp_path: Path) -> None:
    wrong = [300.0, 0, 40, 100]
    found = measured(tmp_path, [person(TALL)], rows([wrong, TALL]), pictures=4)  # 0.25 false positives a picture
    assert found["gvb/reasonable"] == pytest.approx(100 * math.exp((6 * 0 + 3 * math.log(FLOOR)) / 9))


def test_visibility_from_the_visible_box_and_other_categories(tmp_path: Path) -> None:
    half = {key: value for key, value in person(HIDDEN, vis_bbox=[200, 10, 40, 50]).items() if key != "vis_ratio"}
    path = write_annotations(tmp_path / "v.json", 1, [half, person(TALL, category_id=8)], ("pedestrian", "rider"))
    found = run(MissRateMetric(path), [detection(100, rows([TALL, HIDDEN]))], PERSON)
    assert scores_of(found) == pytest.approx({"heavy": 100 * FLOOR, "all": 100 * FLOOR}), "the rider is ignored"
    assert counts(found) == {"set-ups_without_a_pedestrian": 2}


def scores_of(found: dict[str, float]) -> dict[str, float]:
    return {name: found[f"gvb/{name}"] for name in SETUPS if f"gvb/{name}" in found}


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ([person(TALL, vis_ratio=1, bbox=[0, 0, 0, 9])], "a pedestrian in picture 100 has no area"),
        ([{k: v for k, v in person(TALL).items() if k != "vis_ratio"}], "or neither vis_ratio nor vis_bbox"),
        ([person(TALL, ignore=1)], "no pedestrian counts in any set-up"),
        ([person(TALL, image_id=5)], "1 annotations of unlisted pictures"),
        ([person(TALL, category_id=5)], "1 of unlisted categories"),
        ([person([0, 0, float("nan"), 9], area=1)], "1 boxes are not finite, the first in picture 100"),
        ([person([0, 0, 9], area=1)], "is no annotation file in COCO's form"),
    ],
)
def test_refuses(tmp_path: Path, annotations: list[dict], said: str) -> None:
    with pytest.raises(UserError, match=said):
        measured(tmp_path, annotations, [])


def test_refuses_other_pictures_than_the_annotated(tmp_path: Path) -> None:
    path = write_annotations(tmp_path / "val.json", 3, [person(TALL)], PERSON)
    with pytest.raises(UserError, match="lists 3 pictures, 2 were evaluated"):
        run(MissRateMetric(path), [detection(100, []), detection(101, [])], PERSON)
    with pytest.raises(UserError, match="no picture with the id 5"):
        run(MissRateMetric(path), [detection(5, [])], PERSON)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        MissRateMetric(tmp_path / "none.json")
