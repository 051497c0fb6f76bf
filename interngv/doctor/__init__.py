"""``interngv doctor``: what is installed, what of it really works, and the known traps with their repairs.

Everything that may crash runs in a process of its own, so a broken library is a line of the report. Exit status 0 only
where all that the installed libraries promise works and no trap is found.
"""

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from interngv import compat
from interngv.doctor.traps import PIP, Trap, build_mmcv_command, known_traps
from interngv.version import __version__

LIMIT_S = 180
MM = f"{PIP} install 'interngv[mm]' && {build_mmcv_command()}"
# probe -> (its name in the report, the host library that promises it: None stands for interngv itself)
PROMISES = {
    "trunk": ("trunk", None),
    "classify": ("classify", "mmpretrain"),
    "detect": ("detect", "mmdet"),
    "segment": ("segment", "mmseg"),
    "depth": ("depth", "mmseg"),
    "two_processes": ("two processes", None),
    "gpu": ("GPU", None),
}
STACKS = {
    "fork": "maintained forks (onedl-*), the tested set",
    "upstream": "upstream OpenMMLab, best effort",
    "both": "two families over each other",
    "none": "no mm* library",
}


@dataclass(frozen=True)
class Finding:
    """One line of "what works": ``status`` is ``works``, ``fails`` or ``absent`` (nobody promised it)."""

    name: str
    status: str
    detail: str


def report() -> int:
    """Print the whole report and return the exit status."""
    print("\n".join([*_versions(), *_extras()]), flush=True)
    print("what works (each is tried, about a minute in all)", flush=True)
    found = findings()
    for one in found:
        print(f"  {one.name:<14}{one.status:<8}{one.detail}")
    known = known_traps()
    print("traps" if known else "traps: none")
    for trap in known:
        print(f"  {trap.fault}\n    repair: {trap.repair}")
    return exit_status(found, known)


def exit_status(found: list[Finding], known: list[Trap]) -> int:
    """0 where nothing that was promised fails and no trap is known, else 1."""
    return int(bool(known) or any(one.status == "fails" for one in found))


def findings() -> list[Finding]:
    """Try everything, as many at a time as there are cores."""
    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, 4))) as pool:
        return list(pool.map(_try, PROMISES))


def _try(probe: str) -> Finding:
    name, host = PROMISES[probe]
    if host and compat.family(host) == "none":
        return Finding(name, "absent", f"{host} is not installed: {MM}")
    if probe == "gpu" and (reason := _no_gpu()):
        return Finding(name, "absent", reason)
    command = [sys.executable, "-W", "ignore", "-m", "interngv.doctor.probes", probe]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return Finding(name, "fails", f"no answer within {LIMIT_S} s")
    text = (done.stdout if done.returncode == 0 else done.stderr).strip()
    last = text.splitlines()[-1] if text else f"ended with status {done.returncode} without a word"
    return Finding(name, "fails" if done.returncode else "works", last)


def _no_gpu() -> str:
    """Why no GPU is promised, '' where one is."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return "no NVIDIA device on this machine"
    build = compat.version("torch") or ""
    return f"there is a device, but torch {build} is a CPU build" if build.endswith("+cpu") else ""


def _versions() -> list[str]:
    names = ["torch", "torchvision", *(name for pair in compat.HOSTS.values() for name in pair), "numpy"]
    names += ["opencv-python", "opencv-python-headless", "transformers", "timm"]
    lines = [f"interngv {__version__}, Python {platform.python_version()}, {platform.platform()}"]
    lines += [f"  {name:<24}{version}" for name in names if (version := compat.version(name))]
    lines.append(f"stack: {STACKS[compat.family()]}; mmcv's operators: {'yes' if compat.has_operators() else 'no'}")
    return [*lines, f"torchvision: {_torchvision()}"]


def _torchvision() -> str:
    if compat.version("torchvision") is None:
        return "absent"
    question = "from interngv.compat import torchvision_is_whole as whole; raise SystemExit(not whole())"
    if subprocess.run([sys.executable, "-W", "ignore", "-c", question], capture_output=True).returncode == 0:
        return "whole"
    return "built for another torch; transforms, models and data sets work, torchvision.ops raises (use mmcv.ops)"


def _extras() -> list[str]:
    """One line an extra: which of its requirements are missing."""
    try:
        required = metadata.requires("interngv") or []
    except metadata.PackageNotFoundError:
        return ["extras: interngv is not installed as a distribution (pip install -e . --no-deps)"]
    hosts = {name for pair in compat.HOSTS.values() for name in pair}
    lines = []
    for extra in ("mm", "openmmlab", "dev"):
        names = [_name(line) for line in required if f'extra == "{extra}"' in line.replace("'", '"')]
        own = [name for name in names if name in hosts] or names  # the two mm* sets share the rest
        missing = [name for name in own if compat.version(name) is None]
        state = "complete" if not missing else f"without {', '.join(missing)}" if len(missing) < len(own) else "absent"
        lines.append(f"extra {extra}: {state}")
    return lines


def _name(requirement: str) -> str:
    end = next((at for at, letter in enumerate(requirement) if letter in " <>=!~;[("), len(requirement))
    return requirement[:end]
