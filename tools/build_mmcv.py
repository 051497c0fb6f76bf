"""Install mmcv with its compiled operators into the running Python: .venv/bin/python tools/build_mmcv.py.

Needs torch, ninja, setuptools >= 80, a C++ compiler and Python's headers. What is compiled is kept as a wheel in the
user's cache, so it is compiled once per (mmcv, torch, Python, platform, cpu or CUDA). With g++ and no GPU, torch's
headers are compiled once for all source files, which takes a quarter of the time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

MMCV = "2.3.6"
COMPILER = os.environ.get("CXX", "c++")  # the choice of torch's extension builder
CFLAGS = "-DNDEBUG -fwrapv -g0 -O2 -w"  # replaces Python's own flags, so stated in full
HEADER_FLAGS = ["-fPIC", "-std=c++17", "-DTORCH_API_INCLUDE_EXTENSION_H", "-DTORCH_EXTENSION_NAME=_ext"]
TRY_OPERATORS = """import torch, mmcv.ops
boxes = torch.tensor([[0., 0., 4., 4.], [0., 0., 4., 3.9]])
raise SystemExit(len(mmcv.ops.nms(boxes, torch.tensor([.9, .8]), 0.5)[1]) != 1)"""


def say(message: str) -> None:
    print(f"build_mmcv: {message}", flush=True)


def output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout if shutil.which(command[0]) else ""


def wheel_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "interngv" / "wheels"


def wheel_key(torch_version: str, flavour: str) -> str:
    """Name of the cache folder of one compiled mmcv: everything its binary depends on."""
    platform = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    return f"mmcv{MMCV}-{platform}-torch{torch_version}-{flavour}"


def missing_tool() -> str:
    """What a compilation lacks, with Debian's command that brings it; '' where nothing is missing."""
    if shutil.which(COMPILER) is None:
        return f"no C++ compiler ('{COMPILER}'); on Debian: apt-get install g++"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "no Python headers (Python.h); on Debian: apt-get install python%d.%d-dev" % sys.version_info[:2]
    return ""


def cuda_flavour(cuda: str | None, home: str | None, has_gpu: bool) -> str:
    """'cu130' where there is a GPU and nvcc of the release that torch was built with, else 'cpu'."""
    if not (cuda and has_gpu):
        return "cpu"
    if f"release {cuda}," in output_of(str(Path(home or "", "bin", "nvcc")), "--version"):
        return f"cu{cuda.replace('.', '')}"
    say(f"no nvcc of CUDA {cuda}, which torch was built with: mmcv's operators will run on the CPU only")
    return "cpu"


def precompiled_header(folder: Path, includes: list[str]) -> str:
    """The flag by which all files share torch's headers, compiled once; '' where the compiler is not g++."""
    if "Free Software Foundation" not in output_of(COMPILER, "--version"):
        return ""
    header = folder / "mmcv_torch.hpp"
    header.write_text("#include <torch/types.h>\n")
    paths = [f"-I{path}" for path in [*includes, sysconfig.get_path("include")]]
    command = [COMPILER, *CFLAGS.split(), *HEADER_FLAGS, *paths, "-x", "c++-header", str(header), "-o", f"{header}.gch"]
    return "" if subprocess.run(command, capture_output=True).returncode else f" -include {header}"


def pip_wheel(folder: str, environment: dict[str, str], log: Path) -> int:
    """Run pip's build, write what it prints to ``log`` and tell every 13th of mmcv's 78 files; returns its status."""
    # An isolated build finds no torch and leaves the operators out without a word; pip's cache does not know torch.
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-build-isolation", "--no-deps", "--no-cache-dir"]
    command += ["--no-binary", "onedl-mmcv", "-w", folder, f"onedl-mmcv=={MMCV}"]
    build = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with log.open("w") as file, build:
        for line in build.stdout or ():
            file.write(line)
            step = re.match(r"\s*\[(\d+)/(\d+)\]", line)
            if step and int(step[1]) % 13 == 0:
                say(f"  {step[1]} of {step[2]} files")
    return build.returncode


def compile_wheel(target: Path, flavour: str, includes: list[str]) -> None:
    """Build mmcv against the installed torch and put the wheel into ``target``, in one move."""
    jobs = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 2)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # ninja is beside python
    environment = {**os.environ, "MAX_JOBS": str(jobs), "PATH": path}
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if flavour == "cpu":
            header = precompiled_header(Path(folder), includes)
            environment.update(CFLAGS=CFLAGS + header, CUDA_VISIBLE_DEVICES="")
            minutes = (4 if header else 16) / jobs
        else:
            environment.update(FORCE_CUDA="1")
            minutes = 60 / jobs
        say(f"compiling mmcv's operators ({flavour}), about {max(minutes, 1):.0f} minutes on {jobs} cores, once")
        failed = pip_wheel(folder, environment, target / "build.log")
        wheel = next(Path(folder).glob("*.whl"), None)
        if failed or wheel is None:
            sys.exit(f"build_mmcv: mmcv did not compile; the compiler's messages: {target / 'build.log'}")
        shutil.copy(wheel, target / "partial")
        os.replace(target / "partial", target / wheel.name)


def main() -> None:
    import torch
    from torch.utils import cpp_extension

    flavour = cuda_flavour(torch.version.cuda, cpp_extension.CUDA_HOME, torch.cuda.is_available())
    target = wheel_cache() / wheel_key(torch.__version__, flavour)
    if not any(target.glob("*.whl")):
        if missing := missing_tool():
            sys.exit(f"build_mmcv: {missing}")
        compile_wheel(target, flavour, cpp_extension.include_paths())
    wheel = next(target.glob("*.whl"))
    say(f"installing {wheel}")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", str(wheel)]
    if subprocess.run(install).returncode:
        sys.exit(f"build_mmcv: pip could not install {wheel}; its message stands above")


def check() -> None:
    """Run one operator in a fresh process; a wheel whose operators do not load leaves the cache."""
    if subprocess.run([sys.executable, "-c", TRY_OPERATORS]).returncode:
        for wheel in wheel_cache().glob(wheel_key("*", "*") + "/*.whl"):
            wheel.unlink()
        sys.exit("build_mmcv: mmcv's operators do not load; the cached wheel is removed: repeat to compile it anew")


if __name__ == "__main__":
    check() if "--check" in sys.argv[1:] else main()
