"""Saving and resuming in mmengine's runner: folders that are whole or not there, and all that an exact resume needs."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from logging import WARNING
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mmengine
import torch
from mmengine import dist
from mmengine.hooks import EarlyStoppingHook
from mmengine.logging import print_log
from mmengine.runner import set_random_seed
from torch.optim import Optimizer

from interngv.checkpoint import directory
from interngv.checkpoint.codec import NotStorable, as_bytes, decode, encode
from interngv.engine.checkpoints.latest import latest_checkpoint
from interngv.engine.checkpoints.loading import require_state, safe_loading
from interngv.engine.distributed import unwrapped
from interngv.engine.optim_wrapper import optimizers
from interngv.engine.random_state import random_state, set_random_state
from interngv.engine.speed import IMPLEMENTATIONS
from interngv.errors import UserError

if TYPE_CHECKING:
    from mmengine.runner import Runner
else:
    Runner = object


class KeepsCheckpoints(Runner):
    """Mix-in for mmengine's ``Runner``: checkpoints as in :mod:`interngv.checkpoint.directory`, resumed exactly.

    Saved besides what mmengine saves: of every process its random generators, its train loop's ``state_dict()`` where
    the loop has one, and the buffers that differ from the first process's (batch norms that are not synchronised); the
    counters of ``EarlyStoppingHook``. Nothing that stands in a checkpoint is run on the way back.
    """

    _tidied: frozenset[Path] = frozenset()
    _resume: bool
    _load_from: str | None
    optim_wrapper: Any
    param_schedulers: Any

    def save_checkpoint(
        self,
        out_dir: str | Path,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Save as mmengine's method does, into the folder ``out_dir/filename`` (without ``.pth``); on all processes.

        Without optimizer and schedulers the checkpoint holds weights and ``meta`` only.

        Raises:
            UserError: nothing was saved, on all processes; the message of the first names the reason.
        """
        path = _local(out_dir, file_client_args or backend_args) / str(filename).removesuffix(".pth")
        is_resumable = save_optimizer or save_param_scheduler
        # By all processes: they put a sharded model's tensors together.
        checkpoint: dict[str, Any] = {"state_dict": unwrapped(self.model).state_dict()}
        if save_optimizer:
            checkpoint["optimizer"] = self.optim_wrapper.state_dict()
        if is_resumable:
            checkpoint["ranks"] = self._states_of_ranks()

        def write() -> None:
            if path.parent not in self._tidied:
                directory.tidy(path.parent)
                self._tidied |= {path.parent}
            checkpoint["meta"] = self._meta(meta, by_epoch)
            if is_resumable:
                checkpoint.update(self._state(save_param_scheduler))
            self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
            kept = checkpoint if is_resumable else {key: checkpoint[key] for key in ("state_dict", "meta")}
            directory.write(path, kept)

        _on_first_process(write, f"checkpoint {path}")

    def load_or_resume(self) -> None:
        """Load or resume as the config says; ``resume=True`` alone means the work dir's latest whole checkpoint."""
        if self._resume and self._load_from is None:
            found = latest_checkpoint(self.work_dir, self.logger.warning)
            self._resume, self._load_from = found is not None, str(found) if found else None
        super().load_or_resume()

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict:
        """Load weights as mmengine's method does, from a checkpoint's folder as well, and safely."""
        with safe_loading():
            return super().load_checkpoint(filename, *args, **kwargs)

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = "default",
    ) -> None:
        """Go on from a checkpoint as if the run had not stopped; on another number of processes the loop sees to it.

        Unlike mmengine's method it runs no text from the file, and the number of GPUs may differ.

        Raises:
            UserError: the checkpoint is damaged, holds weights only, or is of other schedulers.
        """
        self._resume = True  # EMAHook looks at it
        checkpoint = self.load_checkpoint(filename, map_location="cpu" if map_location == "default" else map_location)
        require_state(checkpoint, filename)
        meta = checkpoint["meta"]
        self._take_seed(meta.get("seed"))
        self._compare_data(meta.get("dataset_meta"))
        self.message_hub.load_state_dict(checkpoint["message_hub"])
        if resume_optimizer:
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            own = optimizers(self.optim_wrapper)
            hooks = [one.register_load_state_dict_pre_hook(_with_own_kernels) for one in own]
            self.optim_wrapper.load_state_dict(checkpoint["optimizer"])
            for hook in hooks:
                hook.remove()
        if resume_param_scheduler and self.param_schedulers is not None and "param_schedulers" in checkpoint:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
            _load_schedulers(self.param_schedulers, checkpoint["param_schedulers"], filename)
        for hook, counters in zip(_early_stopping(self.hooks), checkpoint.get("early_stopping", []), strict=False):
            hook.best_score, hook.wait_count = counters
        self._take_ranks(checkpoint.get("ranks"), filename)
        self.train_loop._epoch, self.train_loop._iter = meta["epoch"], meta["iter"]
        self._has_loaded = True
        self.logger.info(f"resumed epoch: {self.epoch}, iter: {self.iter}")

    def _state(self, save_param_scheduler: bool) -> dict[str, Any]:
        hub = self.message_hub.state_dict()
        hub["runtime_info"] = _storable(hub["runtime_info"], "message_hub")
        counters = [(hook.best_score, hook.wait_count) for hook in _early_stopping(self.hooks)]
        state = {"message_hub": hub, "early_stopping": counters}
        if save_param_scheduler and self.param_schedulers is not None:
            state["param_schedulers"] = _scheduler_states(self.param_schedulers)
        return state

    def _meta(self, given: dict | None, by_epoch: bool) -> dict[str, Any]:
        # Hooks save before the loop counts the epoch or the step.
        counted = {"epoch": self.epoch + by_epoch, "iter": self.iter + (not by_epoch)}
        meta = counted | (given or {})
        meta |= {
            "seed": self.seed,
            "experiment_name": self.experiment_name,
            "time": time.strftime("%Y%m%d_%H%M%S"),
            "mmengine_version": mmengine.__version__,
            "cfg": self._config_text,
        }
        info = _metainfo(self.train_loop)
        return meta | ({} if info is None else {"dataset_meta": _storable(info, "dataset_meta")})

    @cached_property
    def _config_text(self) -> str:
        return self.cfg.pretty_text  # formatting takes about a second

    def _states_of_ranks(self) -> list[Any]:
        """On the first process what each process alone has, in their order."""
        own = {"random": random_state(), "buffers": _own_buffers(unwrapped(self.model))}
        if hasattr(self.train_loop, "state_dict"):
            own["loop"] = self.train_loop.state_dict()
        texts = gather_bytes(json.dumps(encode(own, "rank")).encode())
        return [decode(json.loads(text)) for text in texts]

    def _take_ranks(self, ranks: list[Any] | None, filename: str) -> None:
        if not ranks:
            self.logger.warning(f"{filename} holds no states of random generators: the run does not go on exactly")
            return
        rank, world = dist.get_dist_info()
        own = ranks[rank if world == len(ranks) else 0]
        if "loop" in own and hasattr(self.train_loop, "load_state_dict"):
            self.train_loop.load_state_dict(own["loop"])
        buffers = dict(unwrapped(self.model).named_buffers())
        for name in buffers.keys() & own["buffers"].keys():
            buffers[name].copy_(own["buffers"][name])
        if rank < len(ranks):
            set_random_state(ranks[rank]["random"])
        else:
            set_random_seed(self.seed or 0, diff_rank_seed=True)

    def _take_seed(self, seed: int | None) -> None:
        current = self._randomness_cfg.get("seed")
        if seed is None or seed == current:
            return
        if current is not None:
            self.logger.warning(f"the run's seed {seed} stays, the config's {current} is not used")
        self._randomness_cfg.update(seed=seed)
        self.set_randomness(**self._randomness_cfg)

    def _compare_data(self, before: Mapping | None) -> None:
        now = _metainfo(self.train_loop)
        known = None if now is None else _storable(now, "dataset_meta")
        if encode(before) != encode(known):
            self.logger.warning("the training data's metainfo (classes, ...) differs from that in the checkpoint")


