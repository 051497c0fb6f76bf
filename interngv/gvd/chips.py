"""Large pictures with dense labels, cut into chips: sets of detection, segmentation and depth that a package can carry.

A chip is a square of pixels; the chips of a picture stand side by side, and what is left over at its right and lower
edge is not used. Each set comes from one or two scenes: numbers on it compare trunks, and say nothing of other scenes.
"""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np

TILES = {"train": "2019_YELL_2_528000_4978000_image_crop2", "test": "2019_YELL_2_541000_4977000_image_crop"}
TREE_CHIP, NUCLEI_CHIP, DEPTH_CHIP = 256, 64, 96  # pixels
FOCAL_LENGTH, BASELINE, SHIFT = 994.978, 193.001, 31.086  # pixels, mm, pixels: Motorcycle, as scikit-image 0.16 states


def tree_crowns(source: Path, out: Path) -> None:
    """Boxes in COCO's form on chips of two aerial tiles, one to train on and one to test on.

    ``annotations/{train,test}.json`` and ``images/{train,test}/*.png``. A crown belongs to a chip that shows at least
    half of it, cut at the chip's edge.
    """
    (out / "annotations").mkdir()
    for split, tile in TILES.items():
        picture, boxes = _picture(source / f"{tile}.png"), _voc_boxes(source / f"{tile}.xml")
        images: list[dict] = []
        annotations: list[dict] = []
        for number, (row, column) in enumerate(_grid(picture, TREE_CHIP)):
            name = f"{split}/{row}-{column}.png"
            _save(out / "images" / name, _chip(picture, row, column, TREE_CHIP))
            images.append({"id": number, "file_name": name, "width": TREE_CHIP, "height": TREE_CHIP})
            for box in _boxes_in_chip(boxes, row, column, TREE_CHIP):
                annotations.append(_annotation(len(annotations), number, box))
        said = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "tree"}]}
        (out / "annotations" / f"{split}.json").write_text(json.dumps(said))


def nuclei(source: Path, out: Path) -> None:
    """Masks of nuclei (1) and background (0) on chips of one fluorescence picture.

    Its left half trains, its right half tests: ``images/{train,test}`` and ``annotations/{train,test}``, PNG.
    """
    picture = np.repeat(_picture(source / "img2d.tif")[..., None], 3, axis=2)
    mask = (_picture(source / "mask2d.tif") > 0).astype(np.uint8)
    columns = picture.shape[1] // NUCLEI_CHIP
    for row, column in _grid(picture, NUCLEI_CHIP):
        name = f"{'train' if 2 * column < columns else 'test'}/{row}-{column}.png"
        _save(out / "images" / name, _chip(picture, row, column, NUCLEI_CHIP))
        _save(out / "annotations" / name, _chip(mask, row, column, NUCLEI_CHIP))


def motorcycle(source: Path, out: Path) -> None:
    """Depth in millimetres (16-bit PNG, 0 where it was not measured) on chips of one indoor scene; every third tests.

    ``images/{train,test}`` and ``depth/{train,test}``. Depth is focal length x baseline / (disparity + shift of the
    principal points).
    """
    picture = _picture(source / "motorcycle_left.png")
    with np.load(source / "motorcycle_disp.npz", allow_pickle=False) as file:
        disparity = file[file.files[0]]
    depth = FOCAL_LENGTH * BASELINE / (np.where(np.isfinite(disparity), disparity, np.inf) + SHIFT)
    for row, column in _grid(picture, DEPTH_CHIP):
        name = f"{'test' if (row + column) % 3 == 0 else 'train'}/{row}-{column}.png"
        _save(out / "images" / name, _chip(picture, row, column, DEPTH_CHIP))
        _save(out / "depth" / name, _chip(depth.round().astype(np.uint16), row, column, DEPTH_CHIP))


def _picture(file: Path) -> np.ndarray:
    """A picture's values; those of a 16-bit one must fit into 8 bits."""
    from PIL import Image

    with Image.open(file) as image:
        values = np.asarray(image)
    return values.astype(np.uint8) if values.dtype == np.uint16 and values.max() < 256 else values


def _voc_boxes(file: Path) -> np.ndarray:
    """(N, 4) corners x0, y0, x1, y1 in pixels of VOC's XML, whose first pixel is 1."""
    names = ("xmin", "ymin", "xmax", "ymax")
    boxes = ElementTree.parse(file).getroot().iter("bndbox")
    corners = [[float(box.findtext(name, "")) for name in names] for box in boxes]
    return np.array(corners) - (1, 1, 0, 0)


def _grid(picture: np.ndarray, size: int) -> Iterator[tuple[int, int]]:
    """Row and column of each chip."""
    yield from np.ndindex(picture.shape[0] // size, picture.shape[1] // size)


def _chip(picture: np.ndarray, row: int, column: int, size: int) -> np.ndarray:
    return picture[row * size : (row + 1) * size, column * size : (column + 1) * size]


def _boxes_in_chip(boxes: np.ndarray, row: int, column: int, size: int) -> np.ndarray:
    """The boxes of which the chip shows at least half, in its own pixels and cut at its edges."""
    moved = boxes - np.array([column, row, column, row]) * size
    cut = moved.clip(0, size)
    return cut[2 * _areas(cut) >= _areas(moved)]


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _annotation(number: int, image: int, box: np.ndarray) -> dict[str, object]:
    x0, y0, x1, y1 = box.tolist()
    bbox = [x0, y0, x1 - x0, y1 - y0]
    return {"id": number, "image_id": image, "category_id": 1, "bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": 0}


def _save(file: Path, values: np.ndarray) -> None:
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)
