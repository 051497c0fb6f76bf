"""A checkpoint's folder: whole or not there, every byte checked, never written over."""

import contextlib
import errno
import json
import os
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import in_a_process, same

from interngv.checkpoint import directory, files, read_checkpoint, state_dict_of
from interngv.errors import UserError

FILES = {"meta.json", "weights.safetensors", "state.safetensors", "state.json"}
STRANGE = ["[" * 100_000, "{}", "[]", '{"checkpoint": 3}', '{"checkpoint": {"format": 1, "sha256": 1}}', "\xff"]


def content(value: float = 1.0) -> dict[str, Any]:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 4, bias=False))
    torch.nn.init.constant_(net[0].weight, value)
    state = net.state_dict()
    state["tied.weight"] = state["2.weight"]
    optimizer = {"state": {0: {"momentum": torch.full((4, 1, 3, 3), value)}}, "param_groups": [{"lr": 0.1}]}
    return {"state_dict": state, "meta": {"epoch": 3, "iter": 7, "seed": None}, "optimizer": optimizer}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    directory.write(tmp_path / "iter_7", content())
    return tmp_path / "iter_7"


def test_what_is_written_is_read(whole: Path):
    before, found = content(), read_checkpoint(whole)
    before["state_dict"]["2.weight"] = before["state_dict"]["tied.weight"] = found["state_dict"]["2.weight"]
    before["state_dict"]["0.bias"] = found["state_dict"]["0.bias"]
    assert same(found, before) and same(found["state_dict"]._metadata, before["state_dict"]._metadata)
    assert same(dict(read_checkpoint(whole / "weights.safetensors")), dict(found["state_dict"]))
    assert {one.name for one in whole.iterdir()} == {
        "meta.json",
        "weights.safetensors",
        "state.safetensors",
        "state.json",
    }
    assert [one.name for one in whole.parent.iterdir()] == ["iter_7"]
    meta = json.loads((whole / "meta.json").read_text())
    assert (meta["epoch"], meta["iter"]) == (3, 7) and meta["checkpoint"]["format"] == 1


def test_weights_alone_have_no_state(tmp_path: Path):
    made = content()
    del made["optimizer"]
    directory.write(tmp_path / "best", made)
    assert {one.name for one in (tmp_path / "best").iterdir()} == {"meta.json", "weights.safetensors"}
    assert not directory.is_resumable(tmp_path / "best")
    assert set(read_checkpoint(tmp_path / "best")) == {"state_dict", "meta"}


def test_tied_weights_are_stored_once_and_come_back_under_each_name(tmp_path: Path):
    tied = torch.randn(100, 100)
    directory.write(tmp_path / "a", {"state_dict": {"x": tied, "y": tied, "part": tied[:50]}})
    assert (tmp_path / "a" / "weights.safetensors").stat().st_size < 40_000 + 20_000 + 1_000
    found = read_checkpoint(tmp_path / "a")["state_dict"]
    assert list(found) == ["x", "y", "part"] and all(torch.equal(found[name], tied) for name in "xy")


def test_entries_that_are_no_plain_tensors_come_back_in_their_place(tmp_path: Path):
    state = {"a": torch.ones(1), "b._extra_state": {"scale": (1, 2)}, "c": torch.randn(2, dtype=torch.complex64)}
    directory.write(tmp_path / "a", {"state_dict": state})
    assert same(dict(read_checkpoint(tmp_path / "a")["state_dict"]), state)


def test_every_flipped_bit_and_every_cut_is_seen(whole: Path):
    chance = random.Random(1)
    names = sorted(one.name for one in whole.iterdir())
    for trial in range(200):
        copy = whole.with_name(f"copy_{trial}")
        shutil.copytree(whole, copy)
        name = names[trial % len(names)]
        data = bytearray((copy / name).read_bytes())
        if trial % 8 < 4:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        else:
            del data[chance.randrange(len(data)) :]
        (copy / name).write_bytes(data)
        with pytest.raises(UserError, match=f"copy_{trial}/{name}"):
            read_checkpoint(copy)
        shutil.rmtree(copy)


def test_missing_files_other_formats_and_other_folders_are_named(whole: Path, tmp_path: Path):
    for name in FILES:
        kept = (whole / name).read_bytes()
        (whole / name).unlink()
        with pytest.raises(UserError, match=name):
            read_checkpoint(whole)
        (whole / name).write_bytes(kept)
    meta = json.loads((whole / "meta.json").read_text())
    meta["checkpoint"]["format"] = 2
    (whole / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=r"meta\.json is of format 2, this version of interngv reads 1"):
        read_checkpoint(whole)
    with pytest.raises(UserError, match="is no checkpoint"):
        read_checkpoint(tmp_path)
    with pytest.raises(UserError, match="iter_8 does not exist; did you mean 'iter_7'"):
        read_checkpoint(tmp_path / "iter_8")


