"""tools/study.py: what it refuses, its table, and (slow) two arms of one job, trained, measured and kept."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TWO_ARMS = """
title = "Two rates"
arms = dict(
    slow=dict(config={config!r}, options={{"optim_wrapper.optimizer.lr": 1e-9}}),
    after=dict(config={config!r}, upstream="slow"),
)
measures = [dict(scores={{"top-1, %": "accuracy/top1"}})]
"""


def run(config: Path, folder: Path, *more: str) -> subprocess.CompletedProcess:
    where = ["--work-dir", str(folder / "work"), "--out", str(folder / "results")]
    command = [sys.executable, str(ROOT / "tools/study.py"), str(config), *where, *more]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = 'a'\narms = dict(one=dict(config='x.py'))", "measures"),
        ("title = 'a'\narms = dict(one=dict(confg='x.py'))\nmeasures = []", "confg"),
        ("title = 'a'\narms = dict(one=dict(), two=dict(upstream='on'))\nmeasures = []", "did you mean 'one'"),
    ],
)
def test_a_config_that_is_no_study_is_refused(text: str, said: str, tmp_path: Path) -> None:
    config = tmp_path / "study.py"
    config.write_text(text)
    done = run(config, tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_an_unknown_arm_and_an_absent_file_are_named(tmp_path: Path) -> None:
    config = tmp_path / "study.py"
    config.write_text("title = 'a'\narms = dict(clip=dict())\nmeasures = []")
    assert "did you mean 'clip'" in run(config, tmp_path, "--arms", "clp").stderr
    assert "no such file" in run(tmp_path / "absent.py", tmp_path).stderr


@pytest.mark.slow
def test_arms_are_trained_measured_and_kept(lenet_config: Path, tmp_path: Path) -> None:
    config = tmp_path / "rates.py"
    config.write_text(TWO_ARMS.format(config=str(lenet_config)))
    done = run(config, tmp_path, "--seeds", "3,4", "--jobs", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "results/rates.json").read_text())
    scores = {arm: [runs[seed]["top-1, %"] for seed in ("3", "4")] for arm, runs in record["scores"].items()}
    assert min(scores["after"]) > max(scores["slow"])  # of a rate of 1e-9 nothing is learnt
    for seed in ("3", "4"):
        log = (tmp_path / "work/rates/after" / seed / "train.log").read_text()
        assert f"rates/slow/{seed}/" in log  # it started from the same seed's
    table = (tmp_path / "results/rates.md").read_text()
    mean, deviation = statistics.mean(scores["after"]), statistics.stdev(scores["after"])
    assert f"{mean:.2f} ± {deviation:.2f} |" in table and "--seeds 3,4" in table
    again = run(config, tmp_path, "--seeds", "3,4")
    assert again.stdout.count("; 0 s") == 3  # nothing is trained or measured a second time
    assert (tmp_path / "results/rates.md").read_text() == table
