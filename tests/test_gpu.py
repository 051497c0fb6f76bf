"""The tests marked ``gpu`` in a process that sees the GPU, which tests/conftest.py hides from all others."""

import ctypes
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def seeing() -> dict[str, str]:
    """The environment as it was before the GPUs were hidden."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    gpus = known.pop("INTERNGV_HIDDEN_GPUS")
    del known["CUDA_VISIBLE_DEVICES"]
    return known | {"INTERNGV_TEST_GPU": "1"} | ({} if gpus == "all" else {"CUDA_VISIBLE_DEVICES": gpus})


def has_gpu() -> bool:
    """Whether torch finds a GPU in a process that may see it; at no cost where there is no driver."""
    with suppress(OSError):
        ctypes.CDLL("libcuda.so.1")
        code = "import torch; raise SystemExit(not torch.cuda.is_available())"
        return subprocess.run([sys.executable, "-c", code], env=seeing()).returncode == 0
    return False


@pytest.mark.slow
def test_what_is_marked_passes_on_the_gpu() -> None:
    if "INTERNGV_TEST_GPU" in os.environ or not has_gpu():
        pytest.skip("needs a GPU, in sight of a process of its own")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu and not slow", "-p", "no:cacheprovider", TESTS]
    done = subprocess.run(command, env=seeing(), cwd=TESTS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-3000:]
