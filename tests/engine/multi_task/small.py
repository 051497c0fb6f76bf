"""Two small tasks on real 8 x 8 digits that share a trunk with batch norm; runs of them, also in two processes."""

from collections.abc import Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel, BaseModule
from mmengine.optim import OptimWrapper
from mmengine.registry import METRICS, MODELS
from mmengine.runner import Runner
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Dataset

import interngv  # noqa: F401  (registers the multi-task model)
from interngv.engine.checkpoints import KeepsCheckpoints
from interngv.engine.multi_task import SourceBatch

CLASSES = dict(digit=10, parity=2)  # tasks
Labelled = dict[str, Tensor]


class Trunk(BaseModule):
    """Two convolutions, with batch norm between them where asked for."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU(), nn.Conv2d(8, 16, 3)
        )

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.layers(x),)


class Classifier(BaseModel):
    """A host model: any backbone, a linear layer with batch norm, two loss terms and an accuracy."""

    def __init__(self, backbone: dict, classes: int, norm: bool = True) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.head = nn.Sequential(nn.BatchNorm1d(16) if norm else nn.Identity(), nn.Linear(16, classes))

    def forward(self, inputs: Tensor, data_samples: Tensor, mode: str = "tensor") -> Any:
        logits = self.head(self.backbone(inputs)[0].flatten(1))
        if mode != "loss":
            return logits
        entropy = nn.functional.cross_entropy(logits, data_samples)
        accuracy = (logits.argmax(1) == data_samples).float().mean()
        return dict(loss_class=entropy, loss_size=1e-3 * logits.square().mean(), accuracy=accuracy)


@cache
def _digits() -> tuple[Tensor, Tensor]:
    pictures, labels = load_digits(return_X_y=True)
    return torch.from_numpy(pictures).float().reshape(-1, 1, 8, 8) / 16, torch.from_numpy(labels)


def batch(task: str, step: int, size: int = 16) -> Labelled:
    pictures, labels = _digits()
    labels = labels % 2 if task == "parity" else labels
    start = step * size % (len(labels) - size)
    return dict(inputs=pictures[start : start + size].clone(), data_samples=labels[start : start + size])


def part(task: str, step: int, size: int = 16, rank: int = 0, world: int = 1) -> SourceBatch:
    """What the loader gives to one of several processes: its share of the batch."""
    whole = batch(task, step, size * world)
    own = {key: value[rank * size : (rank + 1) * size] for key, value in whole.items()}
    return SourceBatch(task, own, size, [], [])


def spoilt(one: SourceBatch) -> SourceBatch:
    """The batch with one picture's pixel that is not a number."""
    one.data["inputs"][0, 0, 0, 0] = float("nan")
    return one


def shared_model(norm: bool = True, seed: int = 0, **rest: Any) -> Any:
    torch.manual_seed(seed)
    tasks = host_configs(norm)
    return MODELS.build(dict(type="interngv.MultiTaskModel", trunk=dict(type=Trunk, norm=norm), tasks=tasks, **rest))


def host_configs(norm: bool = True) -> dict[str, dict]:
    return {name: dict(type=Classifier, classes=classes, norm=norm) for name, classes in CLASSES.items()}


def plain_model(task: str = "digit", norm: bool = True, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(dict(type=Trunk, norm=norm), CLASSES[task], norm)


def sgd(model: nn.Module, kind: type[OptimWrapper] = OptimWrapper, **rest: Any) -> Any:
    wrapper = kind(optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3), **rest)
    wrapper.initialize_count_status(model, 0, 1000)
    return wrapper


class Digits(Dataset):
    """The digits of one task as a data set; the named samples are spoilt."""

    def __init__(self, task: str, spoilt: Sequence[int] = (), start: int = 0, stop: int = 400) -> None:
        pictures, labels = _digits()
        labels = labels % 2 if task == "parity" else labels
        self.pictures, self.labels = pictures[start:stop].clone(), labels[start:stop]
        self.pictures[list(spoilt)] = float("nan")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return dict(inputs=self.pictures[index], data_samples=self.labels[index])


@METRICS.register_module()
class Hits(BaseMetric):
    """Share of right answers, in percent."""

    default_prefix = "hits"

    def process(self, data_batch: Any, data_samples: Any) -> None:
        labels = data_batch["data_samples"]
        self.results += [bool(logits.argmax() == label) for logits, label in zip(data_samples, labels, strict=True)]

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(top1=100 * sum(results) / len(results))


COLLATE = dict(type="default_collate")


def sources(**spoilt: Sequence[int]) -> dict[str, dict]:
    return {
        task: dict(dataset=dict(type=Digits, task=task, spoilt=spoilt.get(task, ())), batch_size=16, collate_fn=COLLATE)
        for task in CLASSES
    }


class RunnerOfTests(KeepsCheckpoints, Runner):
    """mmengine's runner with checkpoints as tools/train.py gives them."""


def runner(folder: Path, loader: dict[str, Any], hooks: dict[str, Any] | None = None, **rest: Any) -> RunnerOfTests:
    """A run over both tasks; ``rest`` are sections of the config, ``train_cfg`` without its type."""
    train_cfg = dict(type="interngv.MetaTrainLoop") | rest.pop("train_cfg", {})
    config = dict(
        work_dir=str(folder),
        model=shared_model(),
        train_dataloader=dict(type="interngv.MetaDataLoader", sources=sources()) | loader,
        train_cfg=train_cfg,
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        param_scheduler=dict(type="MultiStepLR", milestones=[5, 9], by_epoch=False),
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=5),
            checkpoint=dict(type="interngv.CheckpointHook", by_epoch=False, interval=1000) | (hooks or {}),
        ),
        log_processor=dict(by_epoch=False),
        randomness=dict(seed=1),
        experiment_name=f"{folder.name}-{next(_RUNS)}",
    )
    config = config | rest
    return RunnerOfTests(**config | dict(cfg=Config(rest.get("cfg", {}))))


_RUNS = count()


def validation(*tasks: str) -> dict[str, Any]:
    """Sections of the config for validation on the last digits."""
    loaders = {
        f"{task}s": dict(
            task=task,
            dataset=dict(type=Digits, task=task, start=1400, stop=1790),
            batch_size=100,
            num_workers=0,
            collate_fn=COLLATE,
            sampler=dict(type="DefaultSampler", shuffle=False),
        )
        for task in tasks
    }
    return dict(
        val_dataloader=loaders,
        val_evaluator={name: dict(type="Hits") for name in loaders},
        val_cfg=dict(type="interngv.MetaValLoop"),
    )
