"""Training and testing a filled-in config, each in a process of its own: a host that crashes costs its cell only."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from interngv.engine.checkpoints.lock import InUse
from interngv.errors import UserError
from interngv.gvb.metrics import counts, per_class, scores

_LOG_LINES = 3  # of a failed run's log that its message quotes


def run(config: Config, metric: str, place: Path) -> dict[str, Any]:
    """Train (a killed training goes on), test, and return a cell's scores.

    Args:
        config: a whole config of :mod:`interngv.engine`.
        metric: the task's, one of :data:`interngv.gvb.metrics.KINDS`.
        place: folder of the cell: config, logs, checkpoints and metrics lie in ``run/`` below it.

    Raises:
        UserError: training or testing failed; the message quotes the end of the log.
    """
    folder = place / "run"
    folder.mkdir(parents=True, exist_ok=True)
    path, out = folder / "config.py", folder / "metrics.json"
    config.dump(path)
    call("train", [str(path), "--work-dir", str(folder), "--resume"], folder)
    checkpoint = (folder / "last_checkpoint").read_text().strip()
    call("test", [str(path), checkpoint, "--work-dir", str(folder), "--out", str(out)], folder)
    output = json.loads(out.read_text())
    found = scores(metric, output)
    headline = next(iter(found.values()))
    return {
        "score": headline,
        "scores": found,
        "per_class": per_class(output),
        "details": {"counts": counts(output), "at_edge": []},
    }


def call(name: str, arguments: Sequence[str], folder: Path) -> None:
    """Run one of interngv's tools; all that it says goes to a log in ``folder``.

    Raises:
        UserError: it failed (the message quotes the end of the log), or was stopped by a signal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "interngv.cli", name, *arguments]
    stopped = folder / "stopped"
    with log.open("ab") as file:
        # Threads that spin at barriers make a training on busy cores ten times slower.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "INTERNGV_STOPPED": str(stopped)}
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    if stopped.exists():
        stopped.unlink()
        raise UserError(f"{name} was stopped by a signal and has saved; the same command goes on with it (log: {log})")
    if done.returncode:
        _, mark, said = log.read_text(errors="replace").rpartition("\nerror: ")
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        reason = " / ".join(lines[:_LOG_LINES] if mark else lines[-_LOG_LINES:])
        if mark and "is in use by" in reason:  # of a grid that was killed, the training that it had started
            raise InUse(reason)
        raise UserError(f"{name} ended with status {done.returncode}: {reason} (log: {log})")
