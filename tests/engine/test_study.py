"""tools/study.py: what it refuses, its table, and (slow) two arms of one job, stopped, trained, measured and kept."""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from study import Study, main

from interngv.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / "tools/studies").glob("*.py"))
TWO_RATES = """
title = "Two rates"
arms = dict(still=dict(config={still!r}), after=dict(config={after!r}, upstream="still"))
measures = [dict(scores={{"top-1, %": "accuracy/top1"}})]
"""
COMMAND = [sys.executable, str(ROOT / "tools/study.py")]
QUIET = {**os.environ, "OMP_NUM_THREADS": "1"}


def words(study: Path, folder: Path) -> list[str]:
    return [*COMMAND, str(study), "--work-dir", str(folder / "work"), "--out", str(folder / "results")]


def run(study: Path, folder: Path, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run([*words(study, folder), *more], capture_output=True, text=True, env=QUIET)


@pytest.fixture
def study(lenet_config: Path, tmp_path: Path) -> Path:
    """An arm that learns nothing, and one that starts from it and learns."""
    still = tmp_path / "still.py"
    still.write_text(
        f"_base_ = [{str(lenet_config)!r}]\noptim_wrapper = dict(optimizer=dict(lr=1e-9))\n"
        "train_cfg = dict(max_epochs=4)\n"
    )
    path = tmp_path / "rates.py"
    path.write_text(TWO_RATES.format(still=str(still), after=str(lenet_config)))
    return path


ONE = "{}=dict(config='x.py', upstream='{}')"
ARM = "arms = dict(one=dict(trunk='mn-mini'))\n"


def test_what_is_no_study_is_refused(tmp_path: Path) -> None:
    wrong = {
        f"{ARM}": "measures",
        "arms = dict(one=dict(confg='x.py'))\nmeasures = []": "confg",  # codespell:ignore
        "arms = dict(one=dict())\nmeasures = []": "arm 'one': give config",
        "arms = dict(one=dict(trunk='mn-mini', upstream='one'))\nmeasures = []": "arm 'one': give config",
        "arms = dict(one=dict(config='a.py', upstream='on'))\nmeasures = []": "did you mean 'one'",
        f"arms = dict({ONE.format('a', 'b')}, {ONE.format('b', 'a')})\nmeasures = []": "a, b start from each other",
        f"{ARM}measures = [dict(scores=dict(x='y'), arguments='--shots 10')]": "arguments belong to a suite",
        f"{ARM}measures = [dict(scores=dict(x='y'), suite='s.py', options=dict(a=1))]": "options to the arms",
        f"{ARM}measures = [dict(scores=dict(x='y')), dict(scores=dict(x='z'))]": "several measures give 'x'",
        f"{ARM}measures = [dict(scores=dict(x='y'), arms=['two'])]": "'two' is no arm",
        "arms = (": "is no study",
    }
    path = tmp_path / "wrong.py"
    for text, said in wrong.items():
        path.write_text(f"title = 'a'\n{text}")
        with pytest.raises(UserError, match=re.escape(said)):
            Study(str(path), tmp_path)
    with pytest.raises(UserError, match="no such file"):
        Study(str(tmp_path / "absent.py"), tmp_path)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_studies_name_configs_that_there_are(path: Path, tmp_path: Path) -> None:
    found = Study(str(path), tmp_path)
    named = [arm.config for arm in found.arms.values()] + [one.suite for one in found.measures]
    assert all((ROOT / name).is_file() for name in named if name)
    assert (ROOT / f"docs/results/{path.stem}.md").read_text().startswith(f"# {found.title}\n")


@pytest.mark.parametrize("wrong", [["--seeds", "a"], ["--seeds", ""], ["--jobs", "0"]])
def test_wrong_numbers_end_with_a_line(
    wrong: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["study.py", "any.py", *wrong])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"argument {wrong[0]}" in capsys.readouterr().err


@pytest.mark.slow
def test_arms_are_trained_measured_and_kept(study: Path, tmp_path: Path) -> None:
    begun = subprocess.Popen(words(study, tmp_path), env=QUIET, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "work/rates/still/0/train.log"
    while not (log.exists() and "Epoch(train)" in log.read_text()):
        assert begun.poll() is None
        time.sleep(0.2)
    trainer = subprocess.run(["pgrep", "-P", str(begun.pid)], capture_output=True, text=True).stdout.split()[0]
    os.kill(int(trainer), signal.SIGTERM)
    assert "stopped by a signal" in begun.communicate()[1] and begun.returncode == 2
    assert not (tmp_path / "results").exists()

    done = run(study, tmp_path, "--seeds", "0,3", "--jobs", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "results/rates.json").read_text())
    scores = {arm: [runs[seed]["top-1, %"] for seed in ("0", "3")] for arm, runs in record["scores"].items()}
    assert min(scores["after"]) > max(scores["still"])  # at a rate of 1e-9 nothing is learnt
    for seed in ("0", "3"):  # it started from the same seed's
        assert f"rates/still/{seed}/" in (tmp_path / "work/rates/after" / seed / "train.log").read_text()
    table = (tmp_path / "results/rates.md").read_text()
    mean, deviation = statistics.mean(scores["after"]), statistics.stdev(scores["after"])
    assert f"{mean:.2f} ± {deviation:.2f} |" in table and "--seeds 0,3" in table and "2 at a time" in table

    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "work").rglob("*") if file.is_file()}
    assert run(study, tmp_path, "--seeds", "0,3").returncode == 0
    assert files == {file: file.stat().st_mtime_ns for file in (tmp_path / "work").rglob("*") if file.is_file()}
    assert (tmp_path / "results/rates.md").read_text() == table
    (tmp_path / "still.py").write_text((tmp_path / "still.py").read_text().replace("1e-9", "1e-8"))
    assert "was trained with another config" in run(study, tmp_path, "--seeds", "0,3").stderr
