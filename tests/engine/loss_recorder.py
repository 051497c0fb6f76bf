"""Hooks for tests: every step's loss of every process, in full precision; and the samples of its batches."""

from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class LossRecorder(Hook):
    """Appends the loss of each step to ``FOLDER/RANK.txt``."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Write one line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{runner.rank}.txt").open("a") as file:
            file.write(f"{self.line(batch_idx, data_batch, outputs['loss'].double().item())}\n")

    def line(self, step: int, batch: object, loss: float) -> str:
        """What is written of a step."""
        return repr(loss)


@HOOKS.register_module()
class StepRecorder(LossRecorder):
    """Writes the step's number and the samples of each source too."""

    def line(self, step: int, batch: object, loss: float) -> str:
        """What is written of a step."""
        return f"{step} { {name: part.ids for name, part in batch.parts.items()} } {loss!r}"
