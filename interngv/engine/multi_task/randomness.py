"""The global random generators that transforms draw from, set for a sample and put back afterwards."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


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
