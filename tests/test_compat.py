"""interngv.compat: what it says of this installation, and that torchvision imports in every kind of process."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from interngv import compat

TORCHVISION = compat.version("torchvision")


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)


def fake_distribution(folder: Path, name: str, version: str = "1.0", requires: tuple[str, ...] = ()) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {one}" for one in requires)]) + "\n")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), "none"),
        (("onedl-mmengine", "onedl-mmcv"), "fork"),
        (("mmengine", "mmsegmentation"), "upstream"),
        (("onedl-mmengine", "mmengine"), "both"),
        (("onedl-mmengine", "mmdet"), "both"),
    ],
)
def test_family_is_read_from_the_distributions(
    names: tuple[str, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        fake_distribution(tmp_path, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert compat.family() == expected


def test_version_agrees_with_the_module() -> None:
    assert compat.version("torch") == metadata.version("torch")
    assert torch.__version__.startswith(str(compat.version("torch")).partition("+")[0])
    assert compat.version("no-such-distribution") is None


@pytest.mark.slow
def test_has_operators_agrees_with_an_import() -> None:
    pytest.importorskip("mmcv")
    assert compat.has_operators() == (run("import mmcv._ext").returncode == 0)


def test_extension_of_a_missing_or_blocked_package_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compat.extension("no_such_package", "_C") is None
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert compat.extension("torchvision", "_C") is None


def test_extension_needs_a_compiled_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain_package").mkdir()
    (tmp_path / "plain_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert compat.extension("plain_package", "_C") is None


@pytest.mark.slow
@pytest.mark.skipif(TORCHVISION is None, reason="needs torchvision")
def test_whole_agrees_with_torchvision_itself() -> None:
    bare = run("import torchvision; torchvision.extension._assert_has_ops()")
    assert compat.torchvision_is_whole() == (bare.returncode == 0), bare.stderr


@pytest.mark.slow
@pytest.mark.skipif(TORCHVISION is None, reason="needs torchvision")
def test_torchvision_imports_after_interngv_and_its_models_run() -> None:
    code = (
        "import interngv, torch, torchvision\n"
        "from torchvision.transforms import v2\n"
        "x = v2.CenterCrop(32)(torch.rand(1, 3, 40, 40))\n"
        "print(tuple(torchvision.models.squeezenet1_1(weights=None)(x).shape))"
    )
    done = run(code)
    assert done.stdout.strip() == "(1, 1000)", done.stderr


@pytest.mark.slow
@pytest.mark.skipif(TORCHVISION is None, reason="needs torchvision")
def test_a_spawned_process_is_repaired_too(tmp_path: Path) -> None:
    script = tmp_path / "spawns.py"
    script.write_text(
        "import multiprocessing, interngv\n"
        "def child(_):\n"
        "    import torchvision\n"
        "    return torchvision.__version__\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map_async(child, [0]).get(60)[0])\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().startswith(str(TORCHVISION)), done.stderr


def test_repair_is_inactive_where_torchvision_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "_declared", [])
    monkeypatch.setattr(compat, "torchvision_is_whole", lambda: True)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    assert compat.repair_torchvision() is False
    assert compat._declared == []


def test_repair_twice_declares_once() -> None:
    first = compat.repair_torchvision()
    kept = list(compat._declared)
    assert compat.repair_torchvision() is first
    assert compat._declared == kept


@pytest.mark.slow
def test_import_costs_little_more_than_torch_and_mmengine() -> None:
    pytest.importorskip("mmengine")
    code = (
        "import time, torch, mmengine.registry\n"
        "start = time.perf_counter()\n"
        "import interngv\n"
        "print(time.perf_counter() - start)"
    )
    assert any(float(run(code).stdout) < 0.3 for _ in range(3))  # the first on an idle machine
