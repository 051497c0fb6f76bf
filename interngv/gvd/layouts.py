"""Lay packs of open data out as the host libraries' own datasets read them.

* ``fashion-mnist``: the four idx files that mmpretrain's ``FashionMNIST`` reads.
* ``mnist-5k``, ``digits-8x8``: ``images/<class>/<row>.png`` and the list files ``meta/train.txt`` and ``meta/test.txt``
  (``<path> <class>`` a line) that mmpretrain's ``CustomDataset`` reads. Their packages publish no split: each class is
  halved by the sha256 of the row number, so the split is fixed and needs no random generator.
* ``tree-crowns``, ``nuclei``, ``motorcycle``: chips of one or two large pictures, with boxes, masks and depth
  (:mod:`interngv.gvd.chips`).
* ``fluent-emoji``, ``tuxpaint-stamps``: pictures with captions (:mod:`interngv.gvd.captions`). The second package is
  161 MB, most of them sounds.
* ``openmoji``: one JSON file with the names of emoji.
* ``efficientnet-lite0``: a trunk's weights, one ``.pth`` file.
* ``wordnet``: the dictionary's own files, which :class:`interngv.gvd.wordnet.WordNet` reads.

On the command line: ``python -m interngv.gvd.layouts fashion-mnist mnist-5k`` writes ``data/<name>``.
"""

import argparse
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from interngv.gvd import captions, chips, open_data

STAMP = ".prepared"
LAYOUT_VERSION = 1


def prepare(name: str, out_dir: str | os.PathLike | None = None, cache: str | os.PathLike | None = None) -> Path:
    """Fetch the pack ``name`` and write it to ``out_dir`` (default ``data/<name>``); returns that folder.

    A folder that this function finished before is left as it is. Raises OpenDataError for an unknown name, a failed
    download, a folder that exists and was not made here, or one that cannot be written.
    """
    pack = open_data.pack_facts(name)
    target = Path(out_dir) if out_dir is not None else Path("data") / name
    stamp = f"{name} {pack.sha256} layout {LAYOUT_VERSION}\n"
    if not is_finished(target, stamp):
        for other in pack.needs:
            open_data.fetch(other, cache)
        write_folder(LAYOUTS[name], open_data.fetch(name, cache), target, stamp)
    return target


def is_finished(target: Path, stamp: str) -> bool:
    """Whether a folder was written whole with this stamp; raises OpenDataError for one that was not made here."""
    if (target / STAMP).is_file():
        return (target / STAMP).read_text() == stamp
    if target.exists():
        raise open_data.OpenDataError(f"{target} exists and does not come from here: move it away to prepare the set")
    return False


def write_folder(layout: Callable[[Path, Path], None], source: Path, target: Path, stamp: str) -> None:
    """Let a layout write what it makes of ``source``; raises OpenDataError where that is not possible."""
    try:
        _write(layout, source, target, stamp)
    except OSError as error:
        raise open_data.OpenDataError(f"cannot write {target}: {error.strerror or error}") from error


def _write(layout: Callable[[Path, Path], None], source: Path, target: Path, stamp: str) -> None:
    """Write into a temporary neighbour and rename, so that a folder is whole or absent."""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        work.chmod(0o755)
        layout(source, work)
        (work / STAMP).write_text(stamp)
        if target.exists():
            shutil.rmtree(target)
        os.replace(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _copy(source: Path, out: Path) -> None:
    for path in source.iterdir():
        if path.name != open_data.FACTS:
            shutil.copy(path, out)


def _mnist_5k(source: Path, out: Path) -> None:
    table = np.loadtxt(source / "mnist_5k.csv", delimiter=",", dtype=np.float32).astype(np.uint8)
    _image_lists(table[:, :-1].reshape(-1, 28, 28), table[:, -1], out)


def _digits_8x8(source: Path, out: Path) -> None:
    table = np.loadtxt(source / "digits.csv", delimiter=",", dtype=np.float32)
    grey = (table[:, :-1] * (255 / 16)).round().astype(np.uint8)  # the package counts grey in 0..16
    _image_lists(grey.reshape(-1, 8, 8), table[:, -1].astype(np.uint8), out)


def _image_lists(images: np.ndarray, labels: np.ndarray, out: Path) -> None:
    """Write grey uint8 images ``(N, H, W)`` as PNG files and halve each class into train and test lists."""
    from PIL import Image

    lines: dict[str, list[str]] = {"train": [], "test": []}
    for label in sorted(set(labels.tolist())):
        (out / "images" / str(label)).mkdir(parents=True)
        rows = sorted(np.flatnonzero(labels == label).tolist(), key=_row_key)
        for rank, row in enumerate(rows):
            name = f"{label}/{row:05d}.png"
            Image.fromarray(images[row]).save(out / "images" / name)
            lines["train" if 2 * rank < len(rows) else "test"].append(f"{name} {label}\n")
    (out / "meta").mkdir()
    for split, rows_of_split in lines.items():
        (out / "meta" / f"{split}.txt").write_text("".join(sorted(rows_of_split)))


def _row_key(row: int) -> str:
    return hashlib.sha256(str(row).encode()).hexdigest()


LAYOUTS: dict[str, Callable[[Path, Path], None]] = {
    "fashion-mnist": _copy,
    "mnist-5k": _mnist_5k,
    "digits-8x8": _digits_8x8,
    "tree-crowns": chips.tree_crowns,
    "nuclei": chips.nuclei,
    "motorcycle": chips.motorcycle,
    "efficientnet-lite0": _copy,
    "wordnet": _copy,
    "openmoji": _copy,
    "fluent-emoji": captions.fluent_emoji,
    "tuxpaint-stamps": captions.tuxpaint_stamps,
}


def main() -> None:
    """Prepare the named packs below ``data/`` of the current directory."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(LAYOUTS))
    for name in parser.parse_args().names:
        try:
            print(prepare(name))
        except open_data.OpenDataError as error:
            raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
