"""Which checkpoint a run goes on from: the newest whole one, and aloud where that is not the newest."""

import os
from pathlib import Path

import pytest
import torch

from interngv.checkpoint import directory
from interngv.engine.checkpoints import latest_checkpoint
from interngv.errors import UserError


def save(path: Path, resumable: bool = True) -> Path:
    state = {"state_dict": {"a": torch.ones(100)}, "meta": {"iter": 1, "epoch": 1}}
    directory.write(path, state | ({"optimizer": {}} if resumable else {}))
    return path


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_the_newest_that_can_be_resumed(tmp_path: Path):
    assert latest_checkpoint(tmp_path) is None and latest_checkpoint(tmp_path / "none") is None
    for number in (900, 20):  # a run that began anew in the folder of another
        newest = save(tmp_path / f"iter_{number}")
    save(tmp_path / "best_x_iter_20", resumable=False)
    assert latest_checkpoint(tmp_path) == newest


@pytest.mark.parametrize("file", ["meta.json", "weights.safetensors", "state.json", "state.safetensors"])
def test_a_damaged_newest_is_passed_over_aloud(tmp_path: Path, file: str, capsys: pytest.CaptureFixture):
    before, newest = save(tmp_path / "iter_1"), save(tmp_path / "iter_2")
    damage(newest / file)
    said: list[str] = []
    assert latest_checkpoint(tmp_path, said.append) == before
    assert len(said) == 1 and f"PASSED OVER: {newest}/{file} is damaged" in said[0]
    latest_checkpoint(tmp_path)
    assert str(newest) in capsys.readouterr().out
    damage(before / "weights.safetensors")
    with pytest.raises(UserError, match="no checkpoint in .* is whole"):
        latest_checkpoint(tmp_path, said.append)


def test_one_that_was_just_being_replaced_is_found(tmp_path: Path):
    only = save(tmp_path / "iter_1")
    os.rename(only, tmp_path / ".iter_1.77.old")
    assert latest_checkpoint(tmp_path) == tmp_path / ".iter_1.77.old"
    directory.tidy(tmp_path)
    assert latest_checkpoint(tmp_path) == only


def test_files_of_mmengine_count_where_nothing_is_newer(tmp_path: Path):
    file, pointer = tmp_path / "epoch_3.pth", tmp_path / "last_checkpoint"
    pointer.write_text("/moved/away/epoch_3.pth")
    with pytest.raises(UserError, match=r"names /moved/away/epoch_3\.pth, which does not exist"):
        latest_checkpoint(tmp_path)
    file.touch()
    assert latest_checkpoint(tmp_path) == file
    os.utime(file, (1, 1))
    newer = save(tmp_path / "epoch_4")
    assert latest_checkpoint(tmp_path) == newer
    os.utime(file)
    os.utime(newer / "meta.json", (2, 2))
    assert latest_checkpoint(tmp_path) == file
    pointer.write_text("")  # its writer was killed
    assert latest_checkpoint(tmp_path) == newer


def test_a_folder_elsewhere_is_found_by_the_pointer(tmp_path: Path):
    (tmp_path / "work").mkdir()
    newest = save(tmp_path / "out" / "epoch_1")
    (tmp_path / "work" / "last_checkpoint").write_text(str(newest))
    assert latest_checkpoint(tmp_path / "work") == newest
