import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS

from interngv.checkpoint import read_checkpoint
from interngv.engine.checkpoints.latest import latest_checkpoint
from interngv.engine.speed import prefer_fused_optimizer
from interngv.gva import MetaNet

ALLOCATES_AND_FREES = """
import sys, torch
from interngv.engine.speed import keep_freed_memory
def resident():
    return next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmRSS"))
if sys.argv[1] == "keep":
    keep_freed_memory()
before = resident()
block = torch.ones(64 << 18)  # 64 MiB
del block
print(resident() - before)
"""


def resident_growth(how: str) -> int:
    """MiB by which a process has grown after it freed 64 MiB."""
    run = subprocess.run([sys.executable, "-c", ALLOCATES_AND_FREES, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(not Path("/lib64/ld-linux-x86-64.so.2").exists(), reason="glibc on Linux")
def test_freed_memory_stays_with_the_process() -> None:
    assert resident_growth("leave") < 32
    assert resident_growth("keep") >= 60


@pytest.mark.parametrize(
    "optimizer",
    [
        dict(type="AdamW", lr=1e-2, weight_decay=0.1),
        dict(type="Adam", lr=1e-2),
        dict(type="SGD", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    ],
    ids=lambda config: config["type"],
)
def test_a_fused_optimizer_steps_as_the_plain_one(optimizer: dict) -> None:
    """Also where weights and gradients lie in channels-last memory, as depthwise ones of MetaNet do."""
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(optimizer))))
    prefer_fused_optimizer(cfg)
    assert cfg.optim_wrapper.optimizer.fused
    torch.manual_seed(0)
    images, weights = torch.randn(2, 3, 32, 32), {}
    start = MetaNet("mn-mini").state_dict()
    for name, config in dict(plain=dict(optimizer, fused=False), fused=dict(cfg.optim_wrapper.optimizer)).items():
        torch.manual_seed(1)
        model = MetaNet("mn-mini").double()
        model.load_state_dict(start)
        stepper = OPTIMIZERS.build(dict(config, params=model.parameters()))
        for _ in range(3):
            model(images.double())[0].square().mean().backward()
            stepper.step()
            stepper.zero_grad()
        weights[name] = dict(model.named_parameters())
    for name, weight in weights["plain"].items():
        torch.testing.assert_close(
            weights["fused"][name], weight, rtol=1e-6, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert any(not torch.equal(weight, start[name].double()) for name, weight in weights["plain"].items())


@pytest.mark.parametrize(
    "optimizer",
    [
        dict(type="AdamW", lr=1e-3, fused=False),
        dict(type="AdamW", lr=1e-3, foreach=True),
        dict(type="Adagrad", lr=1e-3),
        dict(type="NoSuchOptimizer", lr=1e-3),
    ],
    ids=["chosen", "other choice", "not on a GPU", "unknown"],
)
def test_other_optimizers_are_left_as_they_are(optimizer: dict) -> None:
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(optimizer))))
    prefer_fused_optimizer(cfg)
    assert dict(cfg.optim_wrapper.optimizer) == optimizer


def test_sharded_models_are_left_as_they_are() -> None:
    cfg = Config(
        dict(optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)), strategy=dict(type="interngv.FSDPStrategy"))
    )
    prefer_fused_optimizer(cfg)
    assert "fused" not in cfg.optim_wrapper.optimizer


def test_a_config_without_an_optimizer_is_left_as_it_is() -> None:
    for cfg in (Config(), Config(dict(optim_wrapper=None)), Config(dict(optim_wrapper=dict(type="OptimWrapper")))):
        before = cfg.to_dict()
        prefer_fused_optimizer(cfg)
        assert cfg.to_dict() == before


@pytest.mark.slow  # with the fixture's training
def test_a_run_takes_the_fused_optimizer(trained: Path) -> None:
    checkpoint = latest_checkpoint(trained)
    assert checkpoint is not None
    groups = read_checkpoint(checkpoint)["optimizer"]["param_groups"]
    assert [group["fused"] for group in groups] == [True]
