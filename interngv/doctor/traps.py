"""The known traps of an installation, read from its metadata; each names the command that repairs it."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from interngv import compat

PIP = f"{sys.executable} -m pip"
TORCH = ">=2.4,<2.14"
TRANSFORMERS = ">=4.53,<5"


@dataclass(frozen=True)
class Trap:
    """One fault of the installation and the shell command that repairs it."""

    fault: str
    repair: str


def known_traps() -> list[Trap]:
    """Every trap this installation is in, the ones that others follow from first."""
    checks = (_both_families, _missing_files, _operators, _torch, _torchvision, _opencv, _transformers)
    return [trap for check in checks for trap in check()]


def build_mmcv_command() -> str:
    """The command that installs mmcv with its operators, from the checkout or the installed wheel."""
    package = Path(compat.__file__).parent
    places = (package / ".mim" / "tools" / "build_mmcv.py", package.parent / "tools" / "build_mmcv.py")
    return f"{sys.executable} {next((place for place in places if place.exists()), places[-1])}"


def _reinstall(distributions: list[str]) -> str:
    others = [f"{name}=={compat.version(name)}" for name in distributions if name != "onedl-mmcv"]
    commands = [f"{PIP} install --no-deps --force-reinstall {' '.join(others)}"] if others else []
    commands += [build_mmcv_command()] if "onedl-mmcv" in distributions else []
    return " && ".join(commands)


def _both_families() -> Iterator[Trap]:
    if compat.family() != "both":
        return
    forks = [fork for fork, _ in compat.HOSTS.values() if compat.version(fork)]
    upstream = [name for _, name in compat.HOSTS.values() if compat.version(name)]
    fault = f"two families of mm* are installed over each other: {', '.join(forks)} and {', '.join(upstream)}"
    yield Trap(fault, f"{PIP} uninstall -y {' '.join(upstream)} && {_reinstall(forks)}")


def _missing_files() -> Iterator[Trap]:
    broken = [pair for host, pair in compat.HOSTS.items() if compat.family(host) != "none" and not _has_files(host)]
    names = [name for pair in broken for name in pair if compat.version(name)]
    if names and compat.family() != "both":
        fault = f"the files of {', '.join(names)} are gone, as after an uninstall of the other family"
        yield Trap(fault, _reinstall(names))


def _has_files(host: str) -> bool:
    spec = compat.spec(host)
    return spec is not None and spec.origin is not None


def _operators() -> Iterator[Trap]:
    if compat.family("mmcv") == "none" or compat.has_operators() or not _has_files("mmcv"):
        return
    fault = "mmcv was installed without its compiled operators, so mmdet does not import"
    flags = "--no-build-isolation --no-cache-dir --no-deps --force-reinstall --no-binary mmcv"
    upstream = f"{PIP} install {flags} mmcv=={compat.version('mmcv')}"
    yield Trap(fault, upstream if compat.family("mmcv") == "upstream" else build_mmcv_command())


def _torch() -> Iterator[Trap]:
    if (torch := compat.version("torch")) and not _satisfies(torch, TORCH):
        yield Trap(
            f"torch {torch} is outside {TORCH}, for which mmcv's operators compile", f"{PIP} install 'torch{TORCH}'"
        )


def _torchvision() -> Iterator[Trap]:
    torch, wanted = compat.version("torch"), _wants("torchvision", "torch")
    if torch and wanted and not _satisfies(torch.partition("+")[0], wanted):
        fault = f"torchvision {compat.version('torchvision')} is the pair of torch{wanted}, not of torch {torch}"
        yield Trap(fault, f"{PIP} install torch=={torch.partition('+')[0]} torchvision")


def _opencv() -> Iterator[Trap]:
    names = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
    found = {name: version for name in names if (version := compat.version(name))}
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{name} {version}" for name, version in found.items())
        oldest = min(found.values(), key=lambda text: [int(part) for part in text.split(".") if part.isdigit()])
        same = " ".join(f"{name}=={oldest}" for name in found)
        yield Trap(
            f"variants of OpenCV share one folder but differ: {listed}", f"{PIP} install --force-reinstall {same}"
        )
    numpy = compat.version("numpy")
    for name, version in found.items():
        wanted = _wants(name, "numpy")
        if numpy and wanted and not _satisfies(numpy, wanted):
            fault = f"{name} {version} was built for numpy{wanted}, installed is numpy {numpy}"
            yield Trap(fault, f"{PIP} install 'numpy{wanted}'")
            return


def _transformers() -> Iterator[Trap]:
    installed = compat.version("transformers")
    if installed and compat.version("onedl-mmpretrain") and not _satisfies(installed, TRANSFORMERS):
        fault = f"transformers {installed} breaks `import mmpretrain.models`"
        yield Trap(fault, f"{PIP} install 'transformers{TRANSFORMERS}'")


def _wants(distribution: str, other: str) -> str:
    """What ``distribution`` requires of ``other`` on this Python, as a specifier; '' where nothing."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return ""
    found = [one for one in map(Requirement, lines) if one.name == other]
    met = [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]
    return ",".join(sorted(str(one.specifier) for one in met if str(one.specifier)))


def _satisfies(version: str, specifier: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(version, prereleases=True)
