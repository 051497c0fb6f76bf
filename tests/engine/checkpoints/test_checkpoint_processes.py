"""Checkpoints of a run over two processes: each has its state back, and all of them stop together."""

import errno
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from test_checkpoint_resume import Kill, state
from test_checkpoint_signals import AskAt
from tiny_training import TinyRunner, same, started, tiny_config

from interngv.checkpoint import directory, read_checkpoint
from interngv.engine.checkpoints import Interrupted, interruption
from interngv.engine.checkpoints.runner import gather_bytes
from interngv.engine.distributed import fit_to_cpu, processes
from interngv.errors import UserError

pytestmark = pytest.mark.slow


def on_two(action: Callable[..., object], *arguments: object, world: int = 2) -> list[int]:
    """Exit codes of an action that runs in several processes of one group."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    run = [started(_as_rank, rank, world, port, action, *arguments) for rank in range(world)]
    for process in run:
        process.join(120)
        assert process.exitcode is not None, "it hangs"
    return [process.exitcode for process in run]


def _as_rank(rank: int, world: int, port: int, action: Callable[..., object], *arguments: object) -> None:
    places = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=world, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    os.environ.update({name: str(value) for name, value in places.items()})
    with processes("pytorch", dict(timeout=60)):
        action(*arguments)


class Draws(Hook):
    """Draws a number on every process, each another."""

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        runner.message_hub.update_scalar("train/drawn", torch.rand(()).item())


class LoopState(Hook):
    """Gives the loop a state: the process it belongs to, and what it was given back."""

    def before_run(self, runner: Any) -> None:
        runner.train_loop.state_dict = lambda: {"of": runner.rank, "at": runner.iter}
        runner.train_loop.load_state_dict = lambda state: runner.message_hub.update_info("given", state)


def build(work_dir: Path, **changes: Any) -> TinyRunner:
    cfg = tiny_config(work_dir, launcher="pytorch", **changes)
    fit_to_cpu(cfg)
    return TinyRunner.from_cfg(cfg)


def train(work_dir: Path, seed: int, kill_at: int | None, **changes: Any) -> None:
    torch.manual_seed(seed)
    runner = build(work_dir, resume=True, custom_hooks=None, randomness=dict(seed=3, diff_rank_seed=True))
    for hook in [Draws(), LoopState(), *([Kill(kill_at)] if kill_at else [])]:
        runner.register_hook(hook)
    runner.train()
    if runner.rank and (given := runner.message_hub.get_info("given")):
        assert given == {"of": runner.rank if runner.world_size == 2 else 0, "at": 6}


def test_each_process_goes_on_with_its_own_state(tmp_path: Path):
    assert on_two(train, tmp_path / "whole", 1, None) == [0, 0]
    assert on_two(train, tmp_path / "cut", 2, 2) == [-signal.SIGKILL] * 2
    assert [rank["loop"]["of"] for rank in read_checkpoint(tmp_path / "cut" / "epoch_2")["ranks"]] == [0, 1]
    assert on_two(train, tmp_path / "cut", 3, None) == [0, 0]
    whole, cut = state(tmp_path / "whole"), state(tmp_path / "cut")
    first, second = whole["ranks"]
    assert not same(first["random"]["torch"], second["random"]["torch"])
    assert not first["buffers"] and set(second["buffers"]) == {"norm.running_mean", "norm.running_var"}
    for key in whole:
        assert same(whole[key], cut[key]), f"{key} differs"


def test_another_number_of_processes_takes_over(tmp_path: Path):
    assert on_two(train, tmp_path, 1, 2) == [-signal.SIGKILL] * 2
    assert on_two(train, tmp_path, 2, None, world=3) == [0, 0, 0]
    last = read_checkpoint(tmp_path / "epoch_4")
    drawn = [rank["random"]["torch"] for rank in last["ranks"]]
    assert len(drawn) == 3 and not any(same(drawn[a], drawn[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def fill_the_disk(work_dir: Path) -> None:
    runner = build(work_dir, custom_hooks=None)

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    directory._write = full  # type: ignore[assignment]
    message = "first process could not write it" if runner.rank else "No space left on device"
    with pytest.raises(UserError, match=message):
        runner.train()
    raise SystemExit(2)


def test_a_full_disk_ends_all_processes(tmp_path: Path):
    assert on_two(fill_the_disk, tmp_path) == [2, 2]


def ask_one(work_dir: Path) -> None:
    loop = dict(type="IterBasedTrainLoop", max_iters=1000, val_interval=1000)
    hook = dict(type="interngv.CheckpointHook", interval=1000, by_epoch=False)
    runner = build(
        work_dir, train_cfg=loop, param_scheduler=None, custom_hooks=None, default_hooks=dict(checkpoint=hook)
    )
    if runner.rank == 1:
        runner.register_hook(AskAt(7))
    with interruption, pytest.raises(Interrupted, match="after step 7"):
        runner.train()


def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path: Path):
    assert on_two(ask_one, tmp_path) == [0, 0]
    assert read_checkpoint(tmp_path / "iter_7")["meta"]["iter"] == 7


def exchange() -> None:
    rank = torch.distributed.get_rank()
    assert gather_bytes(b"x" * rank + b"end") == ([] if rank else [b"end", b"xend"])


def test_bytes_of_different_lengths_are_gathered():
    assert gather_bytes(b"alone") == [b"alone"]
    assert on_two(exchange) == [0, 0]
