"""Sharded training, mmengine's strategies, and the scripts that start processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from torch import nn
from two_processes import in_two_processes

from interngv.checkpoint import directory, read_checkpoint
from interngv.engine import FSDPStrategy, launch
from interngv.engine.sharding import keep_whole_state, shard
from interngv.engine.strategies import Shards, train_by_mmengine
from interngv.errors import UserError

TESTS, TOOLS = Path(__file__).parent, Path(__file__).resolve().parents[2] / "tools"
FSDP = "strategy = dict(type='interngv.FSDPStrategy')"

# The state of a sharded model


class Net(nn.Module):
    """Parameters of all kinds: rows that two processes cannot share evenly, a single number, one used twice, frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)])
        self.tied = nn.Linear(3, 3, bias=False)
        self.again = self.tied
        self.scale = nn.Parameter(torch.ones(1))
        self.blocks[0].bias.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.again(self.tied(x)) * self.scale


def trained(sharded: bool, state: dict | None = None, steps: int = 3) -> tuple[Net, torch.optim.Optimizer]:
    """A net after some steps, from a state where one is given; processes have halves of the batch."""
    torch.manual_seed(0)
    net = Net()
    if sharded:
        shard(net, FSDPStrategy().units)
    optimizer = torch.optim.AdamW([param for param in net.parameters() if param.requires_grad], lr=0.1)
    if sharded:
        keep_whole_state(optimizer)
    if state:
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
    net.blocks[1].eval()
    batches = torch.randn(steps, 8, 5, generator=torch.Generator().manual_seed(1))
    for batch in batches:
        net(batch.chunk(2)[get_rank()] if sharded else batch).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return net, optimizer


def whole(net: Net, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return dict(net=dict(net.state_dict()), optimizer=optimizer.state_dict())


def assert_close(found: Any, expected: Any, atol: float, where: str = "") -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_close(found[key], expected[key], atol, f"{where}/{key}")
    elif isinstance(expected, torch.Tensor):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), where
        torch.testing.assert_close(found, expected, atol=atol, rtol=0, msg=f"{where} differs")
    else:
        assert found == expected, where


def test_a_sharded_models_state_is_that_of_a_whole_one(tmp_path: Path) -> None:
    found, _ = in_two_processes(lambda rank: whole(*trained(sharded=True)), tmp_path)
    assert_close(found, whole(*trained(sharded=False)), atol=1e-6)


def test_a_sharded_model_goes_on_from_a_whole_ones_state(tmp_path: Path) -> None:
    start = whole(*trained(sharded=False))
    found, _ = in_two_processes(lambda rank: whole(*trained(sharded=True, state=start)), tmp_path)
    assert_close(found, whole(*trained(sharded=False, state=start)), atol=1e-6)


def test_mmengines_loader_fills_what_fits_a_sharded_model(tmp_path: Path) -> None:
    given = {name: torch.full_like(value, 7) for name, value in Net().state_dict().items()}
    given["blocks.2.weight"] = torch.zeros(4, 5)  # as of a head for other classes

    def loaded(rank: int) -> dict:
        net, _ = trained(sharded=True, steps=0)
        _load_checkpoint_to_model(net, given)
        return dict(net.state_dict())

    found, _ = in_two_processes(loaded, tmp_path)
    torch.manual_seed(0)
    before = Net().state_dict()
    for name, value in found.items():
        assert torch.equal(value, before[name] if name == "blocks.2.weight" else given[name]), name


# What is refused


def test_units_that_no_module_has() -> None:
    with pytest.raises(UserError, match=r"units='layers\.\.\*' .* blocks, tied"):
        shard(Net(), "layers..*")


def test_averaged_weights_are_refused() -> None:
    cfg = Config(dict(strategy=dict(type="interngv.FSDPStrategy"), custom_hooks=[dict(type="EMAHook")]))
    with pytest.raises(UserError, match="EMAHook"):
        Shards.wrap_model(SimpleNamespace(distributed=True, cfg=cfg), None, Net())


