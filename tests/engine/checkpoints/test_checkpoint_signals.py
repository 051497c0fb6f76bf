"""Being asked to stop: the step ends, a checkpoint is there; a second time at once."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from mmengine.hooks import Hook
from tiny_training import in_a_process, started, tiny

from interngv.checkpoint import read_checkpoint
from interngv.engine.checkpoints import Interrupted, interruption, latest_checkpoint

ASKS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]


@pytest.mark.parametrize("asked", ASKS)
def test_the_first_signal_sets_a_flag_and_the_handlers_come_back(asked: signal.Signals, capfd: pytest.CaptureFixture):
    before = [signal.getsignal(one) for one in ASKS]
    with interruption:
        assert not interruption.requested and not interruption.agreed()
        os.kill(os.getpid(), asked)
        assert interruption.requested and interruption.agreed()
    assert [signal.getsignal(one) for one in ASKS] == before
    assert not interruption.agreed()
    assert asked.name in capfd.readouterr().err
    with interruption:
        assert not interruption.requested


def ask_twice(number: int) -> None:
    with interruption:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        time.sleep(60)


def fork_and_ask() -> None:
    """A forked worker that inherits the handlers ends by SIGTERM at once, and by no other."""
    with interruption:
        worker = os.fork()
        if not worker:
            time.sleep(60)
            os._exit(0)
        for one in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
            time.sleep(0.2)
            os.kill(worker, one)
        _, status = os.waitpid(worker, 0)
        assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM and not interruption.requested


@pytest.mark.slow
def test_the_second_signal_ends_the_process_and_workers_are_not_asked():
    for asked in (signal.SIGTERM, signal.SIGINT):
        assert in_a_process(ask_twice, int(asked)) == 128 + asked
    assert in_a_process(fork_and_ask) == 0


class AskAt(Hook):
    """Sends a signal while a step, or a validation, runs."""

    def __init__(self, step: int, in_val: bool = False) -> None:
        self.step, self.in_val = step, in_val

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter + 1 == self.step and not self.in_val:
            os.kill(os.getpid(), signal.SIGTERM)

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == self.step and self.in_val and batch_idx == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def loop(by_epoch: bool, interval: int, val_interval: int) -> dict:
    hook = dict(type="interngv.CheckpointHook", interval=interval, by_epoch=by_epoch)
    if by_epoch:
        train = dict(by_epoch=True, max_epochs=4, val_interval=val_interval)
    else:
        train = dict(by_epoch=False, max_iters=12, val_interval=val_interval)
    return dict(default_hooks=dict(checkpoint=hook), train_cfg=train, param_scheduler=None, custom_hooks=None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "ask", "at", "saved"),
    [
        (loop(False, 100, 100), AskAt(5), 5, "iter_5"),
        (loop(False, 5, 100), AskAt(5), 5, "iter_5"),
        (loop(False, 100, 4), AskAt(8, in_val=True), 8, "iter_8"),
        (loop(True, 2, 1), AskAt(6, in_val=True), 6, "epoch_1"),
    ],
    ids=["step", "saved anyway", "validation", "epoch's validation"],
)
def test_a_run_that_is_asked_saves_stops_and_goes_on(tmp_path: Path, changes: dict, ask: AskAt, at: int, saved: str):
    runner = tiny(tmp_path, **changes)
    runner.register_hook(ask)
    with interruption, pytest.raises(Interrupted, match=f"after step {at}; it goes on from .*{saved}"):
        runner.train()
    assert latest_checkpoint(tmp_path) == tmp_path / saved
    assert read_checkpoint(tmp_path / saved)["meta"]["iter"] == at
    resumed = tiny(tmp_path, resume=True, **changes)
    resumed.train()
    assert resumed.iter in (12, 24)


@pytest.mark.slow
def test_within_an_epoch_nothing_is_saved_that_cannot_be_gone_on_from(tmp_path: Path):
    runner = tiny(tmp_path, **loop(True, 1, 10))
    runner.register_hook(AskAt(9))
    with interruption, pytest.raises(Interrupted, match=r"within epoch 2; it goes on from .*epoch_1"):
        runner.train()
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_1"


@pytest.mark.slow
def test_an_accumulation_of_gradients_is_finished_first(tmp_path: Path):
    wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1), accumulative_counts=4)
    runner = tiny(tmp_path, **loop(False, 100, 100), optim_wrapper=wrapper)
    runner.register_hook(AskAt(5))
    with interruption, pytest.raises(Interrupted, match="after step 8"):
        runner.train()


def train_slowly(work_dir: Path) -> None:
    changes = loop(False, 100, 10**9)
    changes["train_cfg"]["max_iters"] = 10**6
    with interruption:
        try:
            tiny(work_dir, **changes).train()
        except Interrupted:
            raise SystemExit(0) from None


@pytest.mark.slow
def test_a_signal_from_outside(tmp_path: Path):
    process = started(train_slowly, tmp_path)
    while not (tmp_path / "iter_100").is_dir():
        assert process.is_alive()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGUSR1)
    process.join(60)
    assert process.exitcode == 0
    assert read_checkpoint(latest_checkpoint(tmp_path))["meta"]["iter"] >= 100
