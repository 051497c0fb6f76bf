"""Reading checkpoints: what trainings write is read, what runs code, is damaged or missing is refused by name."""

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
