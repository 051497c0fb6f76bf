"""The engine against a bare PyTorch loop and mmengine's own runner: a step, a save, a resume, memory.

mn-mini with a classification head at 32 x 32, batch 64, pictures in memory, no worker processes: what is measured is the
engine's own work. Usage: ``python -m benchmarks.engine [--check]``. Needs mmpretrain.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import nn
from torch.utils.data import DataLoader, Dataset

import interngv  # noqa: F401  (registers the plug-ins)
from benchmarks.harness import Goal, arguments, environment, finish, in_fresh_process, interleaved, peak_growth
from interngv.engine.launch import build_runner

BATCH, SIZE, CLASSES, PICTURES = 64, 32, 10, 4096
HOST = dict(
    type="mmpretrain.ImageClassifier",
    data_preprocessor=dict(mean=[128.0] * 3, std=[64.0] * 3),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=CLASSES, in_channels=1280, loss=dict(type="CrossEntropyLoss")),
)
TRUNK = dict(type="interngv.MetaNet", arch="mn-mini")
OPTIMIZER = dict(type="AdamW", lr=1e-3)


@DATASETS.register_module()
class PicturesInMemory(Dataset):
    """Random pictures with random labels, packed as mmpretrain packs them."""

    def __init__(self, count: int = PICTURES) -> None:
        from mmpretrain.structures import DataSample

        generator = torch.Generator().manual_seed(0)
        self.pictures = torch.randint(256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
        self.samples = [DataSample().set_gt_label(i % CLASSES) for i in range(count)]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(inputs=self.pictures[index], data_samples=self.samples[index])
