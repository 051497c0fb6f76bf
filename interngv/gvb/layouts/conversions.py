"""Official annotations that hosts do not read, in a form that they do: CityPersons, SBD, and frames of videos."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from interngv.errors import UserError
from interngv.gvb.layouts.archives import CONVERSIONS, convert, matlab
from interngv.gvb.layouts.base import lines_of, write_whole
from interngv.gvb.layouts.boxes import coco_json

_WIDTH, _HEIGHT = 2048, 1024  # of every picture of Cityscapes
_PEDESTRIAN = 1  # CityPersons' class of pedestrians; 0 is to be ignored, the others are riders, sitting, groups, ...


def prepare(name: str, root: Path) -> list[Path]:
    """Run the conversion of this name on the official files in ``root``; returns the lists that it wrote.

    Raises:
        UserError: the official files are not there or not of the official form.
    """
    if name in CONVERSIONS:
        return convert(name, root)
    try:
        return OTHERS[name](root)
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise UserError(f"{name}: the official files in {root} cannot be read: {error!r}") from error


def citypersons(root: Path) -> list[Path]:
    """``annotations/anno_{train,val}.mat`` as COCO's json.

    Pedestrians are boxes of the one class; all others are ``iscrowd=1``: neither right nor wrong. Each box keeps its
    visible part ``vis_bbox`` and, for the set-ups of the miss rate, ``vis_ratio`` and ``height`` in pixels.
    """
    written = []
    for split in ("train", "val"):
        images: list[dict] = []
        annotations: list[dict] = []
        for row in matlab(root / "annotations" / f"anno_{split}.mat")[f"anno_{split}_aligned"].ravel():
            said = row.ravel()[0]
            city, name = str(said["cityname"].item()), str(said["im_name"].item())
            for box in np.atleast_2d(said["bbs"]).tolist():
                annotations.append(_person(len(annotations), len(images), box))
            file_name = f"{split}/{city}/{name}"
            images.append(dict(id=len(images), file_name=file_name, width=_WIDTH, height=_HEIGHT))
        target = root / "annotations" / f"{split}.json"
        write_whole(target, coco_json(images, annotations, [dict(id=1, name="pedestrian")]).encode())
        written.append(target)
    return written


def _person(number: int, image: int, box: list[float]) -> dict[str, Any]:
    """A row ``class, x, y, w, h, instance, x, y, w, h of the visible part`` as an annotation."""
    label, x, y, w, h, _, *visible = box
    return dict(
        id=number,
        image_id=image,
        category_id=1,
        bbox=[x, y, w, h],
        area=w * h,
        iscrowd=int(label != _PEDESTRIAN),
        vis_bbox=visible,
        vis_ratio=visible[2] * visible[3] / (w * h) if w * h > 0 else 0.0,
        height=h,
    )


def voc2012seg(root: Path) -> list[Path]:
    """SBD's masks as PNG and the list ``aug.txt`` of its pictures that are in neither list of VOC2012."""
    from PIL import Image

    lists = root / "VOC2012" / "ImageSets" / "Segmentation"
    source, target = root / "benchmark_RELEASE" / "dataset", root / "VOC2012" / "SegmentationClassAug"
    names = sorted(_train_and_val(source) - _train_and_val(lists))
    target.mkdir(exist_ok=True)
    for name in names:
        mask = matlab(source / "cls" / f"{name}.mat")["GTcls"]["Segmentation"].item()
        Image.fromarray(mask.astype(np.uint8)).save(target / f"{name}.png")
    write_whole(lists / "aug.txt", "".join(f"{name}\n" for name in names).encode())
    return [lists / "aug.txt"]


def _train_and_val(folder: Path) -> set[str]:
    return {name for part in ("train", "val") for name in lines_of(folder / f"{part}.txt", "voc2012seg") if name}


def ucf101(root: Path) -> list[Path]:
    """The middle frame of each clip of ``UCF-101/`` below ``frames/``."""
    return _frames(root / "UCF-101", root / "frames")


def kinetics700(root: Path) -> list[Path]:
    """The middle frame of each clip of ``videos/{train,val}/`` below ``frames/``."""
    return _frames(root / "videos", root / "frames")


OTHERS: dict[str, Callable[[Path], list[Path]]] = {
    one.__name__: one for one in (citypersons, voc2012seg, ucf101, kinetics700)
}


def _frames(videos: Path, frames: Path) -> list[Path]:
    """Write ``frames/A/B.jpg`` for ``videos/A/B.avi``; what is there stays, a clip without a frame is an error."""
    found = sorted(_videos(videos))
    if not found:
        raise UserError(f"{videos} has no videos; `interngv data status` says how to lay them out")
    unreadable = []
    for video in found:
        target = frames / video.relative_to(videos).with_suffix(".jpg")
        if not target.is_file() and not _middle_frame(video, target):
            unreadable.append(video)
    if unreadable:
        raise UserError(f"{len(unreadable)} of {len(found)} videos have no readable frame, such as {unreadable[0]}")
    return [frames]


def _videos(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in (".avi", ".mp4", ".mkv", ".webm"))


def _middle_frame(video: Path, target: Path) -> bool:
    import cv2

    clip = cv2.VideoCapture(str(video))
    clip.set(cv2.CAP_PROP_POS_FRAMES, int(clip.get(cv2.CAP_PROP_FRAME_COUNT)) // 2)
    is_read, frame = clip.read()
    clip.release()
    if not is_read:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    is_coded, content = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])
    write_whole(target, content.tobytes())
    return bool(is_coded)
