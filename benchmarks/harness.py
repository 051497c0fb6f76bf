"""What every benchmark shares: interleaved medians, memory of a fresh process, environment, goals, the last line."""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from interngv.engine.speed import keep_freed_memory

ROUNDS = 5
WARM_UP = 2  # the allocator has settled then


@dataclass(frozen=True)
class Goal:
    """A figure with the bound it should keep: at least ``bound``, or at most where ``at_most``."""

    name: str
    value: float
    bound: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        return f"{self.name} {self.value:.2f} (goal {'<=' if self.at_most else '>='} {self.bound:g})"


def arguments(description: str) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="exit with status 1 where a goal is missed")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timed rounds; medians are reported")
    return parser


def environment(device: str = "cpu") -> str:
    """Machine and versions in one line: a figure means nothing without them."""
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    gpu = f"{torch.cuda.get_device_name()}, " if device == "cuda" else ""
    return (
        f"environment: {gpu}{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__}, load average {load}"
    )


def interleaved(steps: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each step over ``rounds`` rounds in which they take turns, after ``WARM_UP`` rounds.

    Freed memory is kept, for all alike, as a run does (:func:`~interngv.engine.speed.keep_freed_memory`): the kernel's
    page faults would measure the order of the steps.
    """
    keep_freed_memory()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(WARM_UP + rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _status(field: str) -> int:
    # The kernel's own high-water mark: ru_maxrss would begin at the size of the process that started this one.
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{field}:"))


def peak_growth(warm_up: Callable[[], object], step: Callable[[], object]) -> float:
    """MiB by which ``step`` raises this process's peak memory over what it holds after ``warm_up``; once a process."""
    warm_up()
    resident = _status("VmRSS")
    step()
    return (_status("VmHWM") - resident) / 1024


def in_fresh_process(module: str, *args: str) -> float:
    """The number that ``python -m module args`` prints last."""
    run = subprocess.run([sys.executable, "-m", module, *args], check=True, capture_output=True, text=True)
    return float(run.stdout.split()[-1])


def finish(name: str, goals: list[Goal], check: bool) -> None:
    """Prints the one line of figures; exits with status 1 where ``check`` is set and a goal is missed."""
    print(f"{name}: " + "; ".join(map(str, goals)), flush=True)
    missed = [goal.name for goal in goals if not goal.met]
    if check and missed:
        sys.exit(f"{name}: goals missed: {', '.join(missed)}")
