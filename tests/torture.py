"""Kills a run at random instants of its saving and counts what is lost: ``python tests/torture.py --kills 200``.

Every child goes on from the last checkpoint as a resumed run does, keeps one checkpoint and one best, and saves without
a pause: a step, a best one in place of the best before, the step again under its name. After every kill the work dir's
latest checkpoint has to load, to be of one moment, and to be the last that was finished or the one after.
"""

import argparse
import ctypes
import multiprocessing
import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # processes are forked, which CUDA does not bear

import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner

from interngv.checkpoint import directory, read_checkpoint
from interngv.engine.checkpoints import KeepsCheckpoints, latest_checkpoint
from interngv.errors import UserError

SIZE = 512  # a megabyte of weights, and as much of momentum


@MODELS.register_module()
class OneMatrix(BaseModel):
    """Weights to save."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(SIZE, SIZE, bias=False)

    def forward(self, inputs: Any, mode: str = "tensor") -> Any:
        """Not called: nothing is trained."""


class SavingRunner(KeepsCheckpoints, Runner):
    """mmengine's runner with our checkpoints."""


def build(work_dir: Path) -> SavingRunner:
    """A runner at its start, as ``Runner.train`` has it after building."""
    loader = dict(batch_size=1, num_workers=0, dataset=[0], sampler=dict(type="InfiniteSampler"))
    config = dict(
        model=dict(type="OneMatrix"),
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=10**9, val_interval=10**9),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        default_hooks=dict(
            checkpoint=dict(
                type="interngv.CheckpointHook",
                by_epoch=False,
                interval=1,
                max_keep_ckpts=1,
                save_best="score",
                rule="greater",
            )
        ),
        randomness=dict(seed=0),
        log_level="CRITICAL",
        default_scope="mmengine",
        experiment_name=f"torture_{os.getpid()}_{time.time_ns()}",
        resume=True,
    )
    runner = SavingRunner.from_cfg(Config(config))
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    (weight,) = runner.model.parameters()
    weight.grad = torch.zeros_like(weight)
    runner.optim_wrapper.step()  # makes the momentum
    return runner


def save_without_end(runner: SavingRunner, progress: Any) -> None:
    """Go on from the last checkpoint and save step after step; ``progress`` is the last step that is safe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    runner.load_or_resume()
    progress.value = runner.iter
    runner.call_hook("before_train")
    hook = next(hook for hook in runner.hooks if hasattr(hook, "keep_ckpt_ids"))
    (weight,) = runner.model.parameters()
    momentum = runner.optim_wrapper.optimizer.state[weight]["momentum_buffer"]
    while True:
        step = runner.iter + 1
        with torch.no_grad():
            weight.fill_(step)
            momentum.fill_(step)
        hook.after_train_iter(runner, 0)
        runner.train_loop._iter = step
        progress.value = step
        hook.after_val_epoch(runner, {"score": step})


def examine(work_dir: Path, finished: int) -> str | None:
    """Say what is wrong with what a killed run left, None where nothing is."""
    complaints: list[str] = []
    try:
        latest = latest_checkpoint(work_dir, complaints.append)
        if latest is None:
            return "no checkpoint" if finished else None
        found = read_checkpoint(latest)
        for path in directory.checkpoints(work_dir):
            directory.verify(path)
    except UserError as error:
        return str(error)
    if complaints:
        return complaints[0]
    step = found["meta"]["iter"]
    if not finished <= step <= finished + 1:
        return f"{latest} is of step {step}, {finished} was finished"
    weight, momentum = found["state_dict"]["linear.weight"], found["optimizer"]["state"][0]["momentum_buffer"]
    if not (weight.eq(step).all() and momentum.eq(step).all()):
        return f"{latest} is not of one moment"
    info = found["message_hub"]["runtime_info"]
    if info.get("best_score") and not Path(info["best_ckpt"]).is_dir():
        return f"{latest} names {info['best_ckpt']} as the best, which is not there"
    return None


def torture(kills: int, seed: int, folder: Path, longest: float = 0.25) -> tuple[list[str], int, int]:
    """Kill ``kills`` times, each after up to ``longest`` seconds of saving.

    Returns:
        What was wrong, the number of kills that left a half-written or half-removed folder, the number of steps saved.
    """
    torch.set_num_threads(1)  # or a forked child waits for threads that it does not have
    chance, wrong, within, finished = random.Random(seed), [], 0, 0
    runner = build(folder)
    processes = multiprocessing.get_context("fork")
    for kill in range(kills):
        progress = processes.Value(ctypes.c_int64, -1, lock=False)
        child = processes.Process(target=save_without_end, args=(runner, progress))
        child.start()
        while progress.value < 0 and child.is_alive():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, longest))
        child.kill()
        child.join()
        if child.exitcode != -signal.SIGKILL:
            return [*wrong, f"kill {kill}: the run ended by itself with status {child.exitcode}"], within, finished
        within += any(folder.glob(".*"))
        finished = max(finished, progress.value)
        if problem := examine(folder, finished):
            wrong.append(f"kill {kill}: {problem}")
    return wrong, within, finished


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        wrong, within, steps = torture(options.kills, options.seed, Path(folder))
    for line in wrong:
        print(line)
    count = f"{len(wrong)} of {options.kills} kills left something that cannot be gone on from"
    print(f"torture: {count}")
    print(f"({within} fell into a save, {steps} steps were saved, seed {options.seed}, {time.time() - start:.0f} s)")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
