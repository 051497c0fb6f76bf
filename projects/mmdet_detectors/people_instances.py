"""Turns person masks into instances in COCO's form: each connected region of the foreground is one instance.

Usage: python people_instances.py data/people_seg data/people_instances [NAME_OF_THE_CLASS]

People who touch in the photograph share a region and so count as one instance; regions under 0.5 % of the photograph
are left out. Reads ``annotations/{train,val}/NAME.png`` (1 = person) and writes ``{train,val}.json`` for the
photographs ``NAME.jpg``.
"""

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as rle


def instance(region: np.ndarray, **ids: int) -> dict[str, Any]:
    """COCO's annotation (run-length mask, box, area in pixels) of one binary region (H, W)."""
    code = rle.encode(np.asfortranarray(region, dtype=np.uint8))
    box, area = rle.toBbox(code).tolist(), int(rle.area(code))
    code["counts"] = code["counts"].decode("ascii")
    return dict(segmentation=code, bbox=box, area=area, iscrowd=0, category_id=1, **ids)


def coco(masks: list[Path], name: str = "person") -> dict[str, list[dict[str, Any]]]:
    """COCO's dictionary, of one class ``name``, for mask files; photographs: the same names, ``.jpg``."""
    images, annotations = [], []
    for image_id, path in enumerate(masks, start=1):
        person = (np.asarray(Image.open(path)) == 1).astype(np.uint8)
        height, width = person.shape
        images.append(dict(id=image_id, file_name=f"{path.stem}.jpg", height=height, width=width))
        count, regions = cv2.connectedComponents(person)
        for number in range(1, count):
            region = regions == number
            if region.sum() >= 0.005 * region.size:
                annotations.append(instance(region, id=len(annotations) + 1, image_id=image_id))
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name=name)])


def main(source: str, target: str, name: str = "person") -> None:
    """Writes one file for each split of ``source`` into the folder ``target``; SystemExit where there are no masks."""
    for split in ("train", "val"):
        masks = sorted(Path(source, "annotations", split).glob("*.png"))
        if not masks:
            raise SystemExit(f"no masks in {Path(source, 'annotations', split)}: expected NAME.png, 1 = person")
        Path(target).mkdir(parents=True, exist_ok=True)
        Path(target, f"{split}.json").write_text(json.dumps(coco(masks, name)))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit("usage: python people_instances.py SOURCE_FOLDER TARGET_FOLDER [NAME_OF_THE_CLASS]")
    main(*sys.argv[1:])
