"""A training of a second that draws from every random generator: digits, noise, dropout, batch norm, EMA, momentum."""

import copy
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from torch import Tensor, nn

from interngv.engine.checkpoints import KeepsCheckpoints


class TinyRunner(KeepsCheckpoints, Runner):
    """mmengine's runner with our checkpoints."""


@MODELS.register_module()
class TinyNet(BaseModel):
    """Two convolutions (one in channels-last memory), batch norm, dropout, and a linear layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3).to(memory_format=torch.channels_last)
        self.norm = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.3)
        self.linear = nn.Linear(8, 10)
        self.tied = nn.Linear(8, 10)
        self.tied.weight = self.linear.weight

    def forward(self, inputs: Tensor, label: Tensor, mode: str = "tensor") -> Any:
        x = self.norm(self.conv2(self.conv(inputs).relu())).relu().mean((2, 3))
        logits = self.linear(self.dropout(x)) + self.tied(self.dropout(x))
        if mode == "loss":
            return {"loss": nn.functional.cross_entropy(logits.float(), label)}
        return [{"right": bool(right)} for right in logits.argmax(1) == label]


@DATASETS.register_module()
class NoisyDigits(BaseDataset):
    """Sixty of scikit-learn's digits, with noise from numpy's and python's global generators."""

    METAINFO = dict(classes=tuple("0123456789"), palette=[(0, 0, 0), (0, 0, 0)])

    def load_data_list(self) -> list[dict]:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        return [
            dict(image=image.reshape(1, 8, 8).astype(np.float32), label=int(label))
            for image, label in zip(images[:60], labels[:60], strict=True)
        ]

    def prepare_data(self, index: int) -> dict:
        info = self.get_data_info(index)
        noisy = info["image"] / 16 + np.random.normal(0, 0.1, (1, 8, 8)).astype(np.float32)
        return dict(inputs=torch.from_numpy(noisy), label=info["label"])


@METRICS.register_module()
class Share(BaseMetric):
    """Share of right answers."""

    def process(self, data_batch: Any, data_samples: list[dict]) -> None:
        self.results += [sample["right"] for sample in data_samples]

    def compute_metrics(self, results: list[bool]) -> dict:
        return {"accuracy": sum(results) / len(results)}


@METRICS.register_module()
class Scripted(BaseMetric):
    """Accuracies that do not hang on the training: up, down, up, ..."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = iter([0.3, 0.5, 0.4, 0.6, 0.1])

    def process(self, data_batch: Any, data_samples: list[dict]) -> None:
        self.results.append(None)

    def compute_metrics(self, results: list) -> dict:
        return {"accuracy": next(self.scores)}


def tiny_config(work_dir: Path, **changes: Any) -> Config:
    """Epochs of six steps of ten digits; ``changes`` replace whole entries."""
    by_epoch = changes.get("train_cfg", {}).get("by_epoch", "train_cfg" not in changes)
    loader = dict(
        batch_size=10,
        num_workers=0,
        dataset=dict(type="NoisyDigits"),
        sampler=dict(type="DefaultSampler" if by_epoch else "InfiniteSampler", shuffle=True),
        collate_fn=dict(type="default_collate"),
    )
    config = dict(
        model=dict(type="TinyNet"),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=copy.deepcopy(loader) | dict(sampler=dict(type="DefaultSampler", shuffle=False)),
        val_evaluator=dict(type="Share"),
        train_cfg=dict(by_epoch=True, max_epochs=4, val_interval=1),
        val_cfg=dict(),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        param_scheduler=[
            dict(type="CosineAnnealingLR", T_max=4, by_epoch=True, convert_to_iter_based=True),
            dict(type="LinearMomentum", start_factor=0.5, by_epoch=False, begin=0, end=20),
        ],
        default_hooks=dict(
            checkpoint=dict(type="interngv.CheckpointHook", interval=1, save_best="accuracy", rule="greater"),
            logger=dict(type="LoggerHook", interval=100),
        ),
        custom_hooks=[dict(type="EMAHook", momentum=0.1)],
        randomness=dict(seed=3),
        log_level="ERROR",
        experiment_name=f"tiny_{work_dir.name}_{os.getpid()}_{os.urandom(4).hex()}",
        default_scope="mmengine",
    )
    return Config(config | changes)


def tiny(work_dir: Path, **changes: Any) -> TinyRunner:
    """The training's runner."""
    return TinyRunner.from_cfg(tiny_config(work_dir, **changes))


def started(action: Callable[..., object], *arguments: object) -> Any:
    """A process of its own in which ``action`` runs, with one thread; it may be killed."""
    server = multiprocessing.get_context("forkserver")  # torch is imported once, and nothing computed before the fork
    server.set_forkserver_preload(["interngv.engine", "sklearn.datasets"])
    process = server.Process(target=_with_one_thread, args=(action, *arguments))
    process.start()
    return process


def in_a_process(action: Callable[..., object], *arguments: object) -> int:
    """Run ``action`` to its end in a process of its own; returns the exit code, negative for a signal."""
    process = started(action, *arguments)
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def _with_one_thread(action: Callable[..., object], *arguments: object) -> None:
    torch.set_num_threads(1)
    action(*arguments)


def same(one: Any, two: Any) -> bool:
    """Whether two trees of state are equal in types, order, memory layout and every bit."""
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, Tensor):
        alike = one.dtype == two.dtype and one.shape == two.shape and one.stride() == two.stride()
        return alike and bits(one) == bits(two)
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()
    if isinstance(one, float):
        return np.float64(one).tobytes() == np.float64(two).tobytes()
    return same(vars(one), vars(two)) if hasattr(one, "__dict__") else one == two


def bits(tensor: Tensor) -> bytes:
    """A tensor's numbers in row-major order, by numpy's way of going through a tensor's storage."""
    flat = [tensor[index] for index in np.ndindex(*tensor.shape)]
    return b"".join(bytes(one.detach().clone().reshape(1).view(torch.uint8).tolist()) for one in flat)
