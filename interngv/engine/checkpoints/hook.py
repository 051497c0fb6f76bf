"""When checkpoints are saved and removed, and what happens when the run is asked to stop."""

import inspect
from collections.abc import Callable
from logging import WARNING
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import CheckpointHook as MMCheckpointHook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop

from interngv.checkpoint import directory
from interngv.checkpoint.files import replaced
from interngv.engine.checkpoints.convert import publish
from interngv.engine.checkpoints.latest import POINTER
from interngv.engine.checkpoints.runner import KeepsCheckpoints
from interngv.engine.checkpoints.signals import Interrupted, interruption
from interngv.engine.random_state import random_state, set_random_state
from interngv.errors import UserError, did_you_mean
from interngv.registry import HOOKS

_KEPT, _REPLACED = "keep_ckpt_ids", "replaced_ckpts"  # among the message hub's runtime_info


@HOOKS.register_module()
class CheckpointHook(MMCheckpointHook):
    """mmengine's ``CheckpointHook`` of which no checkpoint is lost; for runners with :class:`KeepsCheckpoints`.

    * An older checkpoint, or a best one, is removed when the newer is whole on the disk. Those that a killed run had
      still to remove, the run that goes on from it removes.
    * The best scores and their checkpoints are found again after a resume and after the folder was moved.
    * Validation leaves the random generators as they were, so that a run goes on from a checkpoint that was saved
      before one as it does after it.
    * A run that is asked to stop (see :mod:`interngv.engine.checkpoints.signals`) saves and raises ``Interrupted``
      after its optimizer's step. Within an epoch of ``EpochBasedTrainLoop``, which cannot go on from there, it raises
      only.

    Args:
        **kwargs: mmengine's options (interval, by_epoch, max_keep_ckpts, save_best, ...).

    Raises:
        UserError: an unknown option, another runner, or what :meth:`KeepsCheckpoints.save_checkpoint` raises.
    """

    _default_greater_keys = [*MMCheckpointHook._default_greater_keys, "score"]  # as MetaValLoop's

    filename_tmpl: str
    file_backend: Any
    best_ckpt_path: str | None
    best_ckpt_path_dict: dict[str, str | None]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in self.args:
            known = inspect.signature(MMCheckpointHook.__init__).parameters
            raise UserError(f"CheckpointHook has no option {name!r}{did_you_mean(name, known)}")
        self.filename_tmpl = self.filename_tmpl.removesuffix(".pth")
        self._replaced: list[str] = []
        self._saved_iter = -1
        self._before_val: dict | None = None

    def before_train(self, runner: Any) -> None:
        """Take up what the resumed run knew, and remove what it had still to remove."""
        if not isinstance(runner, KeepsCheckpoints):
            raise UserError("interngv.CheckpointHook works in interngv's runner; start with tools/train.py")
        hub = runner.message_hub
        kept = hub.pop_info(_KEPT, [])
        self._replaced = hub.pop_info(_REPLACED, [])
        super().before_train(runner)
        for key in [key for key in hub.runtime_info if key == "last_ckpt" or key.startswith("best_ckpt")]:
            hub.update_info(key, self._here(hub.get_info(key)))
        self.last_ckpt = hub.get_info("last_ckpt")
        if self.save_best and len(self.key_indicators) == 1:
            self.best_ckpt_path = hub.get_info("best_ckpt")
        elif self.save_best:
            self.best_ckpt_path_dict = {key: hub.get_info(f"best_ckpt_{key}") for key in self.key_indicators}
        self.keep_ckpt_ids = list(kept)
        self._remove_outdated(runner)

    def before_val(self, runner: Any) -> None:
        """Note where the random generators of training stand."""
        self._before_val = random_state()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Save where the interval says so; save and stop where the run was asked to."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if not interruption.agreed() or not _has_stepped(runner.optim_wrapper):
            return
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise Interrupted(f"stopped as asked within epoch {runner.epoch + 1}; {self._word()}")
        self._stop(runner, runner.iter + 1)

    def after_val_epoch(self, runner: Any, metrics: dict) -> None:
        """Put the random generators back and save the best; save and stop where the run was asked to."""
        if self._before_val:
            set_random_state(self._before_val)
        super().after_val_epoch(runner, metrics)
        if interruption.agreed():
            self._stop(runner, runner.iter)

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> None:
        """Save, then remove what is beyond ``max_keep_ckpts``; ``step`` is an epoch or an iteration as in the name."""
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir, name))
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        if self.max_keep_ckpts > 0:
            # Saved with those about to go: where the run is killed before they are gone, its successor removes them.
            self.keep_ckpt_ids = [one for one in self.keep_ckpt_ids if one != step] + [step]
            runner.message_hub.update_info(_KEPT, self.keep_ckpt_ids)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
        )
        self._saved_iter = meta["iter"]
        self._remove_outdated(runner)
        self._point_to_last(runner)

    def _save_best_checkpoint(self, runner: Any, metrics: dict) -> None:
        """Save as mmengine does, but remove the best before only when the new one is whole."""
        if not self.save_best:
            return
        storage, self.file_backend = self.file_backend, _RemovesLater(self.file_backend, self._replaced.append)
        runner.message_hub.update_info(_REPLACED, self._replaced)
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = storage
        self._remove_outdated(runner)

    def _remove_outdated(self, runner: Any) -> None:
        outdated = [Path(path) for path in self._replaced if path not in self._best_paths()]
        self._replaced = []
        runner.message_hub.update_info(_REPLACED, self._replaced)
        if self.max_keep_ckpts > 0:
            steps = self.keep_ckpt_ids[: -self.max_keep_ckpts]
            outdated += [Path(self.out_dir, self.filename_tmpl.format(step)) for step in steps]
            self.keep_ckpt_ids = self.keep_ckpt_ids[-self.max_keep_ckpts :]
            runner.message_hub.update_info(_KEPT, self.keep_ckpt_ids)
        if is_main_process():
            for path in outdated:
                _remove(path)

    def _best_paths(self) -> list[str | None]:
        if not self.save_best:
            return []
        return [self.best_ckpt_path] if len(self.key_indicators) == 1 else list(self.best_ckpt_path_dict.values())

    def _here(self, path: str) -> str:
        """A checkpoint's path of an earlier run, after its folder was moved to where this run saves."""
        here = Path(self.out_dir, Path(path).name)
        return str(here) if here.exists() else path

    @master_only
    def _point_to_last(self, runner: Any) -> None:
        with replaced(Path(runner.work_dir, POINTER)) as file:
            file.write(str(self.last_ckpt).encode())

    @master_only
    def _publish_model(self, runner: Any, ckpt_path: str) -> None:
        file = publish(ckpt_path, self.published_keys or [])
        runner.logger.info(f"The checkpoint ({ckpt_path}) is published to {file}.")

    def _stop(self, runner: Any, done: int) -> None:
        if self._saved_iter != done:
            meta = dict(epoch=runner.epoch, iter=done)
            self._save_checkpoint_with_step(runner, runner.epoch if self.by_epoch else done, meta)
        raise Interrupted(f"stopped as asked after step {done}; {self._word()}")

    def _word(self) -> str:
        return f"it goes on from {self.last_ckpt}" if self.last_ckpt else "no checkpoint was saved yet"


class _RemovesLater:
    """A storage of mmengine's of which removals are noted instead of done."""

    def __init__(self, storage: Any, note: Callable[[str], None]) -> None:
        self._storage, self._note = storage, note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def remove(self, path: str) -> None:
        self._note(path)

    rmtree = remove


def _has_stepped(wrapper: Any) -> bool:
    """Whether no gradients of an accumulation wait, which no checkpoint holds."""
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return all(one.should_update() for one in wrappers)


def _remove(path: Path) -> None:
    file = path if path.is_file() else path.with_name(f"{path.name}.pth")  # of a run of mmengine's own
    try:
        if directory.is_checkpoint(path):
            directory.remove(path)
        elif file.is_file():
            file.unlink()
    except OSError as error:
        print_log(f"{path} cannot be removed: {error.strerror}", logger="current", level=WARNING)
