"""Chips of scenes made here, with labels whose place in the chips is known; the real packs, where they can be had."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interngv.gvd import chips, layouts, open_data

BOX = "<object><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
SETS = {"tree-crowns": (72, 16), "nuclei": (32, 32), "motorcycle": (23, 12)}


def tiles(folder: Path, boxes: list[tuple[int, ...]], shape: tuple[int, int] = (520, 600)) -> None:
    """Both tiles of tree crowns: a picture whose pixels say where they are, and VOC's XML."""
    rows, columns = np.indices(shape)
    picture = np.stack([rows // 256, columns // 256, rows % 256], axis=2).astype(np.uint8)
    for tile in chips.TILES.values():
        Image.fromarray(picture).save(folder / f"{tile}.png")
        said = "".join(BOX.format(*box) for box in boxes)
        (folder / f"{tile}.xml").write_text(f"<annotation>{said}</annotation>")


def test_a_crown_belongs_to_the_chips_that_show_half_of_it(tmp_path: Path) -> None:
    # Inside the first chip; over an edge, two thirds in the right chip; halved; in the strip that no chip covers.
    tiles(tmp_path, [(1, 1, 20, 10), (247, 31, 276, 50), (101, 247, 110, 266), (101, 513, 120, 520)])
    (tmp_path / "out").mkdir()
    chips.tree_crowns(tmp_path, tmp_path / "out")
    found = json.loads((tmp_path / "out/annotations/train.json").read_text())
    names = {image["id"]: image["file_name"] for image in found["images"]}
    boxes = sorted((names[one["image_id"]], *one["bbox"]) for one in found["annotations"])
    assert boxes == [
        ("train/0-0.png", 0, 0, 20, 10),
        ("train/0-0.png", 100, 246, 10, 10),
        ("train/0-1.png", 0, 30, 20, 20),
        ("train/1-0.png", 100, 0, 10, 10),
    ]
    assert all(one["area"] == one["bbox"][2] * one["bbox"][3] for one in found["annotations"])


def test_chips_are_the_pictures_own_pixels(tmp_path: Path) -> None:
    tiles(tmp_path, [(1, 1, 20, 10)])
    (tmp_path / "out").mkdir()
    chips.tree_crowns(tmp_path, tmp_path / "out")
    files = sorted(path.name for path in (tmp_path / "out/images/test").iterdir())
    assert files == ["0-0.png", "0-1.png", "1-0.png", "1-1.png"]
    chip = np.asarray(Image.open(tmp_path / "out/images/test/1-0.png"))
    assert chip.shape == (256, 256, 3) and (chip[..., :2] == (1, 0)).all() and (chip[:, 0, 2] == range(256)).all()


def test_no_chip_of_nuclei_trains_and_tests(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture, mask = rng.integers(0, 200, (2, 192, 256)).astype(np.uint16)
    for name, values in (("img2d", picture), ("mask2d", mask)):
        Image.fromarray(values).save(tmp_path / f"{name}.tif")
    (tmp_path / "out").mkdir()
    chips.nuclei(tmp_path, tmp_path / "out")
    for split, columns in (("train", (0, 1)), ("test", (2, 3))):
        names = {f"{row}-{column}.png" for row in range(3) for column in columns}
        assert {path.name for path in (tmp_path / "out/images" / split).iterdir()} == names
        for name in names:
            row, column = (int(one) for one in name.removesuffix(".png").split("-"))
            place = np.s_[64 * row : 64 * row + 64, 64 * column : 64 * column + 64]
            found = np.asarray(Image.open(tmp_path / "out/images" / split / name))
            assert (found == picture[place][..., None]).all()
            assert (np.asarray(Image.open(tmp_path / "out/annotations" / split / name)) == (mask[place] > 0)).all()


def test_depth_is_triangulated_and_zero_where_it_was_not_measured(tmp_path: Path) -> None:
    disparity = np.full((96, 288), np.inf, np.float32)
    disparity[:, :96], disparity[:, 96:192], disparity[0, 100] = 68.914, 18.914, np.nan
    np.savez(tmp_path / "motorcycle_disp.npz", disparity)
    Image.fromarray(np.zeros((96, 288, 3), np.uint8)).save(tmp_path / "motorcycle_left.png")
    (tmp_path / "out").mkdir()
    chips.motorcycle(tmp_path, tmp_path / "out")
    near, far, none = (
        np.asarray(Image.open(tmp_path / f"out/depth/{name}.png")) for name in ("test/0-0", "train/0-1", "train/0-2")
    )
    # f b / (d + shift) in mm, with d + shift = 100 and 50 pixels.
    assert near.dtype == np.uint16 and (near == 1920).all()
    assert far[0, 4] == 0 and (np.delete(far.ravel(), 4) == 3841).all() and not none.any()


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_the_packages_carry_what_is_cut(name: str, tmp_path: Path) -> None:
    try:
        folder = layouts.prepare(name, tmp_path / name)
    except open_data.OpenDataError as error:
        pytest.skip(str(error))
    counted = tuple(len(list((folder / "images" / split).iterdir())) for split in ("train", "test"))
    assert counted == SETS[name]
