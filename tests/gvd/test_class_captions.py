"""Class names as captions, out of tars: held-out classes, faulty sets, and the small ImageNet where it is shared."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import small_wordnet

from interngv.errors import UserError
from interngv.gvd import captions
from interngv.gvd.class_captions import prepare_classes
from interngv.gvd.open_data import OpenDataError


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]


def shard(path: Path, members: Mapping[str, bytes], link: str | None = None) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)


def class_set(folder: Path) -> Path:
    """Ten classes with a picture in each split, in two shards, and a member that is no picture."""
    folder.mkdir()
    classes = [dict(label=label, wnid=f"n{label:08}", names=[f"thing {label}", f"Res {label}"]) for label in range(10)]
    keys = {split: [f"{split}_{label}" for label in range(10)] for split in ("train", "val")}
    rows = [
        dict(key=key, split=split, shard="", wnid=f"n{label:08}", label=label, bbox=[0, 0, 1, 1])
        for split, of_split in keys.items()
        for label, key in enumerate(of_split)
    ]
    (folder / "classes.json").write_text(json.dumps(classes))
    (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for split, of_split in keys.items():
        members = {f"{key}.jpg": f"bytes of {key}".encode() for key in of_split}
        shard(folder / f"{split}-00.tar", {"README.cls": b"x", **members})
    return folder


def test_class_names_become_captions_and_a_fifth_of_the_classes_is_held_out(tmp_path: Path) -> None:
    out = prepare_classes(class_set(tmp_path / "ten"), tmp_path / "out")
    rows = rows_of(out)
    by_split: dict[str, set[int]] = {}
    for row in rows:
        by_split.setdefault(row["split"], set()).add(row["label"])
        assert row["captions"] == [f"thing {row['label']}", f"Res {row['label']}"]
        split = row["split"].removesuffix("_heldout")
        assert row["image"] == f"images/{split}/n{row['label']:08}/{split}_{row['label']}.jpg"
        assert (out / row["image"]).read_bytes() == f"bytes of {split}_{row['label']}".encode()
    held_out = {int(name[1:]) for name in captions.lowest_fifth(f"n{label:08}" for label in range(10))}
    assert by_split["train_heldout"] == by_split["val_heldout"] == held_out and len(held_out) == 2
    assert by_split["train"] == by_split["val"] == set(range(10)) - held_out


def test_a_finished_set_stays_and_another_takes_its_place(tmp_path: Path) -> None:
    source = class_set(tmp_path / "ten")
    out = prepare_classes(source, tmp_path / "out")
    written = (out / "pairs.jsonl").stat().st_mtime_ns
    for file in source.glob("*.tar"):
        file.rename(file.with_suffix(".moved"))
    assert prepare_classes(source, out) == out and (out / "pairs.jsonl").stat().st_mtime_ns == written
    for file in source.glob("*.moved"):
        file.rename(file.with_suffix(".tar"))
    names = (source / "classes.json").read_text().replace("thing 3", "another 3")
    (source / "classes.json").write_text(names)
    assert any("another 3" in row["captions"] for row in rows_of(prepare_classes(source, out)))
    (tmp_path / "mine").mkdir()
    with pytest.raises(OpenDataError, match="does not come from here"):
        prepare_classes(source, tmp_path / "mine")


def named_set(folder: Path, wnids: Mapping[str, list[str]]) -> Path:
    """The set of ten classes, the first ones with these wnids and names."""
    class_set(folder)
    classes = json.loads((folder / "classes.json").read_text())
    given = (folder / "annotations.jsonl").read_text()
    for one, (wnid, names) in zip(classes, wnids.items(), strict=False):
        given = given.replace(one["wnid"], wnid)
        one |= dict(wnid=wnid, names=names)
    (folder / "classes.json").write_text(json.dumps(classes))
    (folder / "annotations.jsonl").write_text(given)
    return folder


def test_with_wordnet_captions_say_what_a_class_is(tmp_path: Path) -> None:
    wordnet = small_wordnet.write(tmp_path / "wordnet")
    wnids = {first: f"n{offset:08d}" for first, offset in small_wordnet.noun_offsets().items()}
    gloss = "a gloss; of two parts"
    expected = {
        "kitty": ["kitty", "young cat", "kitty, cat, living thing", f"kitty: {gloss}"],
        "cat": ["living thing", "living thing, entity", f"living thing: {gloss}"],  # the name is a hypernym's
        "living_thing": ["life", "life, entity", f"life: {gloss}"],
        "entity": ["entity", "thing", f"entity: {gloss}"],
        "snake": ["snake", "snake, ouroboros", f"snake: {gloss}"],
        **{first: [first, f"{first}: {gloss}"] for first in ("dog", "goose", "rat", "bos", "boss")},
    }
    names = {
        wnids[first]: [text for text in texts if not (":" in text or "," in text)] for first, texts in expected.items()
    }
    source = named_set(tmp_path / "ten", names)
    out = prepare_classes(source, tmp_path / "out", wordnet)
    by_wnid = {row["image"].split("/")[2]: row["captions"] for row in rows_of(out)}
    assert by_wnid == {wnids[first]: texts for first, texts in expected.items()}
    plain = prepare_classes(source, tmp_path / "plain")
    assert {row["image"].split("/")[2]: row["captions"] for row in rows_of(plain)} == names
    assert (plain / ".prepared").read_text() != (out / ".prepared").read_text()


@pytest.mark.parametrize(
    ("wnid", "message"),
    [
        ("n00000001", "the wnid 'n00000001' is no noun of WordNet 3.0: .*no synset starts at byte 1$"),
        ("v00000001", "the wnid 'v00000001' is no noun of WordNet 3.0; expected one such as"),
        ("n1740", "the wnid 'n1740' is no noun of WordNet 3.0; expected one such as"),
    ],
)
def test_a_wnid_that_wordnet_does_not_know_is_refused(wnid: str, message: str, tmp_path: Path) -> None:
    wordnet = small_wordnet.write(tmp_path / "wordnet")
    source = named_set(tmp_path / "ten", {wnid: ["thing"]})
    with pytest.raises(UserError, match=message):
        prepare_classes(source, tmp_path / "out", wordnet)
    with pytest.raises(UserError, match="does not hold WordNet's files"):
        prepare_classes(source, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()
    prepare_classes(source, tmp_path / "out")


def changed_annotations(folder: Path, **fields: Any) -> None:
    lines = (folder / "annotations.jsonl").read_text().splitlines()
    (folder / "annotations.jsonl").write_text("\n".join([json.dumps(json.loads(lines[0]) | fields), *lines[1:]]))


def changed_names(folder: Path, names: Any) -> None:
    first, *others = json.loads((folder / "classes.json").read_text())
    (folder / "classes.json").write_text(json.dumps([first | dict(names=names), *others]))


FAULTS = {
    "no classes": (lambda folder: (folder / "classes.json").unlink(), "classes.json cannot be read: No such file"),
    "no annotations": (lambda folder: (folder / "annotations.jsonl").write_text("{"), "of another form"),
    "unknown class": (lambda folder: changed_annotations(folder, wnid="n1"), "of another form: KeyError"),
    "no list of names": (lambda folder: changed_names(folder, "thing"), "the names of n00000000 are 'thing'"),
    "no names": (lambda folder: changed_names(folder, []), r"the names of n00000000 are \[\]"),
    "a number as a name": (lambda folder: changed_names(folder, [1]), r"the names of n00000000 are \[1\]"),
    "path in a key": (lambda folder: changed_annotations(folder, key="../../evil"), "'../../evil' cannot be part of"),
    "path in a split": (lambda folder: changed_annotations(folder, split="/tmp"), "'/tmp' cannot be part of"),
    "same key": (lambda folder: changed_annotations(folder, key="train_1"), "20 lines and 19 different keys"),
    "missing": (lambda folder: (folder / "val-00.tar").unlink(), "10 of 20 pictures are in no tar, first 'val_0'"),
    "unknown picture": (lambda folder: shard(folder / "x.tar", {"new.jpg": b"x"}), "'new' is not annotated"),
    "path in a tar": (lambda folder: shard(folder / "x.tar", {"../e.jpg": b"x"}), "'../e' is not annotated"),
    "absolute path": (lambda folder: shard(folder / "x.tar", {"/val_1.jpg": b"x"}), "'/val_1' is not annotated"),
    "twice": (lambda folder: shard(folder / "x.tar", {"val_1.jpg": b"x"}), "'val_1' is twice in the tars"),
    "link": (lambda folder: shard(folder / "a.tar", {}, link="val_1.jpg"), "'val_1.jpg' is no regular file"),
    "no tar": (lambda folder: (folder / "x.tar").write_bytes(b"<html>" * 200), "cannot be read as a tar"),
    "tar cut in a picture": (lambda folder: os.truncate(folder / "val-00.tar", 1541), "cannot be read as a tar"),
    "tar cut in a header": (lambda folder: os.truncate(folder / "val-00.tar", 1300), "10 of 20 pictures are in no tar"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_faulty_set_leaves_nothing(case: str, tmp_path: Path) -> None:
    spoil, message = FAULTS[case]
    folder = class_set(tmp_path / "ten")
    spoil(folder)
    with pytest.raises(UserError, match=message):
        prepare_classes(folder, tmp_path / "data/out")
    data = tmp_path / "data"
    assert not data.exists() or list(data.iterdir()) == []
    assert not list(tmp_path.rglob("evil*")) and not list(tmp_path.parent.glob("e.jpg"))


@pytest.mark.slow
def test_command_line(tmp_path: Path) -> None:
    class_set(tmp_path / "ten")
    command = [sys.executable, "-m", "interngv.gvd.class_captions"]
    done = subprocess.run([*command, "ten"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "data/ten" and len(rows_of(tmp_path / "data/ten")) == 20
    wrong = subprocess.run([*command, "nine"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: nine: classes.json cannot be read")


@pytest.mark.slow
def test_tiny_imagenet(shared_data: Path | None, tmp_path: Path) -> None:
    if shared_data is None or not (shared_data / "tiny_imagenet").is_dir():
        pytest.skip("no shared data")
    rows = rows_of(prepare_classes(shared_data / "tiny_imagenet", tmp_path / "out"))
    found = {split: sum(row["split"] == split for row in rows) for split in {row["split"] for row in rows}}
    assert found == {"train": 19_200, "train_heldout": 4_800, "val": 3_200, "val_heldout": 800}
    names = [
        {name for row in rows if ("heldout" in row["split"]) == held for name in row["captions"]} for held in (0, 1)
    ]
    assert not names[0] & names[1]