@pytest.mark.parametrize("text", STRANGE)
def test_a_strange_meta_is_one_error(whole: Path, text: str):
    (whole / "meta.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"meta\.json is damaged"):
        read_checkpoint(whole)


FORGED = {
    "weights.safetensors": [
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (8).to_bytes(8, "little") + b'{"a": 3}',
        b"",
    ],
    "state.json": [
        b"[" * 100_000,
        b"[1]",
        b'{"optimizer": {"$": "tensor", "name": "not there"}}',
        b'{"optimizer": {"$": "__import__", "items": []}}',
        b"\xff",
        b'{"$": "tuple", "items": []}',
    ],
    "state.safetensors": [b"\0" * 8, b"\xff" * 100],
}


@pytest.mark.parametrize(("file", "data"), [(name, data) for name, some in FORGED.items() for data in some])
def test_a_folder_that_was_made_to_look_whole_is_one_error(whole: Path, file: str, data: bytes):
    meta = json.loads((whole / "meta.json").read_text())
    (whole / file).unlink()
    meta["checkpoint"]["files"][file] = directory._write(whole / file, [data])
    del meta["checkpoint"]["sha256"]
    (whole / "meta.json").write_text(directory._sealed(meta))
    directory.verify(whole)
    with pytest.raises(UserError, match=f"checkpoint {whole} "):
        read_checkpoint(whole)


def test_saving_a_name_again_replaces_it(whole: Path):
    directory.write(whole, content(2.0))
    assert read_checkpoint(whole)["state_dict"]["0.weight"].eq(2.0).all()
    assert [one.name for one in whole.parent.iterdir()] == ["iter_7"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path):
    (tmp_path / "iter_7").mkdir()
    (tmp_path / "iter_7" / "thesis.tex").touch()
    with pytest.raises(UserError, match="iter_7 is a folder that is no checkpoint"):
        directory.write(tmp_path / "iter_7", content())
    with pytest.raises(UserError, match="stays"):
        directory.remove(tmp_path / "iter_7")
    (tmp_path / "iter_8").touch()
    with pytest.raises(UserError, match="cannot be written: Not a directory"):
        directory.write(tmp_path / "iter_8", content())
    assert {one.name for one in tmp_path.iterdir()} == {"iter_7", "iter_8"}


def test_the_order_of_writing_is_known_without_clocks(tmp_path: Path):
    for name in ("iter_9000", "iter_1", "iter_5"):
        directory.write(tmp_path / name, content())
    os.utime(tmp_path / "iter_9000" / "meta.json")
    assert sorted(directory.checkpoints(tmp_path), key=directory.serial)[-1].name == "iter_5"


# What the system does meanwhile


def trace(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Records what reaches the disk, in order: synced files and folders, renames, removals."""
    events: list[tuple[str, str]] = []
    fsync, rename, rmtree = os.fsync, os.rename, shutil.rmtree

    def traced_fsync(descriptor: int) -> None:
        events.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def traced_rename(source: Any, target: Any) -> None:
        events.append(("rename", f"{source} -> {target}"))
        rename(source, target)

    def traced_rmtree(path: Any, **options: Any) -> None:
        if Path(path).exists():
            events.append(("remove", str(path)))
        rmtree(path, **options)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "rename", traced_rename)
    monkeypatch.setattr(shutil, "rmtree", traced_rmtree)
    return events


def test_nothing_has_its_name_before_it_is_on_the_disk(whole: Path, monkeypatch: pytest.MonkeyPatch):
    """After a loss of power at any point: a rename is on the disk only with files and folder that were so before it."""
    events = trace(monkeypatch)
    directory.write(whole, content(2.0))
    partial, old = (whole.with_name(f".iter_7.{os.getpid()}.{ending}") for ending in ("tmp", "old"))
    synced = [("sync", str(partial / name)) for name in ("weights.safetensors", "state.safetensors", "state.json")]
    assert events == [
        *synced,
        ("sync", str(partial / "meta.json")),
        ("sync", str(partial)),
        ("rename", f"{whole} -> {old}"),
        ("rename", f"{partial} -> {whole}"),
        ("sync", str(whole.parent)),
        ("remove", str(old)),
    ]


class Killed(BaseException):
    """Stands for SIGKILL: nothing cleans up after it."""


@pytest.mark.parametrize("at", range(16))
def test_killed_between_any_two_of_its_steps_it_leaves_a_whole_one(
    whole: Path, monkeypatch: pytest.MonkeyPatch, at: int
):
    steps = 0

    def dies_at(function: Callable) -> Callable:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > at:
                raise Killed
            return function(*arguments, **options)

        return step

    for name in ("fsync", "rename", "mkdir"):
        monkeypatch.setattr(os, name, dies_at(getattr(os, name)))
    monkeypatch.setattr(shutil, "rmtree", dies_at(shutil.rmtree))
    with contextlib.suppress(Killed):
        directory.write(whole, content(2.0))
    monkeypatch.undo()
    (left,) = directory.checkpoints(whole.parent)
    value = read_checkpoint(left)["state_dict"]["0.weight"].unique()
    assert value in ((1.0,) if at < 9 else (1.0, 2.0))
    directory.tidy(whole.parent)
    assert [one.name for one in whole.parent.iterdir()] == ["iter_7"]
    assert torch.equal(read_checkpoint(whole)["state_dict"]["0.weight"].unique(), value)


def test_tidy_leaves_what_is_not_ours(tmp_path: Path):
    for name in (".git", ".other.12.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / ".iter_3.12.tmp").mkdir()
    (tmp_path / ".iter_3.12.tmp" / "weights.safetensors").touch()
    directory.tidy(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [".git", ".other.12.tmp"]


# Disks that fail


class Full:
    """A file on a disk that is full after some bytes."""

    def __init__(self, file: Any, room: int, number: int) -> None:
        self.file, self.room, self.number = file, room, number

    def write(self, data: Any) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(self.number, os.strerror(self.number))
        return self.file.write(data)

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("file", ["weights.safetensors", "state.safetensors", "state.json", "meta.json"])
def test_a_full_or_broken_disk_leaves_the_old_one(whole: Path, monkeypatch: pytest.MonkeyPatch, file: str, number: int):
    def opens(path: Any, mode: str) -> Any:
        found = open(path, mode)  # noqa: SIM115
        return Full(found, 50, number) if Path(path).name == file and "x" in mode else found

    monkeypatch.setattr(directory, "open", opens, raising=False)
    for name in ("iter_7", "iter_8"):
        with pytest.raises(UserError, match=f"checkpoint .*{name} cannot be written: {os.strerror(number)}"):
            directory.write(whole.with_name(name), content(2.0))
    assert [one.name for one in whole.parent.iterdir()] == ["iter_7"]
    assert read_checkpoint(whole)["state_dict"]["0.weight"].eq(1.0).all()


@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
def test_a_failing_system_call_leaves_the_old_one(whole: Path, monkeypatch: pytest.MonkeyPatch, call: str):
    def fails(*arguments: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(UserError, match="iter_7 cannot be written: Read-only file system"):
        directory.write(whole, content(2.0))
    monkeypatch.undo()
    assert [one.name for one in whole.parent.iterdir()] == ["iter_7"]
    assert read_checkpoint(whole)["state_dict"]["0.weight"].eq(1.0).all()


def test_a_second_rename_that_fails_puts_the_old_one_back(whole: Path, monkeypatch: pytest.MonkeyPatch):
    rename = os.rename

    def fails_for_new(source: Any, target: Any) -> None:
        if str(source).endswith("tmp"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails_for_new)
    with pytest.raises(UserError, match="cannot be written: Input/output error"):
        directory.write(whole, content(2.0))
    assert [one.name for one in whole.parent.iterdir()] == ["iter_7"]


def test_what_the_disk_garbles_is_not_published(whole: Path, monkeypatch: pytest.MonkeyPatch):
    sync = files.os.fsync

    def garbles(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if name.endswith("weights.safetensors"):
            with open(name, "r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"\x55")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", garbles)
    with pytest.raises(
        UserError, match=r"iter_7 is not on the disk as it was written: .*weights\.safetensors is damaged"
    ):
        directory.write(whole, content(2.0))
    monkeypatch.undo()
    assert [one.name for one in whole.parent.iterdir()] == ["iter_7"]
    assert read_checkpoint(whole)["state_dict"]["0.weight"].eq(1.0).all()


def write_with_little_room(path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    made = content()
    made["state_dict"]["big"] = torch.ones(100_000)
    try:
        directory.write(path, made)
    except UserError as error:
        assert "cannot be written: File too large" in str(error)
        raise SystemExit(3) from error


@pytest.mark.slow
def test_a_limit_of_the_system_is_met_the_same_way(whole: Path):
    assert in_a_process(write_with_little_room, whole) == 3
    assert [one.name for one in whole.parent.iterdir()] == ["iter_7"]
    assert "big" not in read_checkpoint(whole)["state_dict"]


def test_a_value_that_cannot_be_stored_leaves_nothing(tmp_path: Path):
    with pytest.raises(UserError, match=r"state\['odd'\] is a .*object"):
        directory.write(tmp_path / "a", content() | {"odd": object()})
    with pytest.raises(UserError, match="'checkpoint', which are taken"):
        directory.write(tmp_path / "a", content() | {"meta": {"checkpoint": 1}})
    with pytest.raises(UserError, match="w is a sparse"):
        directory.write(tmp_path / "a", {"state_dict": {"w": torch.eye(2).to_sparse()}})
    assert not list(tmp_path.iterdir())


def test_nothing_of_a_folder_is_unpickled(whole: Path, monkeypatch: pytest.MonkeyPatch):
    def no(*arguments: Any, **options: Any) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(torch, "load", no)
    monkeypatch.setattr("pickle.loads", no)
    monkeypatch.setattr("pickle.load", no)
    assert len(state_dict_of(read_checkpoint(whole))) == 9
