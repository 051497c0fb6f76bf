"""A hook for tests: how much of a model a process holds."""

import json
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class ShareRecorder(Hook):
    """Writes numbers of elements to ``FOLDER/RANK.json``: of the ``whole`` model, and this process's own."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def after_train(self, runner) -> None:
        """Count."""
        params = [param for group in runner.optim_wrapper.optimizer.param_groups for param in group["params"]]
        states = [value for own in runner.optim_wrapper.optimizer.state.values() for value in own.values()]
        counts = dict(
            whole=sum(param.numel() for param in params),
            weights=sum(map(_here, params)),
            state=sum(_here(value) for value in states if value.ndim),
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{runner.rank}.json").write_text(json.dumps(counts))


def _here(tensor: torch.Tensor) -> int:
    return (tensor.to_local() if hasattr(tensor, "to_local") else tensor).untyped_storage().nbytes() // tensor.itemsize
