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
    """Runs a script with stand-ins for SLURM's commands, each of which appends its arguments to ``calls``."""
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name, more in {"sbatch": "", "scontrol": "", "srun": '\nexec bash "$SRUN_DOES"'}.items():
        (stand_ins / name).write_text(f'#!/bin/bash\necho {name} "$@" >> {tmp_path}/calls{more}\n')
        (stand_ins / name).chmod(0o755)

    def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        env = os.environ | {"PATH": f"{stand_ins}:{os.environ['PATH']}", "PYTHON": sys.executable} | environment
        command = ["bash", str(TOOLS / name), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=120)

    return run


@pytest.mark.parametrize("name", ["dist_train.sh", "dist_test.sh", "slurm_train.sh"])
def test_usage(script: Script, name: str) -> None:
    done = script(name)
    assert done.returncode == 2 and f"tools/{name}" in done.stderr and "set -euo" not in done.stderr
    assert os.access(TOOLS / name, os.X_OK)


def test_slurm_submits_a_job_that_comes_back(script: Script, tmp_path: Path) -> None:
    done = script("slurm_train.sh", "gpu", "name", "CONFIG", "--amp", GPUS="16", SBATCH_ARGS="--time=1:00 --qos=low")
    assert done.returncode == 0, done.stderr
    call = (tmp_path / "calls").read_text()
    for word in ("--partition=gpu", "--job-name=name", "--requeue", "--signal=B:USR1@120", "--ntasks=16", "--qos=low"):
        assert word in call.split()
    assert call.split()[-4:] == ["--in-job", str(TOOLS), "CONFIG", "--amp"]


@pytest.mark.parametrize(
    ("does", "status", "requeued"),
    [
        ("exit 0", 0, False),
        ("exit 3", 3, False),
        ("trap 'touch $INTERNGV_STOPPED; exit 0' USR1; kill -USR1 $PPID; while :; do sleep 0.05; done", 0, True),
        ("trap 'sleep 0.3; exit 5' USR1; kill -USR1 $PPID; while :; do sleep 0.05; done", 5, False),
    ],
    ids=["ends", "fails", "asked to stop", "fails when asked to stop"],
)
def test_a_job_is_put_back_when_it_was_asked_to_stop(
    script: Script, tmp_path: Path, does: str, status: int, requeued: bool
) -> None:
    (tmp_path / "does.sh").write_text(does)
    done = script(
        "slurm_train.sh", "--in-job", str(TOOLS), "CONFIG", SRUN_DOES=str(tmp_path / "does.sh"), SLURM_JOB_ID="7"
    )
    assert done.returncode == status, done.stderr
    calls = (tmp_path / "calls").read_text()
    assert calls.startswith("srun") and "train.py CONFIG --launcher slurm --resume" in calls
    assert ("scontrol requeue 7" in calls) == requeued


@pytest.mark.slow
def test_two_processes_of_this_machine(script: Script) -> None:
    pytest.importorskip("mmpretrain")
    config = "gva/mn-mini_1xb64-20e_mnist-5k-32px"
    done = script("dist_train.sh", config, "2", "--dry-run", "--shape", "3", "32", "32", PORT="29613")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("world size: 2") == 1
