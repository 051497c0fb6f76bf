"""When checkpoints are saved and removed: as mmengine says, but never the old before the new."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import CheckpointHook as MMCheckpointHook
from mmengine.runner import Runner
from tiny_training import same, tiny, tiny_config

from interngv.checkpoint import directory, read_checkpoint
from interngv.engine.checkpoints import CheckpointHook, latest_checkpoint
from interngv.errors import UserError

pytestmark = pytest.mark.gpu
BEST = dict(save_best="accuracy", rule="greater")
ITERS = dict(
    train_cfg=dict(type="IterBasedTrainLoop", max_iters=20, val_interval=5),
    param_scheduler=None,
    custom_hooks=None,
)


def hooks(kind: str, **options: Any) -> dict:
    return dict(default_hooks=dict(checkpoint=dict(type=kind, **options), logger=dict(type="LoggerHook", interval=100)))


def saved(folder: Path) -> set[str]:
    """Names of what was saved, of mmengine's files or our folders."""
    return {
        one.name.removesuffix(".pth")
        for one in folder.iterdir()
        if one.suffix == ".pth" or directory.is_checkpoint(one)
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (dict(interval=1, max_keep_ckpts=2, **BEST), {}),
        (dict(interval=3, save_last=True, max_keep_ckpts=1), {}),
        (dict(interval=3, save_last=False, filename_tmpl="my_{}.pth", save_begin=1), {}),
        (dict(interval=4, by_epoch=False, max_keep_ckpts=3, **BEST), ITERS),
        (dict(interval=1, save_best="auto", greater_keys="accuracy"), {}),
    ],
    ids=["epochs", "last", "names", "iterations", "auto"],
)
def test_the_same_are_kept_as_by_mmengine(tmp_path: Path, options: dict, changes: dict):
    changes = changes | dict(val_evaluator=dict(type="Scripted"))
    Runner.from_cfg(tiny_config(tmp_path / "theirs", **changes, **hooks("CheckpointHook", **options))).train()
    tiny(tmp_path / "ours", **changes, **hooks("interngv.CheckpointHook", **options)).train()
    assert saved(tmp_path / "ours") == saved(tmp_path / "theirs") != set()
    assert not list((tmp_path / "ours").glob("*.pth")) and not list((tmp_path / "ours").glob(".*.*"))
    theirs, ours = (Path((tmp_path / run / "last_checkpoint").read_text()).name for run in ("theirs", "ours"))
    assert ours == theirs.removesuffix(".pth")
    last = read_checkpoint(tmp_path / "ours" / ours), read_checkpoint(tmp_path / "theirs" / theirs)
    assert [last[0]["meta"][key] for key in ("epoch", "iter")] == [last[1]["meta"][key] for key in ("epoch", "iter")]
    assert set(last[1]) <= set(last[0])


@pytest.mark.slow
def test_the_old_goes_when_the_new_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    removed = []
    remove = directory.remove

    def looks_first(path: Path) -> None:
        kind = path.name[:4]
        newer = [one for one in directory.checkpoints(tmp_path) if one.name[:4] == kind and one != path]
        assert newer and all(directory.verify(one) for one in newer)
        removed.append(path.name)
        remove(path)

    monkeypatch.setattr(directory, "remove", looks_first)
    options = hooks("interngv.CheckpointHook", interval=1, max_keep_ckpts=1, **BEST)
    tiny(tmp_path, val_evaluator=dict(type="Scripted"), **options).train()
    assert [name for name in removed if name.startswith("epoch")] == ["epoch_1", "epoch_2", "epoch_3"]
    assert [name for name in removed if name.startswith("best")] == [f"best_accuracy_epoch_{epoch}" for epoch in (1, 2)]
    assert saved(tmp_path) == {"epoch_4", "best_accuracy_epoch_4"}


