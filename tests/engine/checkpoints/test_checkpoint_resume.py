"""A killed and resumed training ends as an undisturbed one does, bit for bit."""

import contextlib
import json
import logging
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Runner
from tiny_training import in_a_process, same, tiny, tiny_config

from interngv.checkpoint import directory, read_checkpoint
from interngv.checkpoint.codec import decode, encode
from interngv.engine.checkpoints import latest_checkpoint
from interngv.engine.checkpoints.runner import _load_schedulers, _scheduler_states
from interngv.errors import UserError

pytestmark = pytest.mark.gpu
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
    seed = len(work_dir.name)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    runner = tiny(work_dir, resume=resume, **changes)
    if kill_at is not None:
        runner.register_hook(Kill(kill_at))
    runner.train()


@contextlib.contextmanager
def capture_logs() -> Iterator[list[str]]:
    """What mmengine's current logger is told."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    logger.setLevel("WARNING")
    yield lines
    logger.removeHandler(handler)


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
    assert in_a_process(train, tmp_path / "whole", {}) == 0
    assert in_a_process(train, tmp_path / "cut", {}, 2) == -signal.SIGKILL
    latest = latest_checkpoint(tmp_path / "cut")
    checkpoint = read_checkpoint(latest)
    del checkpoint["ranks"]
    directory.write(latest, checkpoint)
    assert in_a_process(train, tmp_path / "cut", {}, None, True) == 0
    whole, cut = state(tmp_path / "whole"), state(tmp_path / "cut")
    assert not same(whole["state_dict"], cut["state_dict"])


SCHEDULERS = {
    "ConstantLR": dict(factor=0.5, end=7),
    "CosineAnnealingLR": dict(T_max=9),
    "CosineRestartLR": dict(periods=[4, 8], restart_weights=[1, 0.5], eta_min=0.0),
    "ExponentialMomentum": dict(gamma=0.9),
    "LinearLR": dict(),
    "MultiStepLR": dict(milestones=[4, 7]),
    "OneCycleLR": dict(eta_max=0.5, total_steps=12),
    "PolyLR": dict(eta_min=0.01),
    "StepLR": dict(step_size=3),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_goes_on(name: str):
    def build() -> tuple[torch.optim.Optimizer, Any]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9)
        config = dict(type=name, by_epoch=False, **SCHEDULERS[name])
        return optimizer, PARAM_SCHEDULERS.build(config, default_args=dict(optimizer=optimizer))

    def steps(optimizer: torch.optim.Optimizer, scheduler: Any, count: int) -> list:
        values = []
        for _ in range(count):
            optimizer.step()
            scheduler.step()
            values.append([optimizer.param_groups[0][key] for key in ("lr", "momentum")])
        return values

    whole, half, resumed = build(), build(), build()
    expected = steps(*whole, 10)
    assert steps(*half, 5) == expected[:5] and len({tuple(one) for one in expected}) > 1
    state = json.loads(
        json.dumps(encode(dict(optimizer=half[0].state_dict(), schedulers=_scheduler_states([half[1]]))))
    )
    found = decode(state)
    resumed[0].load_state_dict(found["optimizer"])
    _load_schedulers({"a": [resumed[1]]}, {"a": found["schedulers"]}, "x")
    assert steps(*resumed, 5) == expected[5:]


def test_another_number_of_schedulers_is_named():
    with pytest.raises(UserError, match="checkpoint x is of 2 schedulers, the config has 1"):
        _load_schedulers([object()], [{}, {}], "x")


@pytest.mark.slow
def test_an_older_run_of_mmengine_can_be_gone_on_from(tmp_path: Path):
    theirs = dict(default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=2, max_keep_ckpts=1)))
    Runner.from_cfg(
        tiny_config(tmp_path, **theirs, train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=9))
    ).train()
    ours = dict(default_hooks=dict(checkpoint=dict(type="interngv.CheckpointHook", interval=2, max_keep_ckpts=1)))
    runner = tiny(tmp_path, resume=True, **ours)
    with capture_logs() as lines:
        runner.train()
    assert any("epoch_2.pth holds no states of random generators" in line for line in lines)
    assert {one.name for one in tmp_path.glob("epoch_*")} == {"epoch_4"}  # epoch_2.pth was one too many
    assert read_checkpoint(tmp_path / "epoch_4")["meta"]["iter"] == 24


def test_weights_alone_are_not_resumed_from(tmp_path: Path):
    runner = tiny(tmp_path, custom_hooks=None)
    runner.save_checkpoint(tmp_path, "best.pth", save_optimizer=False, save_param_scheduler=False)
    with pytest.raises(UserError, match="best cannot be resumed: it has no optimizer, message_hub"):
        runner.resume(str(tmp_path / "best"))


def test_what_the_hub_holds_that_cannot_be_saved_is_left_out_aloud(tmp_path: Path):
    runner = tiny(tmp_path)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.message_hub.update_info("odd", object())
    runner.message_hub.update_info("even", (2, 4))
    runner.call_hook("before_run")
    with capture_logs() as lines:
        runner.save_checkpoint(tmp_path, "a.pth", save_param_scheduler=False)
    assert any("not saved: message_hub['odd'] is a builtins.object" in line for line in lines)
    info = read_checkpoint(tmp_path / "a")["message_hub"]["runtime_info"]
    assert info["even"] == (2, 4) and "odd" not in info
