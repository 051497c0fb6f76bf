"""A function in two processes of one gloo group, for tests of what processes exchange."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.dist import get_rank
from torch import distributed, multiprocessing


def in_two_processes(function: Callable[..., dict], folder: Path, *args: Any) -> list[dict]:
    """What a function of the rank returns (tensors and plain values) in each of two processes of one gloo group."""
    if torch.cuda.is_available():
        pytest.skip("CUDA and autograd's threads for it do not bear a fork")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_in_group, args=(rank, folder, function, args)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        process.kill()
    said = [file.read_text() for file in sorted(folder.glob("error_*"))]
    assert [process.exitcode for process in processes] == [0, 0], "\n".join(said)
    return [torch.load(file, weights_only=True) for file in sorted(folder.glob("*.pt"))]


def _in_group(rank: int, folder: Path, function: Callable[..., dict], args: tuple) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        assert get_rank() == rank
        torch.save(function(rank, *args), folder / f"{rank}.pt")
        distributed.barrier()
    except BaseException:
        (folder / f"error_{rank}").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)
