"""mmengine's checkpoint loaders inside ``safe_loading``: no scheme runs what a file names."""

import io
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from interngv.engine.checkpoints import safe_loading
from interngv.errors import UserError

SCHEMES = list(CheckpointLoader._schemes)


class Harmful:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (open, (str(self.path), "w"))


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose ``*.pth`` every scheme finds under their names: caches, model zoos and storages stand here."""
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)

    class Zoo(dict):
        def __missing__(self, name: str) -> str:
            return f"https://nowhere.invalid/{name}"

    for zoo in ("get_torchvision_models", "get_external_models", "get_mmcls_models"):
        monkeypatch.setattr(mmengine_checkpoint, zoo, Zoo)
    storage = SimpleNamespace(get=lambda name: (folder / name.rpartition("/")[2]).read_bytes())
    monkeypatch.setattr(mmengine_checkpoint, "get_file_backend", lambda *args, **kwargs: storage)
    cloud = SimpleNamespace(
        get=lambda name: SimpleNamespace(name=name, download=lambda to: shutil.copy(folder / name, to))
    )
    monkeypatch.setitem(sys.modules, "pavi", SimpleNamespace(modelcloud=cloud))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(folder)
    return folder


def load(scheme: str, name: str) -> dict:
    host = "nowhere.invalid/" if scheme.startswith("http") else ""
    return CheckpointLoader.load_checkpoint(scheme.replace(r"(\S+\:)?", "") + host + name, "cpu")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_scheme_runs_what_a_file_names(scheme: str, served: Path, tmp_path: Path):
    torch.save(dict(state_dict={}, extra=Harmful(tmp_path / "ran")), served / "harmful.pth")
    with safe_loading(), pytest.raises(UserError, match=r"harmful\.pth is not read: it names \w+\.open"):
        load(scheme, "harmful.pth")
    assert not (tmp_path / "ran").exists()
    if not re.search("s3|petrel", scheme):  # mmengine's second try begins at the end of a storage's stream
        load(scheme, "harmful.pth")  # the trap works, and outside mmengine is as it was
        assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_reads_good_files_without_their_config_text(scheme: str, served: Path):
    weights = {"backbone.a": torch.arange(3.0)}
    torch.save(dict(state_dict=weights, meta=dict(epoch=1, config="raise SystemExit")), served / "good.pth")
    with safe_loading():
        found = load(scheme, "good.pth")
    assert [value.tolist() for value in found["state_dict"].values()] == [[0, 1, 2]]
    assert "config" not in found.get("meta", {})


def test_a_scheme_of_a_plug_in_is_safe_and_stays(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    data = io.BytesIO()
    torch.save(Harmful(tmp_path / "ran"), data)

    def load_from_plugin(filename: str, map_location: str) -> object:
        return torch.load(io.BytesIO(data.getvalue()), weights_only=False)

    with safe_loading():
        CheckpointLoader.register_scheme("plugin://", load_from_plugin)
        with pytest.raises(UserError, match="plugin://x is not read"):
            load("plugin://", "x")
    assert not (tmp_path / "ran").exists()
    assert CheckpointLoader._schemes["plugin://"] is load_from_plugin
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_what_is_not_there_is_one_error(served: Path):
    with safe_loading():
        with pytest.raises(UserError, match=r"s3://none\.pth cannot be fetched"):
            load("s3://", "none.pth")
        with pytest.raises(UserError, match="does not exist"):
            load("", "none.pth")


def test_a_checkpoint_at_hand_is_not_read_again():
    ready = {"gone.pth": dict(state_dict={})}
    with safe_loading(ready):
        assert load("", "gone.pth") == dict(state_dict={})
        assert not ready  # handed over: its memory is the runner's to free