def _with_own_kernels(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state with this run's choice of kernels: the saved run may have been sharded."""
    groups = list(state["param_groups"])
    for i, own in enumerate(optimizer.param_groups[: len(groups)]):
        groups[i] = groups[i] | {name: own[name] for name in IMPLEMENTATIONS if name in own}
    return state | {"param_groups": groups}


def gather_bytes(own: bytes) -> list[bytes]:
    """On the first process the bytes of every process, in their order, on the others nothing; nothing is pickled."""
    data = torch.frombuffer(bytearray(own), dtype=torch.uint8)
    sizes = [int(size) for size in dist.all_gather(torch.tensor(len(data)))]
    padded = torch.nn.functional.pad(data, (0, max(sizes) - len(data)))
    gathered = dist.gather(padded.to(dist.get_comm_device()) if len(sizes) > 1 else padded)
    return [one[:size].cpu().numpy().tobytes() for one, size in zip(gathered, sizes, strict=False)]


def _own_buffers(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The buffers of this process's model that differ from the first process's."""
    buffers = {name: one for name, one in model.named_buffers() if one.numel()}
    if dist.get_world_size() == 1 or not buffers:
        return {}
    digests = [bytearray(hashlib.sha256(as_bytes(one).numpy().data).digest()) for one in buffers.values()]
    own = torch.stack([torch.frombuffer(digest, dtype=torch.uint8) for digest in digests])
    first = own.clone()
    dist.broadcast(first)
    differs = (own != first).any(1).tolist()
    return {name: one for (name, one), is_own in zip(buffers.items(), differs, strict=True) if is_own}


def _on_first_process(action: Callable[[], None], what: str) -> None:
    """Run on the first process; where that fails no process goes on."""
    failure: Exception | None = None
    if dist.is_main_process():
        try:
            action()
        except OSError as error:
            failure = UserError(f"{what} cannot be written: {error.strerror or error}")
        except Exception as error:
            failure = error
    failed = torch.tensor(int(failure is not None))
    dist.broadcast(failed)
    if failure:
        raise failure
    if failed:
        raise UserError(f"{what} is not there: the first process could not write it, see its message")


def _local(out_dir: str | Path, storage: Mapping | None) -> Path:
    if "://" in str(out_dir) or (storage or {}).get("backend", "local") not in ("local", "disk"):
        raise UserError(f"checkpoints are written to a folder of this machine or a mounted one, not to {out_dir}")
    return Path(out_dir)


def _metainfo(loop: Any) -> Mapping | None:
    return getattr(getattr(getattr(loop, "dataloader", None), "dataset", None), "metainfo", None)


def _storable(values: Mapping, what: str) -> dict:
    """The entries that a checkpoint can hold; others are left out with a warning, as mmengine does."""
    kept = {}
    for key, value in values.items():
        try:
            encode(value, f"{what}[{key!r}]")
            kept[key] = value
        except NotStorable as error:
            print_log(f"not saved: {error}", logger="current", level=WARNING)
    return kept


def _scheduler_states(schedulers: Any) -> Any:
    if isinstance(schedulers, dict):
        return {name: _scheduler_states(some) for name, some in schedulers.items()}
    # Functions (OneCycleLR keeps one) are the config's and stay those of the new run.
    return [{key: value for key, value in one.state_dict().items() if not callable(value)} for one in schedulers]


def _load_schedulers(schedulers: Any, states: Any, filename: str) -> None:
    if type(schedulers) is not type(states) or len(schedulers) != len(states):
        raise UserError(f"checkpoint {filename} is of {len(states)} schedulers, the config has {len(schedulers)}")
    if isinstance(schedulers, dict):
        for name, some in schedulers.items():
            _load_schedulers(some, states[name], filename)
        return
    for scheduler, state in zip(schedulers, states, strict=True):
        scheduler.load_state_dict(state)


def _early_stopping(hooks: Iterable[Any]) -> list[EarlyStoppingHook]:
    return [hook for hook in hooks if isinstance(hook, EarlyStoppingHook)]
