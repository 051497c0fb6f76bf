"""The ``interngv`` command: quick to start, lists what ships, explains, passes on to the tools."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interngv import cli
from interngv.version import __version__

ROOT = Path(__file__).parents[1]
runner = CliRunner()


def command(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    script = Path(sys.executable).parent / "interngv"
    if not script.exists():
        pytest.skip("interngv is not installed: pip install -e . --no-deps")
    return subprocess.run([script, *arguments], capture_output=True, text=True, timeout=120, cwd=cwd)


def test_version() -> None:
    result = runner.invoke(cli.app, ["--version"])
    assert (result.exit_code, result.output.strip()) == (0, f"interngv {__version__}")


def test_help_names_every_command_and_does_not_load_torch() -> None:
    started = time.process_time(), time.perf_counter()
    done = command("--help")
    assert time.perf_counter() - started[1] < 2  # 0.2 s on an idle machine; torch alone takes 1 s there
    assert done.returncode == 0, done.stderr
    for name in ("doctor", "list", "explain", "lineage", "convert", "train", "test"):
        assert re.search(rf"\b{name}\b", done.stdout)
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", Path(sys.executable).parent / "interngv", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    loaded = {line.rsplit("|", 1)[-1].strip() for line in traced.stderr.splitlines()}
    assert "interngv.cli" in loaded
    assert not loaded & {"torch", "mmengine", "numpy"}


def test_list_configs_are_files_of_the_checkout() -> None:
    result = runner.invoke(cli.app, ["list", "configs"])
    names = result.output.split()
    assert result.exit_code == 0
    assert set(names) == {
        str(path.relative_to(ROOT / "configs"))
        for path in (ROOT / "configs").rglob("*.py")
        if "_base_" not in path.parts
    }
    assert runner.invoke(cli.app, ["list"]).output == result.output


def test_list_archs() -> None:
    from interngv.gva import ARCHS

    assert runner.invoke(cli.app, ["list", "archs"]).output.split() == list(ARCHS)


def test_list_models_reads_the_metafiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model_zoo" / "gva").mkdir(parents=True)
    text = "Models:\n  - Name: mn-b4_in1k\n    Config: x.py\n  - Name: mn-b15_in1k\n"
    (tmp_path / "model_zoo" / "gva" / "metafile.yml").write_text(text)
    (tmp_path / "model_zoo" / "empty.yml").touch()
    monkeypatch.setattr(cli, "_shipped", lambda: tmp_path)
    assert runner.invoke(cli.app, ["list", "models"]).output.split() == ["mn-b4_in1k", "mn-b15_in1k"]


def test_list_of_a_wrong_kind_names_the_near_one() -> None:
    result = runner.invoke(cli.app, ["list", "archz"])
    assert result.exit_code == 2
    assert "archz" in result.output
    assert "did you mean 'archs'?" in result.output


def test_explain_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("optimizer = dict(type='SGD',\n                 lr=0.1)\n")
    (tmp_path / "top.py").write_text("_base_ = ['base.py']\nepochs = 3\n")
    result = runner.invoke(cli.app, ["explain", str(tmp_path / "top.py"), "optimizer.lr"])
    assert result.exit_code == 0, result.output
    assert re.search(r"base\.py:2\b", result.output)
    assert "0.1" in result.output


def test_explain_of_an_unknown_key_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "top.py").write_text("optimizer = dict(lr=0.1)\n")
    result = runner.invoke(cli.app, ["explain", str(tmp_path / "top.py"), "optimizer.lrr"])
    assert result.exit_code == 2
    assert result.output.startswith("error:")
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", ["train", "test"])
def test_train_and_test_pass_everything_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / f"{name}.py").write_text("import sys, json\nprint(json.dumps(sys.argv[1:]))\nsys.exit(7)\n")
    monkeypatch.setattr(cli, "_shipped", lambda: tmp_path)
    seen: list[list[str]] = []

    def become(program: str, line: list[str]) -> None:
        seen.append(line)
        raise SystemExit(subprocess.run([program, *line[1:]], capture_output=True).returncode)

    monkeypatch.setattr(cli.os, "execv", become)  # which would end this process
    given = ["config.py", "--cfg-options", "a.b=1", "--help", "--launcher", "none"]
    result = runner.invoke(cli.app, [name, *given])
    assert result.exit_code == 7  # the tool's own status
    assert seen == [[sys.executable, str(tmp_path / "tools" / f"{name}.py"), *given]]


@pytest.mark.slow
def test_the_tools_are_there_to_pass_on_to() -> None:
    for name in ("train", "test"):
        done = subprocess.run([sys.executable, "-m", "interngv.cli", name, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "--cfg-options" in done.stdout
