"""What this installation can do, and the one repair it may need: a CPU torch beside PyPI's torchvision.

Nothing here imports a host library; questions are answered from the metadata and files of the installation, so they
are cheap and have an answer where an import would crash. ``interngv doctor`` really tries what is promised.
"""

import sys
from importlib import machinery, metadata, util
from pathlib import Path

# import name -> distribution of the maintained fork, distribution of upstream
HOSTS = {
    "mmengine": ("onedl-mmengine", "mmengine"),
    "mmcv": ("onedl-mmcv", "mmcv"),
    "mmpretrain": ("onedl-mmpretrain", "mmpretrain"),
    "mmdet": ("onedl-mmdetection", "mmdet"),
    "mmseg": ("onedl-mmsegmentation", "mmsegmentation"),
}

_declared: list[object] = []  # the library object must live as long as the process


def version(distribution: str) -> str | None:
    """Version of an installed distribution, None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def family(host: str | None = None) -> str:
    """Which mm* libraries there are: ``fork``, ``upstream``, ``both`` (a fault) or ``none``; of one host or of all."""
    pairs = [HOSTS[host]] if host else list(HOSTS.values())
    fork = any(version(pair[0]) for pair in pairs)
    upstream = any(version(pair[1]) for pair in pairs)
    return "both" if fork and upstream else "fork" if fork else "upstream" if upstream else "none"


def spec(package: str) -> machinery.ModuleSpec | None:
    """Where an import of a top-level package would find it; None where it is missing or blocked. Does not import it."""
    try:
        return util.find_spec(package)
    except (ImportError, ValueError):
        return None


def extension(package: str, name: str) -> Path | None:
    """The compiled module ``package.name``; None where the package or the file is missing. Imports neither."""
    found = spec(package)
    inner = machinery.PathFinder.find_spec(name, list(found.submodule_search_locations or ())) if found else None
    return Path(inner.origin) if inner and inner.origin else None


def has_operators() -> bool:
    """Whether mmcv was built with its compiled operators (whether they load is for ``interngv doctor`` to try)."""
    return extension("mmcv", "_ext") is not None


def torchvision_is_whole() -> bool:
    """Whether torchvision's compiled operators load beside this torch; False too where there is no torchvision."""
    import torch

    library = extension("torchvision", "_C")
    if library is None:
        return False
    try:
        torch.ops.load_library(str(library))  # what torchvision does itself; the second time costs nothing
    except OSError:  # built for another torch: a CUDA build beside a CPU torch, or another release
        return False
    return True


def repair_torchvision() -> bool:
    """Let torchvision be imported where its operators do not load; returns whether that was needed.

    torchvision asks at import for the schemas of two operators. Declaring them makes transforms, models and data sets
    work; calling the operators themselves then raises. It must run before the first import of torchvision in every
    process, so ``import interngv`` does it. Does nothing where torchvision is whole, absent or already imported.
    """
    if _declared:
        return True
    if "torchvision" in sys.modules or spec("torchvision") is None or torchvision_is_whole():
        return False
    import torch

    if hasattr(torch.ops.torchvision, "nms"):  # somebody else declared them
        return False
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return True


def is_command_line() -> bool:
    """Whether this is the ``interngv`` command, which starts without torch and must report on broken libraries."""
    command = Path(sys.argv[0] if sys.argv else "")
    return command.stem == "interngv" and command.parent.resolve() == Path(sys.executable).parent.resolve()
