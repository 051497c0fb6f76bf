"""tools/demo.py: its choice of packs, what it keeps, and (slow) the small form from the registry to the table."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from interngv.gvd.open_data import OpenDataError

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "tools/demo.py"


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.syspath_prepend(str(DEMO.parent))
    spec = importlib.util.spec_from_file_location("demo_under_test", DEMO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_debian_the_pip_variant_is_taken(demo, monkeypatch, capsys) -> None:
    prepared = []

    def prepare(name: str) -> None:
        if name == "fashion-mnist":
            raise OpenDataError("fashion-mnist: dpkg-deb is missing")
        prepared.append(name)

    monkeypatch.setattr(demo, "prepare", prepare)
    assert demo.choose("auto") == "pip"
    assert prepared == ["mnist-5k", "digits-8x8", "tree-crowns", "nuclei", "motorcycle"]
    assert "dpkg-deb is missing" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="error: fashion-mnist: dpkg-deb is missing"):
        demo.choose("debian")


def test_a_step_is_kept_until_its_inputs_change(demo, monkeypatch, tmp_path: Path) -> None:
    calls = []

    def tool(name: str, args: list[str], folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        calls.append(name)
        (folder / "end.pth").touch()
        (folder / "last_checkpoint").write_text(str(folder / "end.pth"))
        (folder / "test.json").write_text(json.dumps({"accuracy/top1": 12.345}))

    monkeypatch.setattr(demo, "tool", tool)
    config, run = demo.VARIANTS["pip"].config, tmp_path / "step"
    first = demo.train_and_test(run, config, {}, "data 1")
    assert first["accuracy"] == pytest.approx(12.34, abs=0.01) and calls == ["train.py", "test.py"]
    assert demo.train_and_test(run, config, {}, "data 1") == first and len(calls) == 2
    demo.train_and_test(run, config, {"train_cfg.max_epochs": 2}, "data 1")
    demo.train_and_test(run, config, {"train_cfg.max_epochs": 2}, "data 2")
    assert len(calls) == 6
    (run / "end.pth").unlink()
    demo.train_and_test(run, config, {"train_cfg.max_epochs": 2}, "data 2")
    assert len(calls) == 8


def test_a_failing_tool_shows_the_end_of_its_log(demo, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text("import sys\nprint('first', *range(40), sys.argv[1], sep='\\n')\nsys.exit(2)\n")
    monkeypatch.setattr(demo, "TOOLS", tmp_path)
    with pytest.raises(SystemExit, match=r"(?s)fails.py last ended with status 2:.*39\nlast\n$") as stopped:
        demo.tool("fails.py", ["last"], tmp_path / "run")
    assert "first" not in str(stopped.value) and "first\n0\n" in (tmp_path / "run/fails.py.log").read_text()


@pytest.mark.slow
def test_a_refusal_of_a_real_tool_is_shown(demo, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"(?s)train.py no_such_config.py ended with status 2:.*no_such_config"):
        demo.tool("train.py", ["no_such_config.py"], tmp_path)


@pytest.mark.slow
def test_the_small_demo_learns_and_keeps(tmp_path: Path) -> None:
    command = [sys.executable, str(DEMO), "--quick"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    folder = tmp_path / "work_dirs/demo/pip-quick"
    probes = {row["trunk"]: row["accuracy"] for row in json.loads((folder / "results.json").read_text())["probes"]}
    assert probes["trained"] > probes["random"] + 5 and probes["random"] > 10
    assert (folder / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert again.stdout.count("kept from an earlier run") == 3 and "tools/train.py" not in again.stdout
