"""The global random generators of a process: python's, numpy's, torch's on the CPU and on the current GPU."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Where the generators stand, in values that a checkpoint holds."""
    state = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators where they stood; a GPU's only where there is one."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def seed_generators(seed: int) -> None:
    """Seed python's, numpy's and torch's global CPU generators with a number of 64 bits."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)  # all 64 bits, as a list, would take six times as long
    torch.default_generator.manual_seed(seed)


@contextmanager
def generators_put_back() -> Iterator[None]:
    """Whatever this context seeds or draws, afterwards the three generators stand where they stood."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
