"""The data set of pairs: what a file says, splits and subsets, faults by file and line, memory, the hosts' readers."""

import json
import pickle
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from PIL import Image

from interngv.amateur.data import ImageTextPairs, PairFile, PairFileError, pairs
from interngv.errors import UserError

ROWS: list[dict[str, Any]] = [
    {"image": "images/0.jpg", "captions": ["A dog.", "Ein Hund: süß"], "split": "train", "label": 4},
    {"image": "images/1.jpg", "caption": "Một con mèo 🐈", "split": "val", "url": "not read"},
    {"image": "images/2.jpg", "captions": ["日本"], "split": "train", "label": 0},
    {"image": "images/3.jpg", "captions": ["a", "b", "c"], "split": "test"},
]
CAPTIONS = [row.get("captions") or [row["caption"]] for row in ROWS]


def written(folder: Path, rows: Sequence[Mapping[str, Any] | str | bytes] = ROWS, ensure_ascii: bool = False) -> Path:
    """A set's folder with a file of these rows, or lines as they are, and its pictures."""
    (folder / "images").mkdir()
    for number, row in enumerate(ROWS):
        grey = np.full((6, 8, 3), 20 * number, np.uint8)
        Image.fromarray(grey).save(folder / row["image"])
    lines = [json.dumps(row, ensure_ascii=ensure_ascii) if isinstance(row, Mapping) else row for row in rows]
    encoded = [line.encode() if isinstance(line, str) else line for line in lines]
    (folder / "pairs.jsonl").write_bytes(b"\n".join(encoded))
    return folder


@pytest.mark.parametrize("ensure_ascii", [False, True])
def test_samples_are_the_files_rows(ensure_ascii: bool, tmp_path: Path) -> None:
    data = ImageTextPairs(data_root=str(written(tmp_path, ensure_ascii=ensure_ascii)))
    assert len(data) == 4
    found = [data.get_data_info(index) for index in range(4)]
    assert [one["captions"] for one in found] == CAPTIONS
    assert [one["img_path"] for one in found] == [str(tmp_path / row["image"]) for row in ROWS]
    assert [one.get("gt_label") for one in found] == [4, None, 0, None]
    assert [one["sample_idx"] for one in found] == [0, 1, 2, 3]
    assert data.get_data_info(-1) == found[3] and data[1] == found[1]
    with pytest.raises(IndexError):
        data.get_data_info(4)


def test_blank_lines_and_other_line_ends_change_nothing(tmp_path: Path) -> None:
    path = written(tmp_path) / "pairs.jsonl"
    path.write_bytes(b"\r\n" + path.read_bytes().replace(b"\n", b"\r\n \r\n") + b"\r\n\n")
    data = ImageTextPairs(data_root=str(tmp_path))
    assert [data[index]["captions"] for index in range(len(data))] == CAPTIONS


@pytest.mark.parametrize(
    ("split", "kept"), [("train", [0, 2]), (["val", "test"], [1, 3]), (("train", "val", "test"), [0, 1, 2, 3])]
)
def test_splits(split: str | Sequence[str], kept: list[int], tmp_path: Path) -> None:
    data = ImageTextPairs(data_root=str(written(tmp_path)), split=split)
    assert [data[index]["captions"] for index in range(len(data))] == [CAPTIONS[index] for index in kept]
    assert [data[index]["sample_idx"] for index in range(len(data))] == list(range(len(kept)))


@pytest.mark.parametrize(("indices", "kept"), [(3, [0, 1, 2]), (-2, [2, 3]), ([3, 0], [3, 0]), (0, [])])
def test_subsets_are_those_of_mmengine(indices: int | list[int], kept: list[int], tmp_path: Path) -> None:
    folder = str(written(tmp_path))
    whole, changed = ImageTextPairs(data_root=folder), ImageTextPairs(data_root=folder)
    changed.get_subset_(indices)
    for data in (ImageTextPairs(data_root=folder, indices=indices), whole.get_subset(indices), changed):
        assert [data[index]["captions"] for index in range(len(data))] == [CAPTIONS[index] for index in kept]
    assert len(whole) == 4


def test_a_copy_for_another_process_carries_no_samples(tmp_path: Path) -> None:
    data = ImageTextPairs(data_root=str(written(tmp_path)), split="train")
    assert data[1]["captions"] == CAPTIONS[2]  # its file is open now
    text = pickle.dumps(data)
    assert "日本".encode() not in text and b"images/2.jpg" not in text
    assert pickle.loads(text)[1] == data[1]


def test_memory_is_that_of_two_numbers_a_pair(tmp_path: Path) -> None:
    count = 20_000
    with (tmp_path / "pairs.jsonl").open("w") as file:
        for number in range(count):
            file.write(json.dumps({"image": f"{number}.jpg", "captions": ["a photo of some words " * 8]}) + "\n")
    tracemalloc.start()
    spans = PairFile(tmp_path / "pairs.jsonl").spans()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spans.shape == (count, 2) and kept < 20 * count and peak < 60 * count


def test_pictures_are_read_by_the_hosts_transform(tmp_path: Path) -> None:
    from mmpretrain.registry import TRANSFORMS

    read = TRANSFORMS.build(dict(type="LoadImageFromFile"))
    folder = written(tmp_path)
    rows = [{"image": Path(row["image"]).name, "caption": "x"} for row in ROWS]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for prefix in ("images", dict(img_path="images/")):
        config = dict(type="interngv.ImageTextPairs", data_root=str(folder), data_prefix=prefix, pipeline=[read])
        data = DATASETS.build(config)
        assert isinstance(data, BaseDataset) and data[3]["img"].shape == (6, 8, 3)
        assert abs(int(data[3]["img"].mean()) - 60) <= 1


