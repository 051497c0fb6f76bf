"""Names the file when a data set's picture cannot be read.

Depending on the library and its version an unreadable picture shows as an attribute error inside a transform, as a
message without a path, or as endless retries with other samples.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.dataset import Compose

from interngv.engine.preflight import is_local
from interngv.errors import UserError

_PATH_KEYS = ("img_path", "seg_map_path", "depth_map_path", "gt_path")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".jp2")


class UnreadablePicture(UserError):
    """A file of a data set that cannot be decoded; the message names the file."""


class NamingCompose(Compose):
    """A pipeline that, when it fails or gives nothing, looks whether the sample's pictures are at fault.

    A pipeline may give nothing for a good picture (a random crop without objects) and fail for other reasons: then
    everything stays as it is. Pictures are looked at where all transforms read plain files.
    """

    def __init__(self, pipeline: Compose) -> None:
        self.transforms = pipeline.transforms
        readers = list(_readers(pipeline))
        self._local = all(map(is_local, readers))
        self._may_lack = any(reader.get("ignore_empty") for reader in readers)

    def __call__(self, data: dict) -> dict | None:
        pictures = _pictures(data) if self._local else []
        try:
            result = super().__call__(data)
        except Exception as error:
            _blame(pictures, error)
            raise
        if result is None and not self._may_lack:
            _blame(pictures, None)
        return result


class NamesPictures:
    """Mix-in for mmengine's runners: every data loader's pipeline becomes a :class:`NamingCompose`."""

    def build_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        """Build as the runner does, then replace the pipelines, before any worker process starts."""
        loader = super().build_dataloader(*args, **kwargs)  # type: ignore[misc]
        name_pictures(loader.dataset)
        return loader


def name_pictures(dataset: Any) -> None:
    """Replace the pipeline of a data set and of those that it wraps."""
    if type(getattr(dataset, "pipeline", None)) is Compose:
        dataset.pipeline = NamingCompose(dataset.pipeline)
    inner = [*(getattr(dataset, "datasets", None) or []), getattr(dataset, "dataset", None)]
    for one in inner:
        if one is not None:
            name_pictures(one)


def fault(path: str) -> str | None:
    """Say what is wrong with a picture file, or None where it can be decoded or is not a local picture's path."""
    if "://" in path or Path(path).suffix.lower() not in _SUFFIXES:
        return None
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    if not data:
        return "is empty (0 bytes)"
    import cv2
    import numpy as np

    if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is not None or _pil_reads(path):
        return None
    return f"cannot be decoded as a picture ({len(data)} bytes)"


def _pil_reads(path: str) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def _readers(pipeline: Compose) -> Iterator[dict]:
    """The attributes of all transforms, also of those inside others."""
    for transform in pipeline.transforms:
        yield getattr(transform, "__dict__", {})
        inner = getattr(transform, "transforms", [])
        for one in inner if isinstance(inner, list | tuple) else [inner]:
            yield from _readers(one) if hasattr(one, "transforms") else [getattr(one, "__dict__", {})]


def _pictures(data: dict) -> list[tuple[str, str]]:
    """The sample's files with the keys that name them."""
    values = [(key, data.get(key)) for key in _PATH_KEYS]
    several = [(key, value if isinstance(value, list | tuple) else [value]) for key, value in values]
    return [(key, str(path)) for key, paths in several for path in paths if isinstance(path, str | Path)]


def _blame(pictures: list[tuple[str, str]], cause: Exception | None) -> None:
    for key, path in pictures:
        # Data sets also name label maps that this pipeline never opens.
        is_opened = key == "img_path" or isinstance(cause, FileNotFoundError) or Path(path).exists()
        reason = fault(path) if is_opened else None
        if reason:
            raise UnreadablePicture(f"picture {path} {reason}; mend or remove it") from cause
