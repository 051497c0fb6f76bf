"""A hook for tests: a run that is killed while it works."""

import os
import random
import signal
import threading
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Killer(Hook):
    """Kills the process of a rank (SIGKILL) once, at a random instant of the ``seconds`` after a step."""

    def __init__(
        self, step: int, marker: str, rank: int = 0, seed: int = 0, seconds: float = 0.3, number: int = signal.SIGKILL
    ) -> None:
        self.step, self.marker, self.rank, self.number = step, Path(marker), rank, number
        self.delay = random.Random(seed).random() * seconds

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Set the fuse."""
        if batch_idx + 1 == self.step and runner.rank == self.rank and not self.marker.exists():
            self.marker.touch()
            threading.Timer(self.delay, os.kill, (os.getpid(), self.number)).start()
