"""Reading checkpoints: what trainings write is read, what runs code, is damaged or missing is refused by name."""

import random
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub

from interngv.checkpoint import read_checkpoint, state_dict_of
from interngv.errors import UserError


class Harmful:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_unsafe_damaged_and_missing_files_are_refused(tmp_path):
    torch.save({"state_dict": {"stem.x": Harmful(tmp_path / "harm")}}, tmp_path / "harmful.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "harmful.pth").read_bytes()[:100])
    (tmp_path / "cut.safetensors").write_bytes(b"\xff" * 100)
    for name, message in [
        ("harmful.pth", "is not read"),
        ("cut.pth", "truncated or no checkpoint"),
        ("cut.safetensors", "truncated or no checkpoint"),
        ("harmfull.pth", "does not exist; did you mean 'harmful.pth'"),
    ]:
        with pytest.raises(UserError, match=f"{name}.*{message}"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "harm").exists()


def test_a_training_checkpoint_is_read_without_its_config_text(tmp_path):
    hub = MessageHub.get_instance("test_checkpoint")
    hub.update_scalar("train/loss", 0.5)
    state = {"weight": torch.ones(2)}
    content = dict(state_dict=state, message_hub=hub.state_dict(), meta=dict(epoch=3, config="raise SystemExit"))
    torch.save(content, tmp_path / "epoch_3.pth")
    found = read_checkpoint(tmp_path / "epoch_3.pth")
    assert found["meta"] == dict(epoch=3)
    assert found["message_hub"]["log_scalars"]["train/loss"].current() == 0.5
    assert torch.equal(state_dict_of(found)["weight"], state["weight"])


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_bytes_are_one_error(tmp_path: Path):
    content = dict(state_dict={"a.weight": torch.ones(3, 4), "b": torch.arange(5)}, meta=dict(epoch=3, names=("x",)))
    chance, refused = random.Random(0), 0
    for as_zip in (True, False):
        torch.save(content, tmp_path / "whole.pth", _use_new_zipfile_serialization=as_zip)
        whole = (tmp_path / "whole.pth").read_bytes()
        for _ in range(200):
            data = bytearray(whole)
            for _ in range(4):
                data[chance.randrange(min(len(data), 700))] = chance.randrange(256)
            (tmp_path / "damaged.pth").write_bytes(data)
            try:
                state_dict_of(read_checkpoint(tmp_path / "damaged.pth"))
            except UserError as error:
                assert "damaged.pth" in str(error)
                refused += 1
    assert refused > 200


def test_weights_have_names():
    assert list(state_dict_of({"state_dict": {"a": torch.ones(1), 3: torch.ones(1), "b": 1}})) == ["a"]


def test_an_old_torch_reads_safetensors_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from safetensors.torch import save_file

    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.5.1+cpu"))
    monkeypatch.delattr(torch.serialization, "safe_globals")
    with pytest.raises(UserError, match=r"a\.pth: .*needs torch >= 2\.6, this is 2\.5\.1.*safetensors or upgrade"):
        read_checkpoint(tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.safetensors")["a"] == 1


def test_a_url_is_refused_as_such():
    with pytest.raises(UserError, match=r"https://host/a\.pth: a URL is not read here; download it first"):
        read_checkpoint("https://host/a.pth")