def test_deepspeed_that_is_not_installed(lenet_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interngv.engine.strategies.find_spec", lambda name: None)
    options = {"strategy": dict(type="DeepSpeedStrategy", zero_optimization=dict(stage=2))}
    with pytest.raises(UserError, match="pip install deepspeed"):
        launch.train(str(lenet_config), work_dir=str(tmp_path / "run"), options=options)
    assert not (tmp_path / "run").exists()


def test_mmengines_strategies_do_without_our_loop() -> None:
    cfg = Config(dict(strategy=dict(type="DeepSpeedStrategy"), train_cfg=dict(type="interngv.MetaTrainLoop")))
    with pytest.raises(UserError, match="MetaTrainLoop does not go with strategy DeepSpeedStrategy"):
        train_by_mmengine(cfg, None)


# Runs in two processes

HOST = """
_base_ = ["BASE"]
custom_imports = dict(_delete_=True, imports=["interngv", "loss_recorder", "share_recorder"])
model = dict(
    backbone=dict(
        _delete_=True, type="interngv.MetaNet", arch="mn-mini", in_channels=1, norm_eval=True, drop_path_rate=0.1
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=1280),
)
train_dataloader = dict(batch_size=8, num_workers=0)
val_dataloader = val_cfg = val_evaluator = param_scheduler = None
optim_wrapper = dict(optimizer=dict(lr=0.01), clip_grad=dict(max_norm=1.0))
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=8)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4), logger=dict(interval=2))
randomness = dict(seed=3)
"""
MULTI_TASK = """
_base_ = ["interngv::_base_/default_runtime.py"]
custom_imports = dict(_delete_=True, imports=["interngv", "loss_recorder", "share_recorder"])
host = dict(
    type="mmpretrain.ImageClassifier",
    data_preprocessor=dict(num_classes=10, mean=[120.0], std=[64.0], to_rgb=False),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=1280, loss=dict(type="CrossEntropyLoss")),
)
model = dict(
    type="interngv.MultiTaskModel",
    trunk=dict(type="interngv.MetaNet", arch="mn-mini", in_channels=1, norm_eval=True, with_cp=True),
    tasks=dict(one=host, two=host),
    loss_weights=dict(two=0.5),
)
pipeline = [dict(type="LoadImageFromFile", color_type="grayscale"), dict(type="PackInputs")]
data = dict(type="mmpretrain.CustomDataset", data_root="DIGITS", data_prefix="train", pipeline=pipeline)
train_dataloader = dict(
    type="interngv.MetaDataLoader",
    schedule="joint",
    sources=dict(one=dict(batch_size=8, dataset=data), two=dict(batch_size=4, dataset=data)),
)
validation = dict(
    batch_size=50,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dict(data, data_prefix="val"), test_mode=True),
)
val_dataloader = dict(one=validation, two=validation)
val_evaluator = dict(one=dict(type="mmpretrain.Accuracy"), two=dict(type="mmpretrain.Accuracy"))
val_cfg = dict(type="interngv.MetaValLoop")
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.01, momentum=0.9))
train_cfg = dict(
    type="interngv.MetaTrainLoop", max_iters=8, val_interval=4, conflict_every=2, clip=dict(two=dict(max_norm=0.3))
)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4), logger=dict(interval=2))
find_unused_parameters = True
randomness = dict(seed=3)
"""
Train = Callable[..., Path]


@pytest.fixture(scope="module")
def train(tool: Callable, lenet_config: Path, digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains HOST or MULTI_TASK with lines added; returns the work dir. The same arguments train only once."""
    pytest.importorskip("mmpretrain")
    folder = tmp_path_factory.mktemp("runs")
    done: dict[tuple, Path] = {}

    def run(text: str, *more: str, resume: Path | None = None, processes: int = 2) -> Path:
        key = (text, more, resume, processes)
        if key not in done:
            done[key] = work_dir = folder / str(len(done))
            text = text.replace("BASE", str(lenet_config)).replace("DIGITS", str(digits_folder))
            hooks = [dict(type=kind, folder=f"{work_dir}/{kind}") for kind in ("LossRecorder", "ShareRecorder")]
            config = folder / f"config_{work_dir.name}.py"
            config.write_text("\n".join([text, f"custom_hooks = {hooks}", *more]))
            arguments = ["--resume", resume] if resume else []
            arguments += ["--launcher", "pytorch"] if processes else []
            ended = tool(
                "train", config, "--work-dir", work_dir, *arguments, processes=processes, PYTHONPATH=str(TESTS)
            )
            assert ended.returncode == 0, ended.stderr[-3000:]
        return done[key]

    return run


def losses(work_dir: Path) -> torch.Tensor:
    """(steps,) losses, mean of the processes."""
    ranks = [[float(line) for line in file.read_text().split()] for file in (work_dir / "LossRecorder").iterdir()]
    return torch.tensor(ranks, dtype=torch.float64).mean(0)


def logged(work_dir: Path, name: str) -> list[float]:
    """A column of the log."""
    rows = [json.loads(line) for line in next(work_dir.rglob("scalars.json")).read_text().splitlines()]
    return [row[name] for row in rows if name in row]


def state(checkpoint: Path) -> dict:
    """Weights and the optimizer's state, without the kernels that step: a sharded run takes others."""
    found = {part: read_checkpoint(checkpoint)[part] for part in ("state_dict", "optimizer")}
    for group in found["optimizer"]["param_groups"]:
        del group["fused"]
    return found


def assert_shares(work_dir: Path, world: int = 2) -> None:
    """Every process holds its part of weights and optimizer state, in memory of that size."""
    for file in (work_dir / "ShareRecorder").iterdir():
        counts = json.loads(file.read_text())
        for part in ("weights", "state"):  # rows that cannot be divided, and one unit's gathered weights, are beyond
            assert 0.95 / world < counts[part] / counts["whole"] < 1.1 / world, (part, counts)


@pytest.mark.slow
@pytest.mark.parametrize("job", [HOST, MULTI_TASK], ids=["host", "multi-task"])
def test_sharded_training_is_ddps(train: Train, job: str) -> None:
    sharded, ddp = train(job, FSDP), train(job)
    assert len(losses(ddp)) == 8
    torch.testing.assert_close(losses(sharded), losses(ddp), atol=1e-5, rtol=0)
    assert_close(state(sharded / "iter_8"), state(ddp / "iter_8"), atol=1e-5)
    names = ["one/grad_norm", "two/grad_norm", "conflict/one-two", "one/accuracy/top1"]
    for name in names if job == MULTI_TASK else ["grad_norm"]:
        found, expected = logged(sharded, name), logged(ddp, name)
        assert len(expected) >= 2 and found == pytest.approx(expected, abs=1e-5), name
    assert_shares(sharded)


@pytest.mark.slow
def test_a_sharded_run_goes_on_exactly_and_in_one_process(train: Train) -> None:
    whole = train(MULTI_TASK, FSDP)
    again = train(MULTI_TASK, FSDP, resume=whole / "iter_4")
    assert_close(state(again / "iter_8"), state(whole / "iter_8"), atol=0)
    assert torch.equal(losses(again), losses(whole)[4:])
    assert_shares(again)
    doubled = (
        "for name, size in dict(one=16, two=8).items():\n    train_dataloader['sources'][name]['batch_size'] = size"
    )
    alone = train(MULTI_TASK, FSDP, doubled, resume=whole / "iter_4", processes=0)
    torch.testing.assert_close(losses(alone), losses(whole)[4:], atol=1e-5, rtol=0)
    assert_close(state(alone / "iter_8"), state(whole / "iter_8"), atol=1e-5)


@pytest.mark.slow
def test_a_sharded_run_goes_on_from_ddps_checkpoint(train: Train) -> None:
    ddp = train(MULTI_TASK)
    sharded = train(MULTI_TASK, FSDP, resume=ddp / "iter_4")
    torch.testing.assert_close(losses(sharded), losses(ddp)[4:], atol=1e-5, rtol=0)
    assert_close(state(sharded / "iter_8"), state(ddp / "iter_8"), atol=1e-5)


@pytest.mark.slow
def test_mmengines_strategies_run_in_its_own_runner(train: Train) -> None:
    strategy = "strategy = dict(type='DDPStrategy')"
    theirs = train(HOST, strategy)
    torch.testing.assert_close(losses(theirs), losses(train(HOST)), atol=1e-5, rtol=0)
    longer = "train_cfg['max_iters'] = 10"
    assert len(losses(train(HOST, strategy, longer, resume=theirs / "iter_8.pth"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["", FSDP], ids=["ddp", "fsdp"])
def test_no_thread_outlives_the_process_group(lenet_config: Path, tmp_path: Path, strategy: str) -> None:
    # A thread of gloo that is at work when Python ends aborts the process, after a run that went well.
    script = tmp_path / "script.py"
    text = f"{HOST.replace('BASE', str(lenet_config))}\n{strategy}\ntrain_cfg['max_iters'] = 1\n"
    (tmp_path / "config.py").write_text(text)
    script.write_text(
        "import interngv\n"
        "from pathlib import Path\n"
        "from interngv.engine import launch\n"
        f"launch.train({str(tmp_path / 'config.py')!r}, work_dir={str(tmp_path / 'run')!r}, launcher='pytorch')\n"
        "names = [file.read_text().strip() for file in Path('/proc/self/task').glob('*/comm')]\n"
        "print('threads:', names)\n"
        "assert names and not any('gloo' in name for name in names)\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script]
    environment = os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(torchrun, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0 and done.stdout.count("threads:") == 2, done.stderr[-3000:]


# Scripts


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"} | more


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.mark.slow
def test_dist_scripts_start_two_machines_and_test(lenet_config: Path, tmp_path: Path) -> None:
    port, started = free_port(), []
    for rank in ("0", "1"):
        arguments = [lenet_config, "1", "--work-dir", tmp_path, "--cfg-options", "train_dataloader.dataset.indices=200"]
        told = environment(NNODES="2", NODE_RANK=rank, MASTER_ADDR="127.0.0.1", PORT=port)
        started.append(subprocess.Popen([TOOLS / "dist_train.sh", *map(str, arguments)], env=told, cwd="/"))
    assert [process.wait(120) for process in started] == [0, 0]
    assert len(read_checkpoint(tmp_path / "epoch_1")["ranks"]) == 2

    arguments = [lenet_config, tmp_path / "epoch_1", "2", "--work-dir", tmp_path, "--out", tmp_path / "metrics.json"]
    subprocess.run([TOOLS / "dist_test.sh", *arguments], env=environment(PORT=free_port()), check=True, timeout=120)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["accuracy/top1"] == pytest.approx(logged(tmp_path, "accuracy/top1")[-1])


@pytest.mark.slow
def test_a_job_of_slurm_that_was_stopped_goes_on(lenet_config: Path, tmp_path: Path) -> None:
    # The launcher slurm needs GPUs: the stand-in for srun starts the very run without it.
    stand_ins = {"srun": 'args=("${@:2}")\nargs[5]=none\nexec "${args[@]}"', "scontrol": 'echo "$@" > "$NOTE"'}
    for name, does in stand_ins.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    killer = f"dict(type='Killer', step=6, seconds=0.01, marker='{tmp_path}/asked', number={signal.SIGTERM:d})"
    (tmp_path / "config.py").write_text(
        f"_base_ = ['{lenet_config}']\n"
        "custom_imports = dict(_delete_=True, imports=['interngv', 'faulty_run'])\n"
        "train_cfg = dict(_delete_=True, by_epoch=False, max_iters=12)\n"
        "train_dataloader = dict(num_workers=0)\n"
        "param_scheduler = val_dataloader = val_cfg = val_evaluator = None\n"
        "default_hooks = dict(checkpoint=dict(by_epoch=False, interval=12))\n"
        f"custom_hooks = [{killer}]\n"
    )
    job = [TOOLS / "slurm_train.sh", "--in-job", TOOLS, tmp_path / "config.py", "--work-dir", tmp_path / "run"]
    ends = []
    for restarts in "01":
        note = tmp_path / f"requeued_{restarts}"
        told = environment(SLURM_JOB_ID="77", SLURM_RESTART_COUNT=restarts, NOTE=str(note))
        subprocess.run(job, env=told | {"PATH": f"{tmp_path}:{told['PATH']}"}, check=True, timeout=120)
        ends.append((note.exists() and note.read_text(), (tmp_path / "run/iter_12").exists()))
    assert ends == [("requeue 77\n", False), (False, True)]
    assert directory.verify(tmp_path / "run/iter_12")["iter"] == 12
    texts = [file.read_text() for file in sorted((tmp_path / "run").rglob("*.log"))]
    assert len(texts) == 2 and "resumed epoch: 0, iter: " in texts[1]


def test_a_run_that_was_started_again_prefers_its_own_checkpoint(
    lenet_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str | None] = []
    monkeypatch.setattr(launch, "_check_resume", lambda cfg, resume, model: given.append(resume) or ([], {}))
    monkeypatch.setattr(launch, "latest_checkpoint", lambda work_dir: "there" if "old" in str(work_dir) else None)
    for count, work_dir, resume in (("0", "old", None), ("1", "new", None), ("1", "old", "FILE"), ("1", "new", "FILE")):
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
        launch.train(str(lenet_config), work_dir=str(tmp_path / work_dir), resume=resume, dry_run=True)
    assert given == [None, "auto", "auto", "FILE"]


def test_nothing_to_resume_leaves_what_to_start_from(tmp_path: Path) -> None:
    cfg = Config(dict(work_dir=str(tmp_path), load_from="weights.pth"))
    (line,), ready = launch._check_resume(cfg, "auto", nn.Identity())
    assert "nothing to resume" in line and not ready
    assert cfg.load_from == "weights.pth" and cfg.resume is False
