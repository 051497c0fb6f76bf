"""A small real training job that the engine's tests share: LeNet-5 on ten classes of 32 x 32 grey pictures."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
_base_ = ["interngv::_base_/default_runtime.py"]
model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(num_classes=10, mean=[120.0], std=[64.0], to_rgb=False),
    backbone=dict(type="LeNet5", num_classes=10),
    head=dict(type="ClsHead", loss=dict(type="CrossEntropyLoss")),
)
pipeline = [dict(type="LoadImageFromFile", color_type="grayscale"), dict(type="PackInputs")]
train_dataloader = dict(
    batch_size=20, num_workers=1, drop_last=True,
    dataset=dict(type="CustomDataset", data_root="{root}", data_prefix="train", pipeline=pipeline),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    batch_size=50, num_workers=0,
    dataset=dict(type="CustomDataset", data_root="{root}", data_prefix="val", pipeline=pipeline),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_evaluator = dict(type="Accuracy", topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.05, momentum=0.9))
param_scheduler = dict(type="CosineAnnealingLR", T_max=4, by_epoch=True, begin=0, end=4)
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(logger=dict(interval=10))
"""


@pytest.fixture(scope="session")
def lenet_config(tmp_path_factory: pytest.TempPathFactory, class_folder: Path) -> Path:
    """The job's config file."""
    path = tmp_path_factory.mktemp("config") / "lenet.py"
    path.write_text(CONFIG.replace("{root}", str(class_folder)))
    return path


@pytest.fixture(scope="session")
def tool() -> Callable[..., subprocess.CompletedProcess]:
    """Runs a tool in processes of its own: ``tool("train", *arguments, processes=0, **environment)``."""
    return run_tool


def run_tool(name: str, *arguments: object, processes: int = 0, **environment: str) -> subprocess.CompletedProcess:
    """Run ``tools/NAME.py`` from a neutral folder, with torchrun where ``processes`` is given."""
    start = [sys.executable]
    if processes:
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    known = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return subprocess.run(
        [*start, str(ROOT / "tools" / f"{name}.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=300,
        env=known | {"OMP_NUM_THREADS": "1"} | environment,
    )


@pytest.fixture(scope="session")
def trained(tool: Callable, lenet_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work dir of one finished epoch of the job, trained by tools/train.py in a process of its own."""
    work_dir = tmp_path_factory.mktemp("trained")
    done = tool("train", lenet_config, "--work-dir", work_dir)
    assert done.returncode == 0, done.stderr[-3000:]
    return work_dir
