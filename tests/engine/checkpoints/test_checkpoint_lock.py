"""Two runs in one work dir: the second refuses."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from tiny_training import started

from interngv.engine.checkpoints import work_dir_lock
from interngv.errors import UserError


def hold(folder: Path, with_worker: bool) -> None:
    with work_dir_lock(folder):
        if with_worker and not os.fork():
            (folder / "worker").write_text(str(os.getpid()))
            time.sleep(30)
            os._exit(0)
        (folder / "held").touch()
        time.sleep(60)


@pytest.mark.slow
@pytest.mark.parametrize("with_worker", [False, True])
def test_the_second_is_told_of_the_first_and_the_lock_dies_with_it(tmp_path: Path, with_worker: bool):
    first = started(hold, tmp_path, with_worker)
    while not (tmp_path / "held").exists() or (with_worker and not (tmp_path / "worker").exists()):
        assert first.is_alive()
        time.sleep(0.02)
    with pytest.raises(UserError, match=rf"{tmp_path} is in use by process {first.pid} on \S+ since \d{{4}}-"):  # noqa: SIM117
        with work_dir_lock(tmp_path):
            pass
    first.kill()
    first.join()
    with work_dir_lock(tmp_path):  # at once, though a worker of the first still lives
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    if with_worker:
        os.kill(int((tmp_path / "worker").read_text()), signal.SIGKILL)


def test_it_is_let_go_at_the_end_and_makes_the_folder(tmp_path: Path):
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        with work_dir_lock(folder), pytest.raises(UserError, match="in use"), work_dir_lock(folder):
            pass


def test_a_folder_that_cannot_be_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="work dir .*file/x cannot be written"), work_dir_lock(tmp_path / "file" / "x"):
        pass