FAULTS = {
    "no JSON": ('{"image": "images/1.jpg"', "line 2: expected UTF-8 with a JSON object"),
    "no UTF-8": (b'{"image": "images/1.jpg", "caption": "s\xfc\xdf"}', "line 2: expected UTF-8"),
    "a list": ('["images/1.jpg", "a"]', "expected a JSON object, got a list"),
    "deep": ("[" * 100_000, "line 2: expected UTF-8 with a JSON object"),
    "long number": ('{"image": "images/1.jpg", "caption": "a", "label": 1' + "0" * 5000 + "}", "line 2: .*limit"),
    "no image": ({"img": "images/1.jpg", "caption": "a"}, "'image' is missing"),
    "no captions": ({"image": "images/1.jpg", "caption s": ["a"]}, "expected one of .*did you mean 'caption s'"),
    "both": ({"image": "images/1.jpg", "caption": "a", "captions": ["a"]}, "expected one of the keys"),
    "none": ({"image": "images/1.jpg", "captions": []}, r"'captions' is \[\]"),
    "a text for a list": ({"image": "images/1.jpg", "captions": "a dog"}, "'captions' is 'a dog'"),
    "blank caption": ({"image": "images/1.jpg", "captions": ["a", " \t"]}, r"not blank .* got ' \\t'"),
    "caption of another kind": ({"image": "images/1.jpg", "captions": ["a", 3]}, "got 3"),
    "blank image": ({"image": "", "caption": "a"}, "not blank for 'image'"),
    "image of another kind": ({"image": None, "caption": "a"}, "got None"),
    "surrogate": ('{"image": "images/1.jpg", "caption": "a \\ud83d cat"}', "half of a surrogate pair"),
    "NUL": ('{"image": "images/1.jpg", "caption": "a\\u0000"}', "NUL"),
    "NUL in a path": ('{"image": "images/1.jpg\\u0000", "caption": "a"}', "NUL"),
    "label": ({"image": "images/1.jpg", "caption": "a", "label": "3"}, "'3' is no 'label': expected a class number"),
    "split": ({"image": "images/1.jpg", "caption": "a", "split": 0}, "0 is no 'split'"),
    "twice": ({"image": "images/0.jpg", "caption": "a", "split": "val"}, "'images/0.jpg' stands in line 1 as well"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_faulty_line_is_named(case: str, tmp_path: Path) -> None:
    line, message = FAULTS[case]
    folder = written(tmp_path, [ROWS[0], line, ROWS[2]])
    with pytest.raises(PairFileError, match=f"pairs.jsonl, line 2: .*{message.removeprefix('line 2: ')}") as error:
        ImageTextPairs(data_root=str(folder), split="train")
    assert isinstance(error.value, UserError) and len(str(error.value)) < 500


def test_a_pair_of_surrogates_is_a_letter(tmp_path: Path) -> None:
    line = '{"image": "images/0.jpg", "caption": "\\ud83d\\udc08 C:\\\\users"}'
    assert ImageTextPairs(data_root=str(written(tmp_path, [line])))[0]["captions"] == ["🐈 C:\\users"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(split="tain"), "no pairs of split 'tain'; did you mean 'train'.* it has train, val, test"),
        (dict(ann_file="pair.jsonl"), "pair.jsonl cannot be read: No such file"),
        (dict(ann_file="images"), "images cannot be read: Is a directory"),
        (dict(data_prefix="photos"), r"of 4 pictures looked at 4 are missing.*photos/images/0.jpg; data_prefix"),
    ],
)
def test_wrong_settings(settings: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(PairFileError, match=message):
        ImageTextPairs(data_root=str(written(tmp_path)), **settings)


def test_a_split_of_a_file_without_splits_and_an_empty_file(tmp_path: Path) -> None:
    folder = written(tmp_path, [{"image": "images/0.jpg", "caption": "a"}])
    with pytest.raises(PairFileError, match="none of its lines has a 'split'"):
        ImageTextPairs(data_root=str(folder), split="train")
    (folder / "pairs.jsonl").write_text("\n \n")
    with pytest.raises(PairFileError, match="has no pairs"):
        ImageTextPairs(data_root=str(folder))


def test_some_missing_pictures_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pairs, "print_log", lambda text, **_: said.append(text))
    folder = written(tmp_path)
    (folder / "images/2.jpg").unlink()
    assert len(ImageTextPairs(data_root=str(folder))) == 4
    assert len(said) == 1 and "of 4 pictures looked at 1 are missing, first" in said[0] and "images/2.jpg" in said[0]


def test_a_file_that_was_cut_meanwhile_is_an_error_not_a_crash(tmp_path: Path) -> None:
    data = ImageTextPairs(data_root=str(written(tmp_path)))
    (tmp_path / "pairs.jsonl").write_text("")
    with pytest.raises(PairFileError, match="pairs.jsonl, byte "):
        data[2]


@pytest.mark.parametrize("name", ["vi_captions", "coco_mini"])
def test_real_captioned_sets(name: str, shared_data: Path | None) -> None:
    if shared_data is None or not (shared_data / name).is_dir():
        pytest.skip("no shared data")
    counts = {}
    for split in ("train", "val"):
        data = ImageTextPairs(ann_file="captions.jsonl", data_root=str(shared_data / name), split=split)
        counts[split] = len(data)
        assert all(Path(data[index]["img_path"]).is_file() for index in range(0, len(data), 20))
        assert sum(len(data[index]["captions"]) for index in range(len(data))) > 4 * len(data)
    assert counts == {"vi_captions": dict(train=408, val=81), "coco_mini": dict(train=80, val=79)}[name]
