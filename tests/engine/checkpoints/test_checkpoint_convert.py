"""Between folders, host files and safetensors: nothing is lost, nothing is run, nothing is written over."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import load_checkpoint
from safetensors.torch import load_file, save_file
from tiny_training import same
from typer.testing import CliRunner

from interngv.checkpoint import read_checkpoint
from interngv.cli import app
from interngv.engine.checkpoints import convert
from interngv.errors import UserError


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """A checkpoint as mmengine writes it."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    hub = {"log_scalars": {"loss": HistoryBuffer([1.0], [1])}, "runtime_info": {"iter": 3}, "resumed_keys": {}}
    content = dict(state_dict=net.state_dict(), meta=dict(epoch=1, iter=3, config="raise SystemExit", names=("a", "b")))
    torch.save(content | dict(optimizer={"state": {0: torch.ones(2)}}, message_hub=hub), tmp_path / "epoch_1.pth")
    return tmp_path / "epoch_1.pth"


def test_there_and_back_again(training: Path, tmp_path: Path):
    before = read_checkpoint(training)
    assert (
        convert(training, tmp_path / "epoch_1", state=True) == f"{tmp_path}/epoch_1: 7 tensors, optimizer, message_hub"
    )
    folder = read_checkpoint(tmp_path / "epoch_1")
    assert same(folder, before) and folder["state_dict"]._metadata == before["state_dict"]._metadata
    convert(tmp_path / "epoch_1", tmp_path / "again.pth", state=True)
    assert same(read_checkpoint(tmp_path / "again.pth"), before)


def test_without_the_state_a_host_gets_weights_and_meta(training: Path, tmp_path: Path):
    convert(training, tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "host.pth")
    found = torch.load(tmp_path / "host.pth", weights_only=True)
    assert set(found) == {"state_dict", "meta"} and "config" not in found["meta"]
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    load_checkpoint(net, str(tmp_path / "host.pth"), strict=True)
    assert same(dict(net.state_dict()), dict(read_checkpoint(training)["state_dict"]))


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state}], ids=["bare", "model"])
def test_released_weights_come_in(tmp_path: Path, wrap: Any):
    state = {"stem.weight": torch.randn(2, 3), "stem.bias": torch.randn(2)}
    torch.save(wrap(state), tmp_path / "released.pth")
    convert(tmp_path / "released.pth", tmp_path / "ours")
    convert(tmp_path / "released.pth", tmp_path / "ours.safetensors")
    assert same(dict(read_checkpoint(tmp_path / "ours")["state_dict"]), state)
    assert same(load_file(tmp_path / "ours.safetensors"), state)
    save_file(state, tmp_path / "timm.safetensors")
    convert(tmp_path / "timm.safetensors", tmp_path / "timm.pth")
    assert torch.equal(torch.load(tmp_path / "timm.pth")["state_dict"]["stem.bias"], state["stem.bias"])


def test_the_command(training: Path, tmp_path: Path):
    command = CliRunner()
    done = command.invoke(app, ["convert", str(training), str(tmp_path / "epoch_1"), "--state"])
    assert done.exit_code == 0 and done.output == f"{tmp_path}/epoch_1: 7 tensors, optimizer, message_hub\n"
    refused = command.invoke(app, ["convert", str(tmp_path / "epoch_2"), str(tmp_path / "a.pth")])
    assert refused.exit_code == 2 and "epoch_2 does not exist; did you mean 'epoch_1'?" in refused.output


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (open, (str(self.path), "w"))


def test_what_is_refused_leaves_nothing(training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.save({"state_dict": {}, "x": Harmful(tmp_path / "ran")}, tmp_path / "harmful.pth")
    torch.save({"note": 3}, tmp_path / "empty.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "bare.pth")
    there = set(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"harmful\.pth is not read"):
        convert(tmp_path / "harmful.pth", tmp_path / "a")
    with pytest.raises(UserError, match="holds no weights"):
        convert(tmp_path / "empty.pth", tmp_path / "a")
    with pytest.raises(UserError, match="epoch_1.pth is there already"):
        convert(training, training)
    with pytest.raises(UserError, match="holds weights only"):
        convert(training, tmp_path / "a.safetensors", state=True)
    with pytest.raises(UserError, match="bare.pth holds no state"):
        convert(tmp_path / "bare.pth", tmp_path / "a", state=True)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for name in ("a", "a.pth", "a.safetensors"):
        with pytest.raises(UserError, match=f"{name} cannot be written: No space left"):
            convert(training, tmp_path / name)
    assert set(tmp_path.iterdir()) == there
