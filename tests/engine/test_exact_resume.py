"""A run that was killed at a random instant and resumed ends bit for bit as one that was not."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from interngv.checkpoint import directory, read_checkpoint

pytest.importorskip("mmpretrain")
pytestmark = pytest.mark.slow
STEPS, TESTS = 24, Path(__file__).parent
DIST_TRAIN = Path(__file__).resolve().parents[2] / "tools/dist_train.sh"

CONFIG = """
_base_ = ["interngv::_base_/default_runtime.py"]
custom_imports = dict(imports=["interngv", "faulty_run", "loss_recorder"])
host = dict(
    type="mmpretrain.ImageClassifier",
    data_preprocessor=dict(mean=[120.0] * 3, std=[64.0] * 3),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=1280, loss=dict(type="CrossEntropyLoss")),
)
model = dict(
    type="interngv.MultiTaskModel",
    trunk=dict(type="interngv.MetaNet", arch="mn-mini", drop_path_rate=0.3),
    tasks=dict(pictures=host, digits=host),
)
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=32),
    dict(type="RandomErasing", erase_prob=0.5),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    type="interngv.MetaDataLoader",
    sources=dict(
        pictures=dict(
            batch_size=8,
            dataset=dict(type="mmpretrain.CustomDataset", data_root=PICTURES, data_prefix="train", pipeline=pipeline),
        ),
        digits=dict(
            batch_size=8,
            dataset=dict(type="mmpretrain.CustomDataset", data_root=DIGITS, data_prefix="train", pipeline=pipeline),
        ),
    ),
)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=1e-3), clip_grad=dict(max_norm=5.0))
param_scheduler = dict(type="CosineAnnealingLR", T_max=24, by_epoch=False)
train_cfg = dict(type="interngv.MetaTrainLoop", max_iters=24)
custom_hooks = [dict(type="EMAHook"), dict(type="StepRecorder", folder="steps")]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4), logger=dict(interval=8))
"""


@pytest.fixture
def config(tmp_path: Path, class_folder: Path, digits_folder: Path) -> Path:
    path = tmp_path / "two_tasks.py"
    path.write_text(CONFIG.replace("PICTURES", repr(str(class_folder))).replace("DIGITS", repr(str(digits_folder))))
    return path


def lines_of(folder: Path) -> dict[str, dict[str, str]]:
    """What each rank trained on at each step, as it was written last."""
    return {
        file.name: dict(line.split(" ", 1) for line in file.read_text().splitlines()) for file in folder.glob("*.txt")
    }


def assert_same(found: object, expected: object, where: str = "") -> None:
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    else:
        assert found == expected, where


@pytest.mark.parametrize(
    ("arguments", "schedule", "processes", "workers"),
    [
        ([], "interleave", 0, (0, 2)),
        (["--amp"], "joint", 0, (2, 2)),
        ([], "joint", 2, (0, 1)),
    ],
    ids=["interleave, 0 then 2 workers", "joint, amp, 2 workers", "joint, two processes"],
)
def test_killed_and_resumed_is_undisturbed(
    tool: Callable, config: Path, tmp_path: Path, arguments: list, schedule: str, processes: int, workers: tuple
) -> None:
    def train(name: str, *more: str, workers: int) -> object:
        options = [
            f"train_dataloader.schedule={schedule}",
            f"train_dataloader.num_workers={workers}",
            f"custom_hooks.1.folder={tmp_path / name}_steps",
        ]
        launch = ["--launcher", "pytorch"] if processes else []
        given = [config, "--work-dir", tmp_path / name, *arguments, *launch, *more]
        return tool("train", *given, "--cfg-options", *options, processes=processes, PYTHONPATH=str(TESTS))

    undisturbed = train("whole", workers=workers[0])
    assert undisturbed.returncode == 0, undisturbed.stderr[-3000:]

    text = config.read_text()
    killer = (
        f"custom_hooks.append(dict(type='Killer', step=10, marker={str(tmp_path / 'killed')!r}, seed={len(schedule)}))"
    )
    config.write_text(f"{text}\n{killer}\n")
    killed = train("killed_run", workers=workers[0])
    assert killed.returncode != 0 and (tmp_path / "killed").exists()
    config.write_text(text)
    resumed = train("killed_run", "--resume", workers=workers[1])
    assert resumed.returncode == 0 and "resuming from" in resumed.stdout, resumed.stderr[-3000:]

    ends = [read_checkpoint(tmp_path / name / f"iter_{STEPS}") for name in ("killed_run", "whole")]
    for part in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        assert_same(ends[0][part], ends[1][part], part)
    loops = [[rank["loop"]["loader"] for rank in end["ranks"]] for end in ends]
    assert loops[0] == loops[1]
    assert lines_of(tmp_path / "killed_run_steps") == lines_of(tmp_path / "whole_steps")
    assert len(lines_of(tmp_path / "whole_steps")["0.txt"]) == STEPS


def test_torchrun_starts_a_run_again_where_it_was(config: Path, tmp_path: Path) -> None:
    text = config.read_text()
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    ends = []
    for name, port, restarts in (("whole", "29631", "0"), ("again", "29632", "1")):
        killer = f"dict(type='Killer', step=10, marker={str(tmp_path / 'killed')!r}, rank=1)"
        config.write_text(text + (f"\ncustom_hooks.append({killer})\n" if restarts == "1" else ""))
        options = [f"custom_hooks.1.folder={tmp_path / name}_steps"]
        done = subprocess.run(
            [DIST_TRAIN, config, "2", "--work-dir", tmp_path / name, "--cfg-options", *options],
            env=environment | {"PORT": port, "RESTARTS": restarts},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        ends.append(read_checkpoint(tmp_path / name / f"iter_{STEPS}"))
    assert (tmp_path / "killed").exists() and "resuming from" in done.stdout
    for part in ("state_dict", "ema_state_dict", "optimizer"):
        assert_same(ends[1][part], ends[0][part], part)
    assert lines_of(tmp_path / "again_steps") == lines_of(tmp_path / "whole_steps")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_asked_to_stop_it_saves_and_ends_well(tool: Callable, config: Path, tmp_path: Path, number: int) -> None:
    killer = f"dict(type='Killer', step=5, seconds=0.01, marker='{tmp_path}/killed', number={int(number)})"
    config.write_text(f"{config.read_text()}\ncustom_hooks.append({killer})\n")
    done = tool("train", config, "--work-dir", tmp_path / "run", PYTHONPATH=str(TESTS))
    assert done.returncode == 0, done.stderr[-3000:]
    (latest,) = sorted(map(str, (tmp_path / "run").glob("iter_*")), key=lambda path: int(path.split("_")[-1]))[-1:]
    assert f"it goes on from {latest}" in done.stdout and directory.verify(latest)["iter"] < STEPS


def test_a_second_run_in_the_same_work_dir_refuses(tool: Callable, config: Path, tmp_path: Path) -> None:
    from interngv.engine.checkpoints.lock import work_dir_lock

    with work_dir_lock(tmp_path / "run"):
        done = tool("train", config, "--work-dir", tmp_path / "run", PYTHONPATH=str(TESTS))
    assert done.returncode == 2 and "is in use by process" in done.stderr
