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


@pytest.mark.parametrize(
    ("failing", "chosen"), [("fluent-emoji", "clothes"), ("wordnet", "clothes"), ("fashion-mnist", "pip")]
)
def test_where_a_client_is_missing_the_next_variant_is_taken(
    demo, monkeypatch, capsys, failing: str, chosen: str
) -> None:
    prepared = []

    def prepare(name: str) -> None:
        if name in (failing, "fluent-emoji" if chosen == "pip" else ""):
            raise OpenDataError(f"{name}: the client is missing")
        prepared.append(name)

    monkeypatch.setattr(demo, "prepare", prepare)
    assert demo.choose(*demo.VARIANTS) == chosen
    variant = demo.VARIANTS[chosen]
    assert prepared[-5:] == [*variant.packs, variant.classification, "tree-crowns", "nuclei", "motorcycle"]
    assert f"{failing}: the client is missing" in capsys.readouterr().out
    if failing == "fashion-mnist":
        with pytest.raises(SystemExit, match="error: fashion-mnist: the client is missing"):
            demo.choose("clothes")


def test_a_training_is_kept_until_its_inputs_change(demo, monkeypatch, tmp_path: Path) -> None:
    calls = []

    def tool(name: str, args: list[str], folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        calls.append(name)
        (folder / "end.pth").touch()
        (folder / "last_checkpoint").write_text(str(folder / "end.pth"))
        (folder / "test.json").write_text(json.dumps({"accuracy/top1": 12.345}))

    monkeypatch.setattr(demo, "tool", tool)
    variant, run = demo.VARIANTS["pip"], tmp_path / "step"
    first = demo.train(variant, run, {})
    assert first["score"] == pytest.approx(12.34, abs=0.01) and calls == ["train.py", "test.py"]
    assert demo.train(variant, run, {}) == first and len(calls) == 2
    demo.train(variant, run, {"train_cfg.max_epochs": 2})
    demo.train(variant._replace(packs=("digits-8x8",)), run, {"train_cfg.max_epochs": 2})
    assert len(calls) == 6
    (run / "end.pth").unlink()
    demo.train(variant._replace(packs=("digits-8x8",)), run, {"train_cfg.max_epochs": 2})
    assert len(calls) == 8


def test_the_table_and_the_plot_have_each_trunk(demo, tmp_path: Path) -> None:
    scores = {
        ("digits", "10"): (50.0, 61.25, 71.0),
        ("digits", "all"): (60.0, 70.0, 81.0),
        ("motorcycle", "all"): (1, 2, 3),
    }
    cells = [
        dict(task=task, shots=shots, metric="accuracy", trunk=trunk, score=score)
        for (task, shots), row in scores.items()
        for trunk, score in zip(demo.COLOURS, row, strict=True)
        if (shots, trunk) != ("10", "ImageNet")
    ]
    head, *rows = demo.table(cells).splitlines()
    assert head.split()[-3:] == ["random", "trained", "ImageNet"]
    assert [row.split()[-3:] for row in rows] == [
        ["50.00", "61.25", "nan"],
        ["60.00", "70.00", "81.00"],
        ["1.00", "2.00", "3.00"],
    ]
    demo.plot(cells, tmp_path / "accuracy.png")
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


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
    cells = json.loads((folder / "gvb/results.json").read_text())["cells"]
    scores = {cell["trunk"]: cell["score"] for cell in cells}
    assert scores["trained"] > scores["random"] + 5 and scores["random"] > 10
    assert (folder / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "upstream: kept from an earlier run" in again.stdout and "tools/train.py" not in again.stdout
    assert json.loads((folder / "gvb/results.json").read_text())["cells"] == cells