@pytest.mark.slow
def test_mmengines_own_hook_saves_folders_too(tmp_path: Path):
    tiny(tmp_path, **hooks("CheckpointHook", interval=1)).train()
    assert saved(tmp_path) == {f"epoch_{epoch}" for epoch in (1, 2, 3, 4)}
    assert not list(tmp_path.glob("*.pth"))
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_4"


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.slow
def test_the_next_run_removes_what_a_killed_one_had_still_to_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    options = hooks("interngv.CheckpointHook", interval=1, max_keep_ckpts=1)

    def dies(path: Path) -> None:
        raise Killed

    monkeypatch.setattr(directory, "remove", dies)
    with pytest.raises(Killed):
        tiny(tmp_path, **options).train()
    monkeypatch.undo()
    assert saved(tmp_path) == {"epoch_1", "epoch_2"}
    (tmp_path / ".epoch_3.1.tmp").mkdir()
    (tmp_path / ".epoch_3.1.tmp" / "weights.safetensors").touch()
    tiny(tmp_path, resume=True, **options).train()
    assert saved(tmp_path) == {"epoch_4"} and not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_best_scores_survive_a_resume_and_a_move(tmp_path: Path):
    scores = dict(val_evaluator=dict(type="Scripted"))
    options = hooks("interngv.CheckpointHook", interval=1, max_keep_ckpts=1, **BEST) | scores
    short = dict(by_epoch=True, max_epochs=2, val_interval=1)
    tiny(tmp_path / "before", train_cfg=short, **options).train()
    shutil.move(tmp_path / "before", tmp_path / "after")
    tiny(tmp_path / "after", resume=True, **options).train()  # it scores 0.3 and 0.5 again
    info = read_checkpoint(tmp_path / "after" / "epoch_4")["message_hub"]["runtime_info"]
    assert info["best_score"] == 0.5 and info["best_ckpt"] == str(tmp_path / "after" / "best_accuracy_epoch_2")
    assert saved(tmp_path / "after") == {"epoch_4", "best_accuracy_epoch_2"}


@pytest.mark.slow
def test_published_keys_are_a_file_for_host_projects(tmp_path: Path):
    options = dict(interval=4, published_keys=["state_dict", "meta"])
    tiny(tmp_path, **hooks("interngv.CheckpointHook", **options)).train()
    (file,) = tmp_path.glob("epoch_4-????????.pth")
    found = torch.load(file, weights_only=True)
    assert set(found) == {"state_dict", "meta"}
    assert same(dict(found["state_dict"]), dict(read_checkpoint(tmp_path / "epoch_4")["state_dict"]))


def test_unknown_options_and_other_runners_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no option 'intervall'; did you mean 'interval'"):
        CheckpointHook(intervall=1)
    with pytest.raises(UserError, match="works in interngv's runner"):
        CheckpointHook().before_train(object())
    assert issubclass(CheckpointHook, MMCheckpointHook)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_the_last_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write, calls = directory._write, []

    def fills_up(path: Path, chunks: Any) -> dict:
        calls.append(path)
        if "epoch_3" in str(path) and path.name == "state.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, chunks)

    monkeypatch.setattr(directory, "_write", fills_up)
    runner = tiny(tmp_path, **hooks("interngv.CheckpointHook", interval=1, max_keep_ckpts=1))
    with pytest.raises(UserError, match=r"checkpoint .*epoch_3 cannot be written: No space left on device"):
        runner.train()
    assert saved(tmp_path) == {"epoch_2"} and not list(tmp_path.glob(".*"))
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_2"


def test_other_storages_are_refused(tmp_path: Path):
    runner = tiny(tmp_path)
    with pytest.raises(UserError, match="not to s3://bucket"):
        runner.save_checkpoint("s3://bucket", "a.pth")
    with pytest.raises(UserError, match="a folder of this machine"):
        runner.save_checkpoint(str(tmp_path), "a.pth", backend_args=dict(backend="petrel"))
