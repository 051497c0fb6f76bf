"""WIDER FACE AP against the official protocol, told step by step, and the reader of its MATLAB files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from metric_runs import detection, jittered, random_boxes, run

from interngv.errors import UserError
from interngv.gvb.metrics import Faces, WiderFaceMetric, counts, read_faces, scores

LEVELS = ("easy", "medium", "hard")


def faces_of(rng: np.random.Generator, number: int) -> Faces:
    """Faces of which the easy ones are medium as well and those hard, as in the official lists; some are in none."""
    rank = rng.integers(4, size=number)
    return Faces(random_boxes(rng, number), rank[:, None] <= np.arange(3))


def pictures(seed: int, number: int = 25) -> tuple[list[dict], dict[str, Faces]]:
    rng = np.random.default_rng(seed)
    truth = {f"{index}_Parade_{index}": faces_of(rng, int(rng.integers(6))) for index in range(number)}
    made = []
    for name, faces in truth.items():
        found = jittered(rng, faces.boxes, np.zeros(len(faces.boxes), dtype=int), 1)
        found[:, 4] = 3 + 0.37 * found[:, 4]  # scores that need the normalisation
        made.append(detection(name, found if rng.random() < 0.9 else []))
    return made, truth


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width, height = (min(a[k + 2], b[k + 2]) - max(a[k], b[k]) + 1 for k in (0, 1))
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def naive(samples: list[dict], truth: Mapping[str, Faces], level: int) -> float:
    """A picture, a detection and a threshold at a time."""
    every = np.concatenate([one["pred_instances"]["scores"].numpy() for one in samples])
    totals, wanted = np.zeros((1000, 2)), 0
    for one in samples:
        faces = truth[one["img_id"]]
        counted = faces.counted[:, level]
        wanted += int(counted.sum())
        found = one["pred_instances"]
        order = sorted(range(len(found["scores"])), key=lambda i: -float(found["scores"][i]))
        if not len(faces.boxes) or not order:
            continue
        state, rows = np.zeros(len(faces.boxes)), []
        for index in order:
            box = found["bboxes"][index].numpy()
            overlaps = [overlap(box, other) for other in faces.boxes]
            best, proposal = int(np.argmax(overlaps)), 1
            if overlaps[best] >= 0.5:
                if not counted[best]:
                    proposal = 0
                elif state[best] == 0:
                    state[best] = 1
            score = (float(found["scores"][index]) - every.min()) / (every.max() - every.min())
            rows.append((score, proposal, state.sum()))
        for step in range(1000):
            kept = [row for row in rows if row[0] >= 1 - (step + 1) / 1000]
            if kept:
                totals[step] += [sum(row[1] for row in kept), kept[-1][2]]
    precision = [found / proposed if proposed else 0.0 for proposed, found in totals]
    recall = [0.0, *(found / wanted for _, found in totals), 1.0]
    envelope = [0.0, *precision, 0.0]
    for index in range(len(envelope) - 2, -1, -1):
        envelope[index] = max(envelope[index], envelope[index + 1])
    return 100 * sum((recall[i + 1] - recall[i]) * envelope[i + 1] for i in range(len(recall) - 1))


@pytest.mark.parametrize("seed", range(5))
def test_as_the_protocol_step_by_step(seed: int) -> None:
    samples, truth = pictures(seed)
    found = scores("wider_ap", run(WiderFaceMetric(faces=truth), samples, ("face",)))
    assert list(found) == list(LEVELS)
    assert found == pytest.approx({name: naive(samples, truth, level) for level, name in enumerate(LEVELS)}, abs=1e-9)
    assert all(1 < value < 99 for value in found.values())


def test_perfect_none_and_equal_scores() -> None:
    rng = np.random.default_rng(0)
    truth = {str(index): faces_of(rng, 5) for index in range(8)}
    perfect = [
        detection(name, [[*box, 0.1 + 0.01 * i, 0] for i, box in enumerate(faces.boxes)])
        for name, faces in truth.items()
    ]
    for one in perfect:  # overlapping faces may be taken for one another
        truth[one["img_id"]].boxes[:] += 1000 * np.arange(5)[:, None]
        one["pred_instances"]["bboxes"] = one["pred_instances"]["bboxes"] + 1000 * np.arange(5)[:, None]
    assert scores("wider_ap", run(WiderFaceMetric(faces=truth), perfect, ("face",))) == dict.fromkeys(LEVELS, 100)
    for one in perfect:
        one["pred_instances"]["scores"][:] = 0.5
    assert scores("wider_ap", run(WiderFaceMetric(faces=truth), perfect, ("face",))) == dict.fromkeys(LEVELS, 100)
    nothing = [detection(name, []) for name in truth]
    assert scores("wider_ap", run(WiderFaceMetric(faces=truth), nothing, ("face",))) == dict.fromkeys(LEVELS, 0)


def test_a_level_without_a_face_is_left_out() -> None:
    truth = {"a": Faces(np.array([[0, 0, 9, 9.0]]), np.array([[False, False, True]]))}
    found = run(WiderFaceMetric(faces=truth), [detection("a", [[0, 0, 9, 9, 0.5, 0]])], ("face",))
    assert found["gvb/hard"] == 100 and "gvb/easy" not in found
    assert counts(found) == {"levels_without_a_face": 2}


def test_refuses_other_pictures() -> None:
    truth = {"0_Parade_7": faces_of(np.random.default_rng(0), 3), "b": faces_of(np.random.default_rng(0), 3)}
    with pytest.raises(
        UserError, match="0_Parade_8.jpg is not in WIDER FACE's ground truth; did you mean '0_Parade_7'"
    ):
        run(WiderFaceMetric(faces=truth), [detection("0_Parade_8", [])], ("face",))
    with pytest.raises(UserError, match="2 pictures are annotated, 1 evaluated"):
        run(WiderFaceMetric(faces=truth), [detection("b", [])], ("face",))
    with pytest.raises(UserError, match="either ann_dir"):
        WiderFaceMetric()


def cells(*values: object) -> np.ndarray:
    """A column of MATLAB cells."""
    column = np.empty((len(values), 1), dtype=object)
    column[:, 0] = [np.asarray(value) for value in values] if values else []
    return column


def nested(events: list[list[object]]) -> np.ndarray:
    column = np.empty((len(events), 1), dtype=object)
    for index, event in enumerate(events):
        column[index, 0] = cells(*event)
    return column


def write_truth(folder: Path, numbers: dict[str, list[list[list[int]]]]) -> None:
    """Two events with two pictures and one, as the official files hold them: x, y, w, h and numbers from one."""
    io = pytest.importorskip("scipy.io")
    boxes = [[[[10, 20, 30, 40], [1, 2, 3, 4]], [[5, 5, 0, 0]]], [[[100, 100, 7, 9]]]]
    names = [["0_Parade_0", "0_Parade_1"], ["1_Handshaking_9"]]
    content = dict(
        event_list=cells("0--Parade", "1--Handshaking"),
        file_list=nested([[[name] for name in event] for event in names]),
        face_bbx_list=nested([[np.array(one, dtype=np.int32) for one in event] for event in boxes]),
    )
    io.savemat(folder / "wider_face_val.mat", content)
    for level, events in numbers.items():
        columns = [[np.array(one, dtype=np.uint16).reshape(-1, 1) for one in event] for event in events]
        io.savemat(folder / f"wider_{level}_val.mat", dict(gt_list=nested(columns)))


NUMBERS = {"easy": [[[1], []], [[]]], "medium": [[[1], []], [[1]]], "hard": [[[1, 2], []], [[1]]]}


def test_reads_the_official_files(tmp_path: Path) -> None:
    write_truth(tmp_path, NUMBERS)
    faces = read_faces(tmp_path)
    assert list(faces) == ["0_Parade_0", "0_Parade_1", "1_Handshaking_9"]
    assert faces["0_Parade_0"].boxes.tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]
    assert faces["0_Parade_0"].counted.tolist() == [[True] * 3, [False, False, True]]
    assert faces["0_Parade_1"].counted.tolist() == [[False] * 3]
    assert faces["1_Handshaking_9"].counted.tolist() == [[False, True, True]]
    found = [[10, 20, 40, 60, 0.9, 0]]
    samples = [detection(name, found if name == "0_Parade_0" else []) for name in faces]
    result = scores("wider_ap", run(WiderFaceMetric(ann_dir=tmp_path), samples, ("face",)))
    assert result == pytest.approx({"easy": 100, "medium": 50, "hard": 100 / 3})


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (dict(NUMBERS, easy=[[[3], []], [[]]]), "0_Parade_0: level easy names face 3 of 2"),
        (dict(NUMBERS, hard=[[[1]], [[]]]), "do not list the same pictures"),
        ({"easy": NUMBERS["easy"]}, "wider_medium_val.mat is missing: unpack ground_truth"),
    ],
)
def test_refuses_wrong_files(tmp_path: Path, numbers: dict, said: str) -> None:
    write_truth(tmp_path, numbers)
    with pytest.raises(UserError, match=said):
        read_faces(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"no matlab", b"MATLAB 7.3 MAT-file" + bytes(105) + b"\x00\x02IM" + bytes(400)]
)
def test_refuses_what_is_no_matlab_file(tmp_path: Path, content: bytes) -> None:
    write_truth(tmp_path, NUMBERS)
    (tmp_path / "wider_face_val.mat").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as a MATLAB file"):
        read_faces(tmp_path)
