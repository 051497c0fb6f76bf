"""interngv doctor: every trap names its command, and the exit status says whether all that is promised works."""

import re
import sys
from pathlib import Path

import pytest

from interngv import compat, doctor
from interngv.doctor import Finding, traps

MM = {
    "onedl-mmengine": "0.10.12",
    "onedl-mmcv": "2.3.6",
    "onedl-mmpretrain": "1.3.6",
    "onedl-mmdetection": "3.5.1",
    "onedl-mmsegmentation": "1.4.2",
}


class Installation:
    """A site-packages folder of metadata alone, and what compat says of the files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.setattr(sys, "path", [str(folder)])
        self.operators, self.gone = True, set[str]()
        monkeypatch.setattr(compat, "has_operators", lambda: self.operators)
        monkeypatch.setattr(traps, "_has_files", lambda host: host not in self.gone)

    def add(self, name: str, version: str, *requires: str) -> None:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {one}" for one in requires)]) + "\n")


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    import packaging.requirements  # noqa: F401  (imported before sys.path is the fake one)

    found = Installation(tmp_path, monkeypatch)
    for name, version in MM.items():
        found.add(name, version)
    found.add("torch", "2.13.0+cpu")
    found.add("torchvision", "0.28.0", "torch (==2.13.0)", "scipy ; extra == 'scipy'")
    found.add("numpy", "2.2.6")
    found.add(
        "opencv-python", "4.12.0.88", 'numpy<2.0; python_version < "3.9"', 'numpy<2.3.0,>=2; python_version >= "3.9"'
    )
    return found


def replace(installation: Installation, name: str, version: str, *requires: str) -> None:
    for old in installation.folder.glob(f"{name.replace('-', '_')}-[0-9]*.dist-info"):
        (old / "METADATA").unlink()
        old.rmdir()
    installation.add(name, version, *requires)


def only_trap(fault: str) -> str:
    """The repair of the one trap there is, after a look at its fault."""
    found = traps.known_traps()
    assert len(found) == 1, found
    assert fault in found[0].fault
    return found[0].repair


def test_a_sound_installation_has_no_trap(installation: Installation) -> None:
    assert traps.known_traps() == []


def test_both_families(installation: Installation) -> None:
    installation.add("mmengine", "0.10.7")
    repair = only_trap("two families")
    assert "pip uninstall -y mmengine &&" in repair
    assert "--force-reinstall onedl-mmengine==0.10.12" in repair
    assert "onedl-mmcv==" not in repair  # pip alone would leave the operators out
    assert repair.endswith("build_mmcv.py")


def test_files_gone_after_an_uninstall(installation: Installation) -> None:
    installation.gone = {"mmdet"}
    assert only_trap("onedl-mmdetection are gone").endswith("--force-reinstall onedl-mmdetection==3.5.1")


def test_fork_without_operators(installation: Installation) -> None:
    installation.operators = False
    script = Path(only_trap("without its compiled operators").split()[-1])
    assert script.name == "build_mmcv.py"
    assert script.exists()


def test_upstream_without_operators(installation: Installation) -> None:
    for name in MM:
        next(installation.folder.glob(f"{name.replace('-', '_')}*/METADATA")).unlink()
    installation.add("mmcv", "2.1.0")
    installation.operators = False
    assert "--no-build-isolation" in only_trap("without its compiled operators")


def test_torch_too_new(installation: Installation) -> None:
    replace(installation, "torch", "2.14.1")
    replace(installation, "torchvision", "0.29.1", "torch (==2.14.1)")
    assert "'torch>=2.4,<2.14'" in only_trap("torch 2.14.1")


def test_torchvision_of_another_torch(installation: Installation) -> None:
    replace(installation, "torchvision", "0.27.0", "torch (==2.12.0)")
    assert only_trap("pair of torch==2.12.0").endswith("pip install torch==2.13.0 torchvision")


def test_numpy_newer_than_opencv(installation: Installation) -> None:
    replace(installation, "numpy", "2.4.0")
    assert only_trap("opencv-python 4.12.0.88").endswith("'numpy<2.3.0,>=2'")


def test_opencv_variants_of_two_versions(installation: Installation) -> None:
    installation.add("opencv-python-headless", "4.9.0.80")
    repair = only_trap("share one folder")
    assert "opencv-python==4.9.0.80 opencv-python-headless==4.9.0.80" in repair


def test_the_range_of_torch_is_the_required_one() -> None:
    required = (Path(__file__).parents[1] / "requirements" / "runtime.txt").read_text()
    assert re.search(rf"^torch{re.escape(traps.TORCH)}(\s|$)", required, re.MULTILINE)


def test_transformers_5(installation: Installation) -> None:
    installation.add("transformers", "5.0.0")
    assert "'transformers>=4.53,<5'" in only_trap("transformers 5.0.0")


def test_transformers_4_is_no_trap(installation: Installation) -> None:
    installation.add("transformers", "4.57.6")
    assert traps.known_traps() == []


@pytest.mark.parametrize(
    ("statuses", "trap", "expected"),
    [
        (["works", "works"], False, 0),
        (["works", "absent"], False, 0),
        (["works", "fails"], False, 1),
        (["works"], True, 1),
    ],
)
def test_exit_status(statuses: list[str], trap: bool, expected: int) -> None:
    found = [Finding("detect", status, "") for status in statuses]
    assert doctor.exit_status(found, [traps.Trap("a", "b")] if trap else []) == expected


def test_report_prints_traps_with_their_repairs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "findings", lambda: [Finding("detect", "fails", "no module named mmcv._ext")])
    monkeypatch.setattr(doctor, "_torchvision", lambda: "whole")
    monkeypatch.setattr(doctor, "known_traps", lambda: [traps.Trap("mmcv has no operators", "do this")])
    assert doctor.report() == 1
    text = capsys.readouterr().out
    assert "repair: do this" in text
    assert "no module named mmcv._ext" in text
    assert f"Python {sys.version.split()[0]}" in text


def test_a_probe_that_crashes_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\necho 'Segmentation fault' >&2\nkill -11 $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(doctor.sys, "executable", str(crashing))
    found = doctor._try("trunk")
    assert (found.status, found.detail) == ("fails", "Segmentation fault")


def test_a_probe_that_hangs_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(doctor.sys, "executable", str(hanging))
    monkeypatch.setattr(doctor, "LIMIT_S", 0.2)
    assert "no answer" in doctor._try("trunk").detail


def test_a_host_that_is_not_installed_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "family", lambda host=None: "none")
    found = doctor._try("detect")
    assert found.status == "absent"
    assert "interngv[mm]" in found.detail


@pytest.mark.slow
@pytest.mark.parametrize("probe", ["classify", "detect", "segment", "depth", "two_processes"])
def test_probe_works_where_its_host_is_installed(probe: str) -> None:
    found = doctor._try(probe)
    if found.status == "absent":
        pytest.skip(found.detail)
    assert found.status == "works", found.detail


@pytest.mark.slow
def test_trunk_probe_works() -> None:
    assert doctor._try("trunk").status == "works"
