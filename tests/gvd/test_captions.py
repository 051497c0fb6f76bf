"""Pictures with captions out of packs: splits by concept, names of emoji, and what transparency becomes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from interngv.gvd import captions, layouts, open_data

SETS = {"fluent-emoji": (1484, 371), "tuxpaint-stamps": (620, 165)}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_lowest_fifth_does_not_depend_on_the_order() -> None:
    names = [f"name {number}" for number in range(103)]
    held_out = captions.lowest_fifth(names)
    assert len(held_out) == 20 and held_out == captions.lowest_fifth([*names[::-1], *names])
    assert captions.lowest_fifth(["a", "b", "c", "d"]) == set()
    by_hand = sorted(names, key=lambda name: int(hashlib.sha256(name.encode()).hexdigest(), 16))[:20]
    assert held_out == set(by_hand)


def emoji(folder: Path) -> Path:
    """The two packs side by side: named, toned and unnamed emoji, one half transparent with colour below."""
    source, names = folder / "cache/fluent-emoji", folder / "cache/openmoji"
    source.mkdir(parents=True)
    names.mkdir()
    pixels = np.full((8, 8, 4), (0, 0, 255, 255), np.uint8)
    pixels[:, :4, 3] = 0
    for code in ("1f600", "0023-fe0f-20e3", "23-fe0f-20e3", "1f44b-1f3fb", "1f3f4-e0067_e0062", "2603"):
        Image.fromarray(pixels).save(source / f"{code}.webp", lossless=True)
    told = {"1F600": "grinning face", "23-FE0F-20E3": "keycap: #", "1F3F4-E0067-E0062-E007F": "flag: Räland"}
    rows = [dict(hexcode=code, annotation=name, skintone="") for code, name in told.items()]
    rows.append(dict(hexcode="1F44B-1F3FB", annotation="waving hand: light skin tone", skintone=1))
    (names / "openmoji.json").write_text(json.dumps(rows))
    return source


def test_emoji_get_their_names_once_and_a_white_ground(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    captions.fluent_emoji(emoji(tmp_path), out)
    rows = rows_of(out)
    assert sorted(row["captions"][0] for row in rows) == ["flag: Räland", "grinning face", "keycap: #"]
    assert all(set(row) == {"image", "split", "captions"} for row in rows)
    for row in rows:
        seen = np.asarray(Image.open(out / row["image"])).astype(int)
        assert seen.shape == (8, 8, 3) and seen[:, :2].min() > 230  # what lay below the transparent half was blue
        assert seen[:, 6:, 2].min() > 200 and seen[:, 6:, :2].max() < 60
    assert len(list((out / "images").iterdir())) == 3


def test_no_concept_is_in_two_splits(tmp_path: Path) -> None:
    source, out = tmp_path / "stamps", tmp_path / "out"
    out.mkdir()
    for number in range(60):
        file = source / f"animals/kind{number % 30}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(file)
        ending = "." if number < 30 else "!"
        file.with_suffix(".txt").write_text(f" Animal {number % 30}{ending}\nde.utf8=Tier ü\n", encoding="utf-8")
    Image.new("L", (4, 4)).save(source / "animals/without_a_sentence.png")
    captions.tuxpaint_stamps(source, out)
    rows = rows_of(out)
    splits = {split: [row for row in rows if row["split"] == split] for split in ("train", "val")}
    assert [len(splits[split]) for split in ("train", "val")] == [48, 12]
    kinds = [{row["captions"][0].rstrip(".!") for row in splits[split]} for split in ("train", "val")]
    assert not kinds[0] & kinds[1] and [len(one) for one in kinds] == [24, 6]
    for row in rows:
        assert row["captions"][0].startswith("Animal ") and (out / row["image"]).is_file()
    assert "images/animals/kind3/33.jpg" in {row["image"] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_the_packages_carry_what_is_captioned(name: str, tmp_path: Path) -> None:
    try:
        folder = layouts.prepare(name, tmp_path / name)
    except open_data.OpenDataError as error:
        pytest.skip(str(error))
    rows = rows_of(folder)
    assert tuple(sum(row["split"] == split for row in rows) for split in ("train", "val")) == SETS[name]
    for row in rows[::50]:
        with Image.open(folder / row["image"]) as picture:
            assert picture.mode == "RGB" and row["captions"][0]
