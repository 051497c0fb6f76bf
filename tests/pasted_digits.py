"""A small real set with exact boxes and masks, made without the network: scanned digits pasted into two photographs.

Digits and photographs come inside scikit-learn. Train and val share neither a digit nor a part of a photograph.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits, load_sample_images

DIGITS = (0, 1, 4)
HEIGHT, WIDTH = 120, 160
SLOTS = [(4, 10), (64, 90), (4, 90), (64, 10)]  # y, x of the corners of four places that stay apart


def _shape(scan: np.ndarray, size: int) -> np.ndarray:
    """Binary mask of a scanned digit (8, 8), enlarged: its largest connected part, cut to its box."""
    large = np.asarray(Image.fromarray((scan * 15).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC))
    parts, count = ndimage.label(large > 60)
    largest = 1 + int(np.argmax([np.sum(parts == n) for n in range(1, count + 1)]))
    rows, columns = ndimage.find_objects(parts)[largest - 1]
    return (parts == largest)[rows, columns]


def _write_split(root: Path, split: str, count: int, rng: np.random.Generator) -> None:
    scans, labels = load_digits(return_X_y=True)
    mine = [i for i, label in enumerate(labels) if label in DIGITS and (i % 5 == 4) == (split == "val")]
    left = slice(0, 320) if split == "train" else slice(320, 640)
    photos = [photo[:, left] for photo in load_sample_images().images]
    images, boxes = [], []
    for kind in ("images", "annotations"):
        (root / kind / split).mkdir(parents=True)
    for image_id in range(1, count + 1):
        photo = photos[rng.integers(2)]
        top, start = rng.integers(photo.shape[0] - HEIGHT), rng.integers(photo.shape[1] - WIDTH)
        picture, mask = photo[top : top + HEIGHT, start : start + WIDTH].copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
        for slot in rng.permutation(4)[: rng.integers(2, 5)]:
            index = mine[rng.integers(len(mine))]
            shape = _shape(scans[index].reshape(8, 8), int(rng.integers(36, 49)))
            (y, x), (height, width) = SLOTS[slot] + rng.integers(-4, 5, 2), shape.shape
            picture[y : y + height, x : x + width][shape] = rng.integers(0, 256, 3)
            mask[y : y + height, x : x + width][shape] = 1
            boxes.append(dict(id=len(boxes) + 1, image_id=image_id, category_id=DIGITS.index(labels[index]) + 1))
            boxes[-1] |= dict(bbox=[int(v) for v in (x, y, width, height)], area=width * height, iscrowd=0)
        name = f"{split}/{image_id:04d}"
        Image.fromarray(picture).save(root / "images" / f"{name}.jpg", quality=92)
        Image.fromarray(mask).save(root / "annotations" / f"{name}.png")
        images.append(dict(id=image_id, file_name=f"{name}.jpg", height=HEIGHT, width=WIDTH))
    categories = [dict(id=number, name=str(digit)) for number, digit in enumerate(DIGITS, start=1)]
    text = json.dumps(dict(images=images, annotations=boxes, categories=categories))
    (root / "annotations" / f"{split}.json").write_text(text)


def write(root: Path) -> Path:
    """Writes 360 + 40 photographs into ``root``, boxes as in COCO and masks as in mmseg (1 = a digit)."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 360), ("val", 40)):
        _write_split(root, split, count, rng)
    return root
