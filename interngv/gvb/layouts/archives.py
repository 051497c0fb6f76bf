"""Official archives of classification sets that hold no plain pictures or lists, as pictures and list files.

A conversion gives, split by split, the lines of ``lists/<split>.txt`` (path below the root, class number from 0) and
writes the pictures that the lines name as lossless PNG. :func:`convert` writes the lists last, so that a set is
converted whole or not at all.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interngv.errors import UserError
from interngv.gvb.layouts.base import write_whole

Line = tuple[str, int]
Lists = Iterator[tuple[str, Iterator[Line]]]


def convert(name: str, root: Path) -> list[Path]:
    """Run the conversion ``name`` in ``root``; returns the lists that it wrote.

    Raises:
        UserError: the official files are not there or not of the official form, or a package that reads them is
            missing.
    """
    written = []
    try:
        lists = {split: _text(lines) for split, lines in CONVERSIONS[name](root)}
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise UserError(f"{name}: the official files in {root} cannot be read: {error!r}") from error
    for split, text in lists.items():
        target = root / "lists" / f"{split}.txt"
        target.parent.mkdir(exist_ok=True)
        write_whole(target, text.encode())
        written.append(target)
    return written


def cifar10(root: Path) -> Lists:
    """Records of the class and 3,072 bytes, in five training files and a test file."""
    folder = root / "cifar-10-batches-bin"
    yield "train", _cifar([folder / f"data_batch_{part}.bin" for part in range(1, 6)], 1, root, "train")
    yield "test", _cifar([folder / "test_batch.bin"], 1, root, "test")


def cifar100(root: Path) -> Lists:
    """Records of the coarse class, the fine class and 3,072 bytes."""
    for split in ("train", "test"):
        yield split, _cifar([root / "cifar-100-binary" / f"{split}.bin"], 2, root, split)


def svhn(root: Path) -> Lists:
    """MATLAB arrays of 32 x 32 pictures; the digit 0 has the class 10."""
    for split in ("train", "test"):
        said = matlab(root / f"{split}_32x32.mat")
        pictures = said["X"].transpose(3, 0, 1, 2)
        yield split, _written(pictures, said["y"].ravel() % 10, root, split)


def fer2013(root: Path) -> Lists:
    """One csv of 48 x 48 grey pictures as numbers, for the usages Training, PublicTest and PrivateTest."""
    usages = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}
    for split, usage in usages.items():
        yield split, _fer2013(root, split, usage)


def pcam(root: Path) -> Lists:
    """HDF5 arrays of 96 x 96 pictures."""
    for split, part in (("train", "train"), ("val", "valid"), ("test", "test")):
        stem = root / f"camelyonpatch_level_2_split_{part}"
        with _hdf5(f"{stem}_x.h5") as pictures, _hdf5(f"{stem}_y.h5") as labels:
            yield split, _written(pictures["x"], labels["y"][:].ravel(), root, split)


def flowers102(root: Path) -> Lists:
    """MATLAB vectors of classes from 1 and of picture numbers; INTERN trains on train and val together."""
    labels = matlab(root / "imagelabels.mat")["labels"].ravel()
    parts = matlab(root / "setid.mat")
    for split, names in (("train", ("trnid", "valid")), ("test", ("tstid",))):
        numbers = np.concatenate([parts[name].ravel() for name in names]).tolist()
        yield split, ((f"jpg/image_{number:05d}.jpg", int(labels[number - 1]) - 1) for number in numbers)


def cars(root: Path) -> Lists:
    """MATLAB structures with a picture's name and its class from 1."""
    for split, file in (("train", "cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = matlab(root / "devkit" / file)["annotations"].ravel()
        yield split, ((f"cars_{split}/{row['fname'].item()}", int(row["class"].item()) - 1) for row in rows)


def gtsrb(root: Path) -> Lists:
    """Folders of numbered classes for training, a table apart by semicolons for the test."""
    folder = root / "GTSRB"
    pictures = sorted((folder / "Training").glob("*/*.ppm"))
    yield "train", ((path.relative_to(root).as_posix(), int(path.parent.name)) for path in pictures)
    tables = [root / "GT-final_test.csv", folder / "GT-final_test.csv"]
    with next((table for table in tables if table.is_file()), tables[0]).open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    yield "test", ((f"GTSRB/Final_Test/Images/{row['Filename']}", int(row["ClassId"])) for row in rows)


CONVERSIONS: dict[str, Callable[[Path], Lists]] = {
    one.__name__: one for one in (cifar10, cifar100, svhn, fer2013, pcam, flowers102, cars, gtsrb)
}


def _text(lines: Iterator[Line]) -> str:
    return "".join(f"{path} {label}\n" for path, label in lines)


def _cifar(files: Sequence[Path], labels: int, root: Path, split: str) -> Iterator[Line]:
    records = np.concatenate([np.fromfile(file, np.uint8).reshape(-1, labels + 3072) for file in files])
    pictures = records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return _written(pictures, records[:, labels - 1], root, split)


def _fer2013(root: Path, split: str, usage: str) -> Iterator[Line]:
    with (root / "fer2013.csv").open(newline="") as file:
        rows = (row for row in csv.DictReader(file) if row["Usage"] == usage)
        for number, row in enumerate(rows):
            picture = np.array(row["pixels"].split(), dtype=np.uint8).reshape(48, 48)
            yield _write_picture(picture, root, split, number), int(row["emotion"])


def _written(pictures: Any, labels: np.ndarray, root: Path, split: str) -> Iterator[Line]:
    """Write pictures (N, H, W, 3) one by one, for they may lie in a file that is larger than memory."""
    for number in range(len(labels)):
        yield _write_picture(np.ascontiguousarray(pictures[number]), root, split, number), int(labels[number])


def _write_picture(picture: np.ndarray, root: Path, split: str, number: int) -> str:
    from PIL import Image

    name = f"images/{split}/{number // 1000:03d}/{number:06d}.png"
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(root / name)
    return name


def matlab(file: Path) -> dict[str, Any]:
    """The variables of a MATLAB file; raises OSError or ValueError, and UserError where scipy is missing."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise UserError(f"{file} is a MATLAB file, which needs scipy: pip install scipy") from error
    return loadmat(str(file))


def _hdf5(file: str) -> Any:
    try:
        from h5py import File
    except ImportError as error:
        raise UserError(f"{file} is an HDF5 file, which needs h5py: pip install h5py") from error
    return File(file, "r")
