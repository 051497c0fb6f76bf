"""The shell scripts: torchrun for real, on CPUs; of SLURM's commands stand-ins that record what they get."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"
Script = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Runs a script with stand-ins for SLURM's commands, which append name and arguments, a line each, to ``calls``."""
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name, more in {"sbatch": "", "scontrol": "", "srun": '\nexec bash "$SRUN_DOES"'}.items():
        (stand_ins / name).write_text(f'#!/bin/bash\nprintf "%s\\n" {name} "$@" >> {tmp_path}/calls{more}\n')
        (stand_ins / name).chmod(0o755)

    def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        env = os.environ | {"PATH": f"{stand_ins}:{os.environ['PATH']}", "PYTHON": sys.executable} | environment
        command = ["bash", str(TOOLS / name), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=120)

    return run


def words(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


@pytest.mark.parametrize("name", ["dist_train.sh", "dist_test.sh", "slurm_train.sh", "slurm_test.sh"])
def test_usage(script: Script, name: str) -> None:
    done = script(name)
    assert done.returncode == 2 and f"tools/{name}" in done.stderr and "set -euo" not in done.stderr
    assert os.access(TOOLS / name, os.X_OK)


def test_slurm_submits_a_job_that_comes_back(script: Script, tmp_path: Path) -> None:
    done = script("slurm_train.sh", "gpu", "name", "a config", "--amp", GPUS="16", SBATCH_ARGS="--time=1:00 --qos=low")
    assert done.returncode == 0, done.stderr
    call = words(tmp_path)
    for word in ("--partition=gpu", "--job-name=name", "--requeue", "--signal=B:USR1@120", "--ntasks=16", "--qos=low"):
        assert word in call
    assert {"--ntasks-per-node=8", "--gres=gpu:8"} <= set(call)
    assert call[-4:] == ["--in-job", str(TOOLS), "a config", "--amp"]


def test_slurm_tests(script: Script, tmp_path: Path) -> None:
    (tmp_path / "does.sh").write_text("exit 4")
    given = ["a config", "weights", "--out", "m.json"]
    done = script("slurm_test.sh", "gpu", "name", *given, GPUS="4", SRUN_DOES=str(tmp_path / "does.sh"))
    assert done.returncode == 4, done.stderr
    call = words(tmp_path)
    assert {"--partition=gpu", "--ntasks=4", "--ntasks-per-node=4", "--gres=gpu:4"} <= set(call)
    assert call[-9:] == [sys.executable, "-u", str(TOOLS / "test.py"), *given, "--launcher", "slurm"]


WAITS = "while :; do sleep 0.05; done"
STOPPED = "touch $INTERNGV_STOPPED"
ENDS = {
    "ends": ("exit 0", 0, False),
    "fails": ("exit 3", 3, False),
    "asked to stop": (f"trap '{STOPPED}; exit 0' USR1; kill -USR1 $PPID; {WAITS}", 0, True),
    "fails when asked to stop": (f"trap 'sleep 0.3; exit 5' USR1; kill -USR1 $PPID; {WAITS}", 5, False),
    "preempted: the run alone is signalled": (STOPPED, 0, True),
    "cancelled: all are signalled": (f"{STOPPED}; kill -TERM $PPID; sleep 0.3", 0, False),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_job_is_put_back_when_it_was_asked_to_stop(script: Script, tmp_path: Path, end: str) -> None:
    does, status, requeued = ENDS[end]
    (tmp_path / "does.sh").write_text(does)
    given = ["a config", "--work-dir", "b c"]
    done = script(
        "slurm_train.sh", "--in-job", str(TOOLS), *given, SRUN_DOES=str(tmp_path / "does.sh"), SLURM_JOB_ID="7"
    )
    assert done.returncode == status, done.stderr
    calls = words(tmp_path)
    run = ["--kill-on-bad-exit=1", sys.executable, "-u", str(TOOLS / "train.py"), "a config"]
    run += ["--launcher", "slurm", "--resume", "--work-dir", "b c"]
    assert calls == ["srun", *run, *(["scontrol", "requeue", "7"] if requeued else [])]


@pytest.mark.slow
def test_two_processes_of_this_machine(script: Script) -> None:
    pytest.importorskip("mmpretrain")
    config = "gva/mn-mini_1xb64-20e_mnist-5k-32px"
    done = script("dist_train.sh", config, "2", "--dry-run", "--shape", "3", "32", "32", PORT="29613")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("world size: 2") == 1
