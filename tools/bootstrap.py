"""Create .venv with the pinned set and mmcv's compiled operators: python3 tools/bootstrap.py [--no-operators].

Needs Python >= 3.11 with its headers, a C++ compiler and the package registries, nothing else. Safe to repeat and to
interrupt: a stamp in .venv is written last and covers everything the set-up depends on.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

import build_mmcv

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "interngv.stamp"
INSTALLING = VENV / "interngv.installing"
VERSION = "%d.%d" % sys.version_info[:2]
BUILD_TOOLS = ["pip", "setuptools", "wheel", "packaging", "ninja", "psutil"]


def fail(message: str) -> None:
    sys.exit(f"bootstrap: {message}")


def say(message: str) -> None:
    print(f"bootstrap: {message}", flush=True)


def run(*command: object) -> int:
    return subprocess.run([str(part) for part in command], cwd=ROOT).returncode


def pip_install(what: str, *arguments: object) -> None:
    """Install at the pinned versions. A pip that is killed leaves a mark, and the next run begins anew."""
    say(f"installing {what}")
    INSTALLING.touch()
    code = run(PYTHON, "-m", "pip", "install", "-qq", "-c", REQUIREMENTS / "constraints.txt", *arguments)
    if code < 0:
        fail(f"pip was killed while it installed {what}; repeat: .venv will be made anew")
    INSTALLING.unlink()
    if code:
        fail(f"pip could not install {what} (its message stands above); what is installed so far is kept: repeat")


def stamp(operators: bool) -> str:
    """Digest of all that .venv is made from; it is current exactly where the stamp file holds the same."""
    digest = hashlib.sha256(f"{sys.version} {ROOT} {operators}".encode())
    for path in [*sorted(REQUIREMENTS.glob("*.txt")), ROOT / "setup.py", *sorted(Path(__file__).parent.glob("b*.py"))]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def is_current(operators: bool) -> bool:
    return STAMP.exists() and PYTHON.exists() and STAMP.read_text() == stamp(operators)


def check_machine(operators: bool) -> None:
    """Refuse now, with the command that helps, what would fail minutes later."""
    if subprocess.run([sys.executable, "-c", "import venv, ensurepip"], capture_output=True).returncode:
        fail(f"this Python cannot make virtual environments; on Debian: apt-get install python{VERSION}-venv")
    cached = any(build_mmcv.wheel_cache().glob(build_mmcv.wheel_key("*", "*") + "/*.whl"))
    if operators and not cached and (missing := build_mmcv.missing_tool()):
        fail(f"mmcv's operators cannot be compiled: {missing}; without detection: tools/bootstrap.py --no-operators")


def make_venv() -> None:
    """Create .venv, or keep one that works; a half-made, moved or copied one is made anew."""
    pip = VENV / "bin" / "pip"
    answer = subprocess.run([str(pip), "--version"], capture_output=True, text=True).stdout if pip.exists() else ""
    works = f"from {VENV}/" in answer and f"(python {VERSION})" in answer
    if INSTALLING.exists() or not works:
        say("creating .venv")
        if run(sys.executable, "-m", "venv", "--clear", VENV):
            fail("Python's venv module could not create .venv; its message stands above")


def install(operators: bool) -> None:
    pip_install("the build tools", "--upgrade", *BUILD_TOOLS)
    pip_install("torch (0.2 to 3 GB)", "-r", REQUIREMENTS / "runtime.txt")
    if operators and run(PYTHON, ROOT / "tools" / "build_mmcv.py"):
        fail("mmcv's operators could not be installed; the reason stands above")
    pip_install("the host libraries and tools", "-r", REQUIREMENTS / "mm.txt", "-r", REQUIREMENTS / "dev.txt")
    # Both variants of OpenCV are required by name and share a folder: the one without a display comes last and wins.
    pip_install("OpenCV without a display", "--no-deps", "--force-reinstall", "opencv-python-headless")
    pip_install("interngv itself", "--no-deps", "--no-build-isolation", "-e", ROOT)
    if operators and run(PYTHON, ROOT / "tools" / "build_mmcv.py", "--check"):
        fail("mmcv's operators do not work; the reason stands above")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--no-operators", action="store_true", help="no C++ compiler: everything but detection")
    operators = not parser.parse_args().no_operators
    if sys.version_info < (3, 11):
        fail(f"needs Python >= 3.11, this is {VERSION}; on Debian: apt-get install python3.11-venv")
    if is_current(operators):
        return
    check_machine(operators)
    make_venv()
    STAMP.unlink(missing_ok=True)
    install(operators)
    STAMP.write_text(stamp(operators))
    say(f"done: {PYTHON}")


if __name__ == "__main__":
    main()
