"""Names the file when a data set's picture cannot be read.

Depending on the library and its version an unreadable picture shows as an attribute error inside a transform, as a
message without a path, or as endless retries with other samples.
"""

from pathlib import Path
from typing import Any

from mmengine.dataset import Compose

from interngv.errors import UserError

_PATH_KEYS = ("img_path", "seg_map_path", "depth_map_path", "gt_path")


class UnreadablePicture(UserError):
    """A file of a data set that cannot be decoded; the message names the file."""


class NamingCompose(Compose):
    """A pipeline that, when it fails or gives nothing, looks whether the sample's files are at fault."""

    def __init__(self, pipeline: Compose) -> None:
        self.transforms = pipeline.transforms

    def __call__(self, data: dict) -> dict | None:
        paths = [str(data[key]) for key in _PATH_KEYS if data.get(key)]
        try:
            result = super().__call__(data)
        except Exception as error:
            _blame(paths, error)
            raise
        if result is None:
            _blame(paths, None)
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
    """Say what is wrong with a picture file, or None where it can be decoded or is not a local file's path."""
    if "://" in path:
        return None
    if not Path(path).is_file():
        return "does not exist"
    data = Path(path).read_bytes()
    if not data:
        return "is empty (0 bytes)"
    import cv2
    import numpy as np

    if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is not None:
        return None
    return f"cannot be decoded as a picture ({len(data)} bytes)" if not _pil_reads(path) else None


def _pil_reads(path: str) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def _blame(paths: list[str], cause: Exception | None) -> None:
    for path in paths:
        reason = fault(path)
        if reason:
            raise UnreadablePicture(f"picture {path} {reason}; mend or remove it") from cause
