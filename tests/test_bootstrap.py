"""tools/bootstrap.py and tools/build_mmcv.py: keys, stamp, refusals, and that nothing half-done counts as done."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    module = load("build_mmcv")
    monkeypatch.setitem(sys.modules, "build_mmcv", module)
    return module


@pytest.fixture
def boot(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """bootstrap on a checkout of its own that holds the two things it reads."""
    module = load("bootstrap")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "mm.txt").write_text("onedl-mmcv==2.3.6\n")
    (tmp_path / "setup.py").write_text("")
    for name, path in dict(ROOT="", REQUIREMENTS="requirements", VENV=".venv", STAMP=".venv/stamp").items():
        monkeypatch.setattr(module, name, tmp_path / path)
    monkeypatch.setattr(module, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(module, "INSTALLING", tmp_path / ".venv" / "installing")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    return module


def a_python(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_the_compiled_mmcv_is_the_required_one(build: ModuleType) -> None:
    required = re.findall(r"^onedl-mmcv==(\S+)", (ROOT / "requirements" / "mm.txt").read_text(), re.MULTILINE)
    assert required == [build.MMCV]
    assert f"onedl-mmcv=={build.MMCV}" in (ROOT / "requirements" / "constraints.txt").read_text()


def test_every_requirement_is_pinned() -> None:
    pins = {
        re.split("==", line)[0].lower().replace("_", "-")
        for line in (ROOT / "requirements" / "constraints.txt").read_text().splitlines()
        if re.fullmatch(r"[A-Za-z0-9_.\-]+==[^\s+*]+", line)
    }
    for extra in ("runtime", "mm", "dev"):
        for line in (ROOT / "requirements" / f"{extra}.txt").read_text().splitlines():
            if name := re.match(r"[A-Za-z0-9_.\-]+", line):
                assert name[0].lower().replace("_", "-") in pins, f"{name[0]} of {extra}.txt is not pinned"


def test_key_differs_with_everything_the_binary_depends_on(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {build.wheel_key("2.13.0+cpu", "cpu"), build.wheel_key("2.12.0", "cpu"), build.wheel_key("2.13.0", "cu130")}
    monkeypatch.setattr(build, "MMCV", "2.4.0")
    keys.add(build.wheel_key("2.13.0+cpu", "cpu"))
    monkeypatch.setattr(build.sysconfig, "get_platform", lambda: "linux-aarch64")
    keys.add(build.wheel_key("2.13.0+cpu", "cpu"))
    monkeypatch.setattr(build.sys, "implementation", SimpleNamespace(cache_tag="cpython-313"))
    keys.add(build.wheel_key("2.13.0+cpu", "cpu"))
    assert len(keys) == 6


def test_the_cache_is_the_users(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.wheel_cache() == tmp_path / "cache" / "interngv" / "wheels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert build.wheel_cache() == tmp_path / "home" / ".cache" / "interngv" / "wheels"


def test_stamp_follows_requirements_setup_and_choice(boot: ModuleType, tmp_path: Path) -> None:
    first = boot.stamp(True)
    assert boot.stamp(True) == first
    assert boot.stamp(False) != first
    (tmp_path / "requirements" / "mm.txt").write_text("onedl-mmcv==2.3.7\n")
    second = boot.stamp(True)
    (tmp_path / "setup.py").write_text("changed")
    assert len({first, second, boot.stamp(True)}) == 3


def test_current_only_with_stamp_and_python(boot: ModuleType) -> None:
    assert not boot.is_current(True)
    boot.STAMP.write_text(boot.stamp(True))
    assert not boot.is_current(True)  # no interpreter
    a_python(boot.PYTHON, "")
    assert boot.is_current(True)
    assert not boot.is_current(False)


def test_pip_failure_is_named_and_a_killed_pip_leaves_a_mark(
    boot: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    a_python(boot.PYTHON, "echo 'ERROR: no such release' >&2; exit 1")
    with pytest.raises(SystemExit, match="could not install the tools"):
        boot.pip_install("the tools", "x")
    assert "no such release" in capfd.readouterr().err
    assert not boot.INSTALLING.exists()
    a_python(boot.PYTHON, "kill -9 $$")
    with pytest.raises(SystemExit, match="made anew"):
        boot.pip_install("the tools", "x")
    assert boot.INSTALLING.exists()


def test_a_working_venv_is_kept_and_a_half_made_or_copied_one_is_not(
    boot: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple] = []
    monkeypatch.setattr(boot, "run", lambda *command: made.append(command) or 0)
    pip = boot.VENV / "bin" / "pip"
    boot.make_venv()
    assert len(made) == 1  # no pip
    a_python(pip, f"echo 'pip 26 from {boot.VENV}/lib/pip (python {boot.VERSION})'")
    boot.make_venv()
    assert len(made) == 1
    boot.INSTALLING.touch()
    boot.make_venv()
    assert len(made) == 2  # a killed installation
    boot.INSTALLING.unlink()
    a_python(pip, f"echo 'pip 26 from /elsewhere/.venv/lib/pip (python {boot.VERSION})'")
    boot.make_venv()
    a_python(pip, f"echo 'pip 26 from {boot.VENV}/lib/pip (python 3.10)'")
    boot.make_venv()
    assert len(made) == 4
    assert all("--clear" in command for command in made)


@pytest.mark.parametrize(
    ("missing", "package"), [("compiler", "g++"), ("headers", f"python{sys.version_info[0]}.{sys.version_info[1]}-dev")]
)
def test_a_missing_tool_is_named_with_debians_package(
    missing: str, package: str, boot: ModuleType, build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_python(tmp_path / "cc", "")
    monkeypatch.setattr(build, "COMPILER", str(tmp_path / ("none" if missing == "compiler" else "cc")))
    monkeypatch.setattr(build.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(SystemExit, match=re.escape(f"apt-get install {package}")) as refused:
        boot.check_machine(True)
    assert "--no-operators" in str(refused.value)
    boot.check_machine(False)
    wheel = build.wheel_cache() / build.wheel_key("2.13.0", "cpu") / "mmcv.whl"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    boot.check_machine(True)  # nothing to compile


def test_a_python_without_venv_is_named(boot: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_python(tmp_path / "bare", "exit 1")
    monkeypatch.setattr(boot.sys, "executable", str(tmp_path / "bare"))
    with pytest.raises(SystemExit, match=r"apt-get install python3\.\d+-venv"):
        boot.check_machine(True)


def test_an_old_python_is_refused(boot: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot.sys, "version_info", (3, 10, 4))
    monkeypatch.setattr(boot.sys, "argv", ["bootstrap.py"])
    with pytest.raises(SystemExit, match=r"Python >= 3\.11"):
        boot.main()


def test_cuda_only_with_a_gpu_and_its_nvcc(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    a_python(tmp_path / "bin" / "nvcc", "echo 'Cuda compilation tools, release 13.0, V13.0.48'")
    assert build.cuda_flavour("13.0", str(tmp_path), True) == "cu130"
    assert build.cuda_flavour("13.0", str(tmp_path), False) == "cpu"
    assert build.cuda_flavour("12.8", str(tmp_path), True) == "cpu"
    assert build.cuda_flavour("13.0", None, True) == "cpu"
    assert build.cuda_flavour(None, str(tmp_path), True) == "cpu"


def test_another_compiler_gets_no_precompiled_header(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_python(tmp_path / "clang++", "echo 'clang version 19.1.7'")
    monkeypatch.setattr(build, "COMPILER", str(tmp_path / "clang++"))
    assert build.precompiled_header(tmp_path, []) == ""
    a_python(tmp_path / "g++", "[ $1 = --version ] && echo 'Free Software Foundation' && exit; exit 1")
    monkeypatch.setattr(build, "COMPILER", str(tmp_path / "g++"))
    assert build.precompiled_header(tmp_path, []) == ""  # it could not compile the header


@pytest.mark.parametrize("works", [True, False])
def test_only_a_finished_wheel_enters_the_cache(
    works: bool, build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = 'while [ "$1" != -w ]; do shift; done; echo "[13/78] c++"; echo content > "$2/onedl_mmcv-1.whl"; '
    a_python(tmp_path / "python", out + f"exit {0 if works else 1}")
    monkeypatch.setattr(build.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(build, "precompiled_header", lambda folder, includes: "")
    target = tmp_path / "cache" / "key"
    if works:
        build.compile_wheel(target, "cpu", [])
        assert (target / "onedl_mmcv-1.whl").read_text() == "content\n"
    else:
        with pytest.raises(SystemExit, match=re.escape(str(target / "build.log"))):
            build.compile_wheel(target, "cpu", [])
        assert not list(target.glob("*.whl"))
    assert "[13/78]" in (target / "build.log").read_text()


def test_operators_that_do_not_load_leave_the_cache(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = build.wheel_cache() / build.wheel_key("2.13.0", "cpu") / "mmcv.whl"
    other = build.wheel_cache() / "mmcv1.0-other" / "mmcv.whl"
    for wheel in (ours, other):
        wheel.parent.mkdir(parents=True)
        wheel.touch()
    a_python(tmp_path / "python", "exit 1")
    monkeypatch.setattr(build.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(SystemExit, match="repeat"):
        build.check()
    assert (ours.exists(), other.exists()) == (False, True)


def test_make_names_the_missing_python() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(["make", "setup", "PYTHON="], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert "no Python >= 3.11" in done.stderr
