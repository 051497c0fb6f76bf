"""One run a work dir."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from logging import WARNING
from pathlib import Path

from mmengine.logging import print_log

from interngv.errors import UserError

LOCK = ".lock"
_held: set[int] = set()


class InUse(UserError):
    """Another run holds the work dir."""


@contextmanager
def work_dir_lock(work_dir: str | Path) -> Iterator[None]:
    """Hold a work dir, which is made where it is missing; of a run over several processes the first one does.

    The lock is the kernel's and goes with the process, however that ends. The file stays.

    Raises:
        InUse: another run holds it (named).
        UserError: the folder cannot be written.
    """
    path = Path(work_dir) / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(f"work dir {work_dir} cannot be written: {error.strerror}; give another folder") from error
    _held.add(descriptor)
    try:
        _lock(descriptor, work_dir)
        yield
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)


def _lock(descriptor: int, work_dir: str | Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(os.pread(descriptor, 4096, 0))
        raise InUse(f"work dir {work_dir} is in use by {holder}; stop that run or give another folder") from None
    except OSError as error:
        text = f"work dir {work_dir} cannot be locked ({error.strerror}): see to it that no second run writes there"
        print_log(text, logger="current", level=WARNING)
    start = datetime.now().astimezone().isoformat(timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "start": start})
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _holder(text: bytes) -> str:
    try:
        found = json.loads(text)
        return f"process {found['pid']} on {found['host']} since {found['start']}"
    except (ValueError, TypeError, LookupError):  # it is just being written
        return "another process"


def _let_go() -> None:
    """In a forked worker: a lock lives as long as any copy of its descriptor."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
