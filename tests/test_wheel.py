"""The built wheel carries configs and tools, and runs a config far from any checkout."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built in a copy of the checkout's own files, so that no old build folder can lend it any."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in ("interngv", "configs", "model_zoo", "requirements", "tools", "setup.py", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".mim"))
        elif source.exists():
            shutil.copy(source, copy / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        str(copy),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (copy / "interngv" / ".mim").exists()
    return next(out.glob("interngv-*.whl"))


@pytest.fixture(scope="module")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second environment with the wheel in it; it borrows the heavy libraries of the running one through a .pth."""
    folder = tmp_path_factory.mktemp("second") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    target = [f"--python={folder / 'bin' / 'python'}"]
    install = [sys.executable, "-m", "pip", *target, "install", "-q", "--no-deps", str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # addsitedir would also run the first environment's .pth files, one of which leads to the checkout
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def run(venv: Path, cwd: Path, *arguments: str) -> str:
    command = [str(venv / "bin" / "interngv"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shipped_configs() -> set[str]:
    found = (path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.py"))
    return {str(path) for path in found if "__pycache__" not in path.parts}


def test_wheel_holds_configs_tools_and_nothing_of_the_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"interngv/.mim/configs/{name}" for name in shipped_configs()} <= names
    assert {f"interngv/.mim/tools/{name}.py" for name in ("train", "test", "build_mmcv")} <= names
    assert not [name for name in names if name.startswith(("tests", "tools", "configs")) or "__pycache__" in name]


def test_the_checkout_stays_as_it_was(wheel: Path) -> None:
    assert not (ROOT / "interngv" / ".mim").exists()


def test_the_package_is_the_installed_one(venv: Path, empty: Path) -> None:
    code = "import interngv; print(interngv.__file__)"
    done = subprocess.run([venv / "bin" / "python", "-c", code], capture_output=True, text=True, cwd=empty)
    assert done.stdout.startswith(str(venv)), done.stdout + done.stderr


def test_list_finds_the_configs(venv: Path, empty: Path) -> None:
    assert set(run(venv, empty, "list").split()) == {name for name in shipped_configs() if "_base_" not in name}


def test_a_shipped_config_runs_dry(venv: Path, empty: Path) -> None:
    names = [name for name in run(venv, empty, "list").split() if name.startswith("gva/mn-mini")]
    assert names
    text = run(venv, empty, "train", names[0], "--dry-run")
    assert "parameters:" in text
    assert str(venv) in run(venv, empty, "explain", names[0], "model.backbone.type")
    assert list(empty.iterdir()) == []  # a dry run writes nothing


def test_a_shipped_config_trains(venv: Path, empty: Path, class_folder: Path) -> None:
    """Two real iterations of the shipped model and schedule on a folder of pictures."""
    (empty / "mine.py").write_text(
        "_base_ = ['interngv::_base_/models/mn-mini_cls.py', 'interngv::_base_/default_runtime.py']\n"
        "train_dataloader = dict(batch_size=8, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),\n"
        f"    dataset=dict(type='CustomDataset', data_prefix={str(class_folder / 'train')!r}, pipeline=[\n"
        "        dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')]))\n"
        "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))\n"
        "train_cfg = dict(by_epoch=False, max_iters=2)\n"
    )
    run(venv, empty, "train", "mine.py", "--work-dir", "out")
    assert list((empty / "out").glob("*/weights.safetensors"))
