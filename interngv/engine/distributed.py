"""Starting the processes of one run: which backend, which rank, and what a CPU needs that mmengine does not give."""

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from torch import nn

from interngv.errors import UserError

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")
_SIZE_VARIABLE = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS", "mpi": "OMPI_COMM_WORLD_SIZE"}
_RANK_VARIABLE = {"pytorch": "RANK", "slurm": "SLURM_PROCID", "mpi": "OMPI_COMM_WORLD_RANK"}
_NEEDED = {
    "pytorch": ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST"),
    "mpi": ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "MASTER_ADDR"),
}
_STARTED_BY = {
    "pytorch": "torchrun --nproc-per-node=N TOOL ...",
    "slurm": "srun python TOOL ...",
    "mpi": "mpirun -x MASTER_ADDR -np N python TOOL ...",
}
_MEETING_SECONDS = 300


def place(launcher: str) -> tuple[int, int]:
    """This process's rank and the number of processes, from the launcher's environment variables.

    Raises:
        UserError: the variables are not there or no numbers: the launcher did not start this process.
    """
    if launcher == "none":
        return 0, 1
    missing = [name for name in _NEEDED[launcher] if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"--launcher {launcher} without its launcher: {', '.join(missing)} not set; "
            f"start with `{_STARTED_BY[launcher]}` or leave --launcher out"
        )
    names = _RANK_VARIABLE[launcher], _SIZE_VARIABLE[launcher]
    values = [os.environ[name] for name in names]
    if not all(value.isdigit() for value in values) or int(values[0]) >= int(values[1]):
        raise UserError(f"{names[0]}={values[0]} and {names[1]}={values[1]}: expected numbers, rank below the size")
    return int(values[0]), int(values[1])


@contextmanager
def processes(launcher: str, dist_cfg: Mapping) -> Iterator[None]:
    """Join the run's process group for the time of the context.

    With torchrun the group is opened here, before the runner: gloo on a CPU, the config's backend on a GPU. slurm and
    mpi are left to mmengine. The config's ``env_cfg.dist_cfg.timeout`` (seconds) bounds both the wait for the other
    processes (300 by default) and every later exchange (torch's default).

    Raises:
        UserError: a process has no GPU of its own, or the others are not reached.
    """
    device = get_device()
    if launcher == "pytorch" and device in ("cpu", "cuda"):
        _open_group(device, dist_cfg)
    elif launcher in ("slurm", "mpi") and device == "cpu":
        raise UserError(f"--launcher {launcher} needs a GPU; on CPUs start with torchrun and --launcher pytorch")
    elif launcher == "mpi":  # mmengine sets it for SLURM only, and its DDP asks for it
        os.environ["LOCAL_RANK"] = os.environ["OMPI_COMM_WORLD_LOCAL_RANK"]
    try:
        yield
    finally:
        if dist.is_available() and dist.is_initialized():
            # DDP holds the group. Threads of gloo that outlive it abort the process where they still work at its end.
            gc.collect()
            dist.destroy_process_group()


def unwrapped(model: Any) -> nn.Module:
    """The model inside of a wrapper for several processes (DDP); the model itself where it is in none."""
    return model.module if is_model_wrapper(model) else model


def fit_to_cpu(cfg: Config) -> None:
    """Let mmengine wrap the model without a GPU: it takes LOCAL_RANK for a device number otherwise.

    Buffers are not broadcast, as in mmengine's own wrapping, so batch-norm statistics stay each process's own.
    """
    holder, key = (cfg.strategy, "model_wrapper") if cfg.get("strategy") else (cfg, "model_wrapper_cfg")
    wrapper = dict(holder.get(key) or {})
    wrapper.setdefault("type", "MMDistributedDataParallel")
    wrapper.setdefault("device_ids", None)
    wrapper.setdefault("broadcast_buffers", False)
    wrapper.setdefault("find_unused_parameters", cfg.get("find_unused_parameters", False))
    holder[key] = wrapper


def _open_group(device: str, dist_cfg: Mapping) -> None:
    _, size = place("pytorch")
    backend = "gloo" if device == "cpu" else dist_cfg.get("backend", "nccl")
    if device == "cuda":
        _take_gpu(int(os.environ["LOCAL_RANK"]))
    seconds = dist_cfg.get("timeout")
    limit = timedelta(seconds=seconds) if seconds else dist.default_pg_timeout
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        meeting = dist.rendezvous("env://", timeout=timedelta(seconds=seconds or _MEETING_SECONDS))
        store, rank, size = next(meeting)
        store.set_timeout(limit)
        # torchrun's store outlives its processes: those that it starts again must not find the old ones' addresses.
        store = dist.PrefixStore(f"start_{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        dist.init_process_group(backend, timeout=limit, world_size=size, rank=rank, store=store)
    except (dist.DistError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"the other {size - 1} of {size} processes were not reached at {where} ({reason})") from error


def _take_gpu(local_rank: int) -> None:
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise UserError(f"process {local_rank} of this machine has no GPU: there are {count}; start {count} processes")
    torch.cuda.set_device(local_rank)
