"""A short form of ``make torture``: a saving run is killed at random instants."""

import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).parents[2] / "torture.py"


@pytest.mark.slow
def test_no_kill_leaves_a_checkpoint_that_cannot_be_gone_on_from():
    command = [sys.executable, "-W", "ignore", str(TORTURE), "--kills", "15", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "torture: 0 of 15 kills" in done.stdout
