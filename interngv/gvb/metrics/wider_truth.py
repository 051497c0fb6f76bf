"""Ground truth of WIDER FACE's validation set, as the official evaluation ships it (MATLAB files)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interngv.errors import UserError

LEVELS = ("easy", "medium", "hard")
_FACES = "wider_face_val.mat"
_LEVEL = "wider_{}_val.mat"


@dataclass(frozen=True)
class Faces:
    """The faces of one picture.

    Attributes:
        boxes: (n, 4) x1, y1, x2, y2 in pixels, with x2 = x1 + width as the official code has it.
        counted: (n, 3) whether a face counts at each of ``LEVELS``; the others count neither way.
    """

    boxes: np.ndarray
    counted: np.ndarray


def read_faces(folder: str | Path) -> dict[str, Faces]:
    """Faces by the stem of the picture's file name (``0_Parade_marchingband_1_849``).

    ``folder`` holds ``wider_face_val.mat`` and ``wider_{easy,medium,hard}_val.mat`` of the official evaluation tools.
    MATLAB's file format holds arrays only: no code runs from it.

    Raises:
        UserError: a file is missing or cannot be read, a level names a face that is not there, a picture stands twice.
    """
    faces = _load(Path(folder, _FACES))
    pictures = list(_cells(faces, "face_bbx_list", Path(folder, _FACES)))
    names = [str(name.item()) for name in _cells(faces, "file_list", Path(folder, _FACES))]
    levels = [list(_cells(_load(path), "gt_list", path)) for path in (Path(folder, _LEVEL.format(x)) for x in LEVELS)]
    if len({len(names), len(pictures), *map(len, levels)}) > 1 or len(set(names)) < len(names):
        raise UserError(f"{folder}: the files do not list the same pictures, each once")
    return {
        name: _faces(f"{folder}: {name}", boxes, [level[index] for level in levels])
        for index, (name, boxes) in enumerate(zip(names, pictures, strict=True))
    }


def _faces(name: str, boxes: np.ndarray, numbers: list[np.ndarray]) -> Faces:
    corners = boxes.reshape(-1, 4).astype(np.float64)
    corners[:, 2:] += corners[:, :2]
    counted = np.zeros((len(corners), len(LEVELS)), dtype=bool)
    for level, ones in enumerate(numbers):
        rows = ones.reshape(-1).astype(np.int64) - 1  # MATLAB counts from one
        if rows.size and not 0 <= rows.min() <= rows.max() < len(corners):
            raise UserError(f"{name}: level {LEVELS[level]} names face {rows.max() + 1} of {len(corners)}")
        counted[rows, level] = True
    return Faces(corners, counted)


def _cells(content: Mapping[str, Any], key: str, path: Path) -> Iterator[np.ndarray]:
    """The cells of an event's cell arrays, one event after the other."""
    if key not in content:
        raise UserError(f"{path} has no '{key}': expected the file of WIDER FACE's evaluation tools")
    for event in content[key].reshape(-1):
        yield from event.reshape(-1)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        from scipy.io.matlab import MatReadError, loadmat
    except ImportError as error:
        raise UserError("WIDER FACE's ground truth is read with scipy: pip install scipy") from error
    if not path.is_file():
        raise UserError(
            f"{path} is missing: unpack ground_truth of the evaluation tools (eval_tools.zip) of "
            "http://shuoyang1213.me/WIDERFACE there"
        )
    try:
        return loadmat(path)
    except (MatReadError, ValueError, TypeError, KeyError, OSError, EOFError, NotImplementedError) as error:
        raise UserError(f"{path} cannot be read as a MATLAB file: {error}") from error
