"""A killed and resumed training ends as an undisturbed one does, bit for bit."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from tiny_training import in_a_process, same, tiny

from interngv.checkpoint import read_checkpoint
from interngv.engine.checkpoints import latest_checkpoint

AMP = dict(type="interngv.AmpOptimWrapper", dtype="bfloat16", optimizer=dict(type="SGD", lr=0.1, momentum=0.9))
ADAM = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.01), clip_grad=dict(max_norm=1.0))


class Kill(Hook):
    """Kills the process at the start of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def before_train_epoch(self, runner: Any) -> None:
        if runner.epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)


def train(work_dir: Path, changes: dict, kill_at: int | None = None, resume: bool = False) -> None:
    # What the generators did before, a resume has to overrule.
    random.seed(work_dir.name), np.random.seed(len(work_dir.name)), torch.manual_seed(len(work_dir.name))
    runner = tiny(work_dir, resume=resume, **changes)
    if kill_at is not None:
        runner.register_hook(Kill(kill_at))
    runner.train()


def state(work_dir: Path, name: str = "epoch_4") -> dict[str, Any]:
    """What a run ends with, without what tells times and paths."""
    checkpoint = read_checkpoint(work_dir / name)
    logged = checkpoint.pop("message_hub")
    for name in ("time", "cfg", "experiment_name"):
        del checkpoint["meta"][name]
    checkpoint["losses"] = logged["log_scalars"]["train/loss"].data
    checkpoint["info"] = {key: value for key, value in logged["runtime_info"].items() if "score" in key}
    return checkpoint


@pytest.mark.slow
@pytest.mark.parametrize(("wrapper", "kills"), [({}, [2]), (AMP, [1, 3]), (ADAM, [2])], ids=["sgd", "amp", "adamw"])
def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path: Path, wrapper: dict, kills: list[int]):
    changes = dict(optim_wrapper=wrapper) if wrapper else {}
    assert in_a_process(train, tmp_path / "whole", changes) == 0
    for kill_at in kills:
        assert in_a_process(train, tmp_path / "cut", changes, kill_at, kill_at != kills[0]) == -signal.SIGKILL
    assert in_a_process(train, tmp_path / "cut", changes, None, True) == 0
    whole, cut = state(tmp_path / "whole"), state(tmp_path / "cut")
    assert whole.keys() == cut.keys() >= {"optimizer", "param_schedulers", "ema_state_dict", "ranks", "state_dict"}
    for key in whole:
        assert same(whole[key], cut[key]), f"{key} differs"
    assert not same(whole["state_dict"], dict(whole["ema_state_dict"]))  # the average is not the model


@pytest.mark.slow
def test_without_the_generators_states_it_would_end_elsewhere(tmp_path: Path):
    """The test above can fail: dropout and noise do draw from them."""
    from interngv.checkpoint import directory

    assert in_a_process(train, tmp_path / "whole", {}) == 0
    assert in_a_process(train, tmp_path / "cut", {}, 2) == -signal.SIGKILL
    latest = latest_checkpoint(tmp_path / "cut")
    checkpoint = read_checkpoint(latest)
    del checkpoint["ranks"]
    directory.write(latest, checkpoint)
    assert in_a_process(train, tmp_path / "cut", {}, None, True) == 0
    whole, cut = state(tmp_path / "whole"), state(tmp_path / "cut")
    assert not same(whole["state_dict"], cut["state_dict"])
