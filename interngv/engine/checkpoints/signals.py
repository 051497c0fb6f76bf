"""Being asked to stop: by the scheduler (SIGTERM, SIGUSR1) or from the keyboard (SIGINT).

The first signal lets the step end and a checkpoint be written, the second ends the process at once::

    with interruption:
        try:
            runner.train()
        except Interrupted as word:
            print(word)

:class:`interngv.engine.checkpoints.CheckpointHook` asks ``interruption.agreed()`` after every step, saves and raises
:class:`Interrupted`; a loop has nothing to do.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(Exception):
    """The run was asked to stop and has stopped; the message says from where it can go on."""


class Interruption:
    """A context in which a first signal sets ``requested`` and a second one ends the process with status 128 + signal.

    Processes that are forked within it (data workers) get a process group of their own, so that a signal to the whole
    group, as torchrun and terminals send it, does not end them while the step goes on. The handlers that were there
    before are put back at its end. Outside the main thread it changes nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}
        self._process = 0
        self._group: dist.ProcessGroup | None = None
        os.register_at_fork(after_in_child=self._set_child_apart)

    def __enter__(self) -> "Interruption":
        self.requested, self._process = False, os.getpid()
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._handle) for one in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)
        self._before, self._group = {}, None

    def agreed(self) -> bool:
        """Whether any process of the run was asked to stop; all of them have to call it, after the same step."""
        if not self._before:
            return False
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return self.requested
        if self._group is None:  # on the CPU: nothing waits for a GPU
            self._group = dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
        asked = torch.tensor(int(self.requested))
        dist.all_reduce(asked, dist.ReduceOp.MAX, self._group)
        return bool(asked)

    def _set_child_apart(self) -> None:
        if self._before:
            os.setpgrp()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked worker: its parent decides, by SIGTERM
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.requested:
            os._exit(128 + number)
        self.requested = True
        name = signal.Signals(number).name
        # Not by print, which may be what the signal interrupted.
        os.write(2, f"\n{name}: this step is finished first; a second signal ends the run at once\n".encode())


interruption = Interruption()
