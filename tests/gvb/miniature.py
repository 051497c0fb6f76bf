"""Miniatures of the 26 sets: their official files in their official layout, with a few tiny pictures.

``build(task, root)`` writes the files and says what a reader must find: for each split a mapping from the picture's
path to its class (None where the task has no classes for pictures), or only the number of samples where the set
publishes no split. The green channel of a classification picture is its class, modulo 256.
"""

import csv
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from interngv.gvb.tasks import Task

Truth = dict[str, dict[str, int | None] | int]
PER_CLASS = {"caltech101": 32, "eurosat": 5, "resisc45": 5}


def build(task: Task, root: Path) -> Truth:
    root.mkdir(parents=True, exist_ok=True)
    return BUILDERS[task.name](task, root)


def picture(path: Path, label: int = 0, size: tuple[int, int] = (12, 8)) -> None:
    """Write a picture, (width, height) pixels, that no other of the set equals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(zlib.crc32(str(path).encode())).integers(
        0, 256, (size[1], size[0], 3), dtype=np.uint8
    )
    noise[..., 1] = label % 256
    Image.fromarray(noise).save(path)


def lines(path: Path, rows: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))


def few(task: Task, split: str) -> list[int]:
    """Classes of a split's pictures: some in training twice, the first and the last in both."""
    last = (task.num_classes or 1) - 1
    return [0, 0, last // 2, last] if split == "train" else [0, last, 1 % (last + 1)]


# -- classification: pictures of which a converter makes files


def _cifar(coarse: bool, train: Sequence[str], test: Sequence[str]) -> Callable[[Task, Path], Truth]:
    def make(task: Task, root: Path) -> Truth:
        truth: Truth = {}
        for split, files in (("train", train), ("test", test)):
            labels = few(task, split) * len(files)
            for number, file in enumerate(files):
                (root / file).parent.mkdir(exist_ok=True)
                part = labels[number * len(labels) // len(files) :][: len(labels) // len(files)]
                planes = [np.random.randint(0, 256, (len(part), 1024)) for _ in range(3)]
                planes[1][:] = np.array(part)[:, None] % 256
                header = ([np.full((len(part), 1), 77)] if coarse else []) + [np.array(part)[:, None]]
                np.concatenate([*header, *planes], axis=1).astype(np.uint8).tofile(root / file)
            truth[split] = numbered(split, labels)
        return truth

    return make


def numbered(split: str, labels: Sequence[int]) -> dict[str, int | None]:
    return {f"images/{split}/000/{number:06d}.png": label for number, label in enumerate(labels)}


def svhn(task: Task, root: Path) -> Truth:
    from scipy.io import savemat

    truth: Truth = {}
    for split in ("train", "test"):
        labels = few(task, split)
        pictures = np.random.randint(0, 256, (32, 32, 3, len(labels)), dtype=np.uint8)
        pictures[:, :, 1, :] = labels
        savemat(root / f"{split}_32x32.mat", {"X": pictures, "y": np.array([[label or 10] for label in labels])})
        truth[split] = numbered(split, labels)
    return truth


def fer2013(task: Task, root: Path) -> Truth:
    usages = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}
    with (root / "fer2013.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        for split, usage in usages.items():
            for label in few(task, split):
                writer.writerow([label, " ".join([str(label)] * 48 * 48), usage])
    return {split: numbered(split, few(task, split)) for split in usages}


def pcam(task: Task, root: Path) -> Truth:
    truth: Truth = {}
    for split, part in (("train", "train"), ("val", "valid"), ("test", "test")):
        labels = np.array(few(task, split))
        pictures = np.random.randint(0, 256, (len(labels), 96, 96, 3), dtype=np.uint8)
        pictures[..., 1] = labels[:, None, None]
        for name, content in (("x", pictures), ("y", labels.reshape(-1, 1, 1, 1))):
            hdf5(root / f"camelyonpatch_level_2_split_{part}_{name}.h5", name, content)
        truth[split] = numbered(split, labels.tolist())
    return truth


def hdf5(path: Path, name: str, content: np.ndarray) -> None:
    """An HDF5 file; where h5py is not installed, numpy's archive, which is read by the same words."""
    try:
        import h5py
    except ImportError:
        with path.open("wb") as archive:
            np.savez(archive, **{name: content})
        return
    with h5py.File(path, "w") as file:
        file[name] = content


# -- classification: pictures with lists


def flowers102(task: Task, root: Path) -> Truth:
    from scipy.io import savemat

    labels = [0, 101, 50, 0, 101, 3]
    for number, label in enumerate(labels, start=1):
        picture(root / "jpg" / f"image_{number:05d}.jpg", label)
    savemat(root / "imagelabels.mat", {"labels": np.array([[label + 1 for label in labels]])})
    savemat(root / "setid.mat", {"trnid": np.array([[1, 3]]), "valid": np.array([[2, 4]]), "tstid": np.array([[6, 5]])})
    name = "jpg/image_{:05d}.jpg".format
    return {
        "train": {name(number): labels[number - 1] for number in (1, 3, 2, 4)},
        "test": {name(number): labels[number - 1] for number in (6, 5)},
    }


def cars(task: Task, root: Path) -> Truth:
    from scipy.io import savemat

    (root / "devkit").mkdir()
    truth: Truth = {}
    kind = [("bbox_x1", "i4"), ("class", "O"), ("fname", "O")]
    for split, file in (("train", "cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        names = {f"{number:05d}.jpg": label for number, label in enumerate(few(task, split), start=1)}
        rows = np.array([[(1, label + 1, name) for name, label in names.items()]], dtype=kind)
        savemat(root / "devkit" / file, {"annotations": rows})
        truth[split] = {f"cars_{split}/{name}": label for name, label in names.items()}
    return drawn(root, truth)


def gtsrb(task: Task, root: Path) -> Truth:
    train = {f"GTSRB/Training/{label:05d}/{number:05d}.ppm": label for number, label in enumerate([0, 0, 20, 42])}
    test = {f"{number:05d}.ppm": label for number, label in enumerate(few(task, "test"))}
    table = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    lines(root / "GT-final_test.csv", [*table, *(f"{name};12;8;1;1;9;7;{label}" for name, label in test.items())])
    return drawn(root, {"train": train, "test": {f"GTSRB/Final_Test/Images/{name}": x for name, x in test.items()}})


def food101(task: Task, root: Path) -> Truth:
    classes = [name.replace(" ", "_") for name in task.class_names or ()]
    lines(root / "meta" / "classes.txt", classes)
    return _in_class_folders(task, root, classes, "images", "meta/{}.txt".format, written=lambda name: name[:-4])


def dtd(task: Task, root: Path) -> Truth:
    return _in_class_folders(task, root, list(task.class_names or ()), "images", "labels/{}1.txt".format)


def sun397(task: Task, root: Path) -> Truth:
    classes = [f"{name[0]}/{name.replace(' ', '_')}" for name in task.class_names or ()]
    classes[1] = "a/apartment_building/outdoor"
    lines(root / "SUN397" / "ClassName.txt", [f"/{name}" for name in classes])
    lists = {"train": "Partitions/Training_01.txt", "test": "Partitions/Testing_01.txt"}
    return _in_class_folders(task, root, classes, "SUN397", lists.__getitem__, written=lambda name: f"/{name}")


def _in_class_folders(
    task: Task,
    root: Path,
    classes: list[str],
    images: str,
    listed: Callable[[str], str],
    written: Callable[[str], str] = str,
) -> Truth:
    truth: Truth = {}
    for split in task.splits:
        names = {f"{classes[x]}/{split}_{number}.jpg": x for number, x in enumerate(few(task, split))}
        lines(root / listed(split), [written(name) for name in names])
        truth[split] = {f"{images}/{name}": label for name, label in names.items()}
    return drawn(root, truth)


def pets(task: Task, root: Path) -> Truth:
    truth: Truth = {}
    for split, part in (("train", "trainval"), ("test", "test")):
        names = {f"{part}_breed_{number}": label for number, label in enumerate(few(task, split))}
        lines(root / "annotations" / f"{part}.txt", [f"{name} {label + 1} 1 {label}" for name, label in names.items()])
        truth[split] = {f"images/{name}.jpg": label for name, label in names.items()}
    return drawn(root, truth)


def aircraft(task: Task, root: Path) -> Truth:
    classes = list(task.class_names or ())
    lines(root / "data" / "variants.txt", classes)
    truth: Truth = {}
    for split in task.splits:
        names = {f"{number:07d}{split}": label for number, label in enumerate(few(task, split))}
        lines(root / "data" / f"images_variant_{split}.txt", [f"{name} {classes[x]}" for name, x in names.items()])
        truth[split] = {f"data/images/{name}.jpg": label for name, label in names.items()}
    return drawn(root, truth)


def retinopathy(task: Task, root: Path) -> Truth:
    train = {f"{number}_left": label for number, label in enumerate(few(task, "train"))}
    test = {f"{number}_right": label for number, label in enumerate(few(task, "test"))}
    lines(root / "trainLabels.csv", ["image,level", *(f"{name},{label}" for name, label in train.items())])
    private = [f"{name},{label},Private" for name, label in test.items()]
    lines(root / "retinopathy_solution.csv", ["image,level,Usage", "99_left,4,Public", *private])
    named = {split: {f"{split}/{name}.jpeg": x for name, x in some.items()} for split, some in
             (("train", train), ("test", test))}  # fmt: skip
    return drawn(root, named)


def ucf101(task: Task, root: Path) -> Truth:
    classes = ["".join(word.capitalize() for word in name.split()) for name in task.class_names or ()]
    lists = root / "ucfTrainTestlist"
    lines(lists / "classInd.txt", [f"{number} {name}" for number, name in enumerate(classes, start=1)])
    truth: Truth = {}
    for split in ("train", "test"):
        clips = {f"{classes[x]}/v_{split}_g01_c{number:02d}": x for number, x in enumerate(few(task, split))}
        for name, label in clips.items():
            video(root / "UCF-101" / f"{name}.avi", label)
        labelled = [f"{name}.avi {label + 1}" for name, label in clips.items()]
        lines(lists / f"{split}list01.txt", labelled if split == "train" else [f"{name}.avi" for name in clips])
        truth[split] = {f"frames/{name}.jpg": label for name, label in clips.items()}
    return truth


def video(path: Path, label: int) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 24))
    for _ in range(3):
        writer.write(np.full((24, 32, 3), (0, label, 0), dtype=np.uint8))
    writer.release()


# -- classification: folders


def _split_folders(task: Task, root: Path) -> Truth:
    """A picture a class and split, in as many class folders as the set has."""
    truth: Truth = {}
    folders = task.settings["folders"]
    for split in ("train", "test"):
        names = {f"{folders[split]}/class{label:04d}/{split}.jpg": label for label in range(task.num_classes or 0)}
        truth[split] = dict(names)
    return drawn(root, truth)


def _unsplit_folders(task: Task, root: Path) -> Truth:
    count = PER_CLASS[task.name]
    for label in range(task.num_classes or 0):
        for number in range(count):
            picture(root / task.settings["folders"] / f"class{label:03d}" / f"{number}.jpg", label)
    classes = task.num_classes or 0
    if "per_class" in task.settings:
        return {"train": 30 * classes, "test": (count - 30) * classes}
    return {split: count * share // 100 * classes for split, share in task.settings["parts"].items()}


def drawn(root: Path, truth: Truth) -> Truth:
    for names in truth.values():
        assert isinstance(names, dict)
        for name, label in names.items():
            picture(root / name, label or 0)
    return truth


# -- detection


def voc0712(task: Task, root: Path) -> Truth:
    truth: Truth = {"train": {}, "test": {}}
    for year, part, split in (("VOC2007", "trainval", "train"), ("VOC2012", "trainval", "train"), ("VOC2007", "test", "test")):  # fmt: skip  # noqa: E501
        names = [f"{year[3:]}{part}_{number}" for number in range(3)]
        lines(root / year / "ImageSets" / "Main" / f"{part}.txt", names)
        for name in names:
            voc_xml(root / year / "Annotations" / f"{name}.xml", [("dog", (1, 1, 8, 7)), ("tvmonitor", (3, 2, 12, 8))])
            truth[split][f"{year}/JPEGImages/{name}.jpg"] = None  # type: ignore[index]
    return drawn(root, truth)


def voc_xml(path: Path, objects: Sequence[tuple[str, tuple[int, int, int, int]]]) -> None:
    """Boxes by their corners, pixels from 1, in a picture of 12 x 8 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2) in objects
    )
    path.write_text(f"<annotation><size><width>12</width><height>8</height><depth>3</depth></size>{rows}</annotation>")


def widerface(task: Task, root: Path) -> Truth:
    truth: Truth = {}
    for split, part in (("train", "train"), ("test", "val")):
        names = [f"0--Parade/0_Parade_{part}_{number}.jpg" for number in range(3)]
        rows = [names[0], "2", "1 1 4 5 0 0 0 0 0 0 ", "6 2 3 3 1 0 0 1 2 0 "]
        rows += [names[1], "0", "0 0 0 0 0 0 0 0 0 0 "]  # as the official files write a picture without a face
        rows += [names[2], "1", "2 2 5 5 0 0 0 0 0 0 "]
        lines(root / "wider_face_split" / f"wider_face_{part}_bbx_gt.txt", rows)
        truth[split] = {f"WIDER_{part}/images/{name}": None for name in names}
    return drawn(root, truth)


def citypersons(task: Task, root: Path) -> Truth:
    from scipy.io import savemat

    (root / "annotations").mkdir()
    truth: Truth = {}
    boxes = np.array([[1, 100, 100, 41, 100, 1, 100, 100, 41, 50], [0, 5, 5, 20, 20, 2, 5, 5, 20, 20]], dtype=np.int32)
    for split, part in (("train", "train"), ("test", "val")):
        names = [f"aachen_{number:06d}_000019_leftImg8bit.png" for number in range(3)]
        cells = np.empty((1, 3), dtype=object)
        for number, name in enumerate(names):
            kind = [("cityname", "O"), ("im_name", "O"), ("bbs", "O")]
            cells[0, number] = np.array([[("aachen", name, boxes)]], dtype=kind)
        savemat(root / "annotations" / f"anno_{part}.mat", {f"anno_{part}_aligned": cells})
        truth[split] = {f"leftImg8bit/{part}/aachen/{name}": None for name in names}
    return drawn(root, truth)


def coco_file(
    path: Path, names: Sequence[str], boxes: Sequence[tuple[int, int, list[float]]], classes: int = 2
) -> None:
    """Boxes as (picture from 0, category from 1, [x, y, w, h]), in pictures of 12 x 8 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {
        "images": [dict(id=x, file_name=name, width=12, height=8) for x, name in enumerate(names)],
        "annotations": [
            dict(id=x, image_id=image, category_id=label, bbox=box, area=box[2] * box[3], iscrowd=0)
            for x, (image, label, box) in enumerate(boxes)
        ],
        "categories": [dict(id=label + 1, name=f"thing{label}") for label in range(classes)],
    }
    path.write_text(json.dumps(said))


# -- segmentation and depth


def voc2012seg(task: Task, root: Path) -> Truth:
    from scipy.io import savemat

    voc, sbd = root / "VOC2012", root / "benchmark_RELEASE" / "dataset"
    parts = {"train": ["a", "b"], "val": ["c", "d"]}
    for part, names in parts.items():
        lines(voc / "ImageSets" / "Segmentation" / f"{part}.txt", names)
        for name in names:
            mask(voc / "SegmentationClass" / f"{name}.png", [0, 20, 255])
    lines(sbd / "train.txt", ["a", "x", "c"])  # a and c are VOC2012's own
    lines(sbd / "val.txt", ["y"])
    (sbd / "cls").mkdir()
    kind = [("Boundaries", "O"), ("Segmentation", "O")]
    for name in ("x", "y"):
        labels = np.full((8, 12), 3, dtype=np.uint8)
        savemat(sbd / "cls" / f"{name}.mat", {"GTcls": np.array([[(0, labels)]], dtype=kind)})
    train, test = ({f"VOC2012/JPEGImages/{name}.jpg": None for name in names} for names in ("abxy", "cd"))
    return drawn(root, {"train": train, "test": test})


def mask(path: Path, labels: Sequence[int], size: tuple[int, int] = (12, 8)) -> None:
    """An index mask, (width, height) pixels, of these labels in columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.resize(np.array(labels, dtype=np.uint8), (size[1], size[0]))
    Image.fromarray(values).save(path)


def depth_map(path: Path, values: np.ndarray | None = None) -> None:
    """A 16-bit depth map of 12 x 8 pixels; two metres at a millimetre a unit where no values are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    depth = np.full((8, 12), 2000, dtype=np.uint16) if values is None else values
    Image.fromarray(depth).save(path)


def kitti(task: Task, root: Path) -> Truth:
    truth: Truth = {}
    for split, part, day in (("train", "train", "2011_09_26"), ("test", "val", "2011_09_28")):
        drive = f"{day}_drive_0001_sync"
        rows = [f"{day}/{drive}/image_02/data/0000000000.png None 721.5377"]
        truth[split] = {}
        for number in (5, 6):
            image = f"{day}/{drive}/image_02/data/{number:010d}.png"
            depth = f"{drive}/proj_depth/groundtruth/image_02/{number:010d}.png"
            rows.append(f"{image} {depth} 721.5377")
            depth_map(root / "data_depth_annotated" / part / depth)
            truth[split][f"raw/{image}"] = None  # type: ignore[index]
        lines(root / f"eigen_{split}_files_with_gt.txt", rows)
    return drawn(root, truth)


def nyuv2(task: Task, root: Path) -> Truth:
    truth: Truth = {}
    for split, folder, name in (("train", "sync", "sync_depth"), ("test", "official_splits/test", "sync_depth")):
        slash = "/" if split == "train" else ""
        pairs = {f"kitchen/rgb_{number:05d}.jpg": f"kitchen/{name}_{number:05d}.png" for number in range(3)}
        rows = [f"{slash}{image} {slash}{depth} 518.8579" for image, depth in pairs.items()]
        lines(root / f"nyudepthv2_{split}_files_with_gt.txt", rows)
        for depth in pairs.values():
            depth_map(root / folder / depth)
        truth[split] = {f"{folder}/{image}": None for image in pairs}
    return drawn(root, truth)


BUILDERS: dict[str, Callable[[Task, Path], Truth]] = {
    "cifar10": _cifar(
        False,
        [f"cifar-10-batches-bin/data_batch_{part}.bin" for part in range(1, 6)],
        ["cifar-10-batches-bin/test_batch.bin"],
    ),
    "cifar100": _cifar(True, ["cifar-100-binary/train.bin"], ["cifar-100-binary/test.bin"]),
    "imagenet1k": _split_folders,
    "kinetics700": _split_folders,
    "caltech101": _unsplit_folders,
    "eurosat": _unsplit_folders,
    "resisc45": _unsplit_folders,
    **{
        one.__name__: one
        for one in (
            food101, pets, flowers102, sun397, cars, dtd, aircraft, svhn, retinopathy, fer2013, ucf101, gtsrb, pcam,
            voc0712, widerface, citypersons, voc2012seg, kitti, nyuv2,
        )
    },
}  # fmt: skip
