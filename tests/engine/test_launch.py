"""The engine's parts below the tools: processes, mixed precision, logs, schedule in words, naming of pictures."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.structures import BaseDataElement
from torch import nn

import interngv  # noqa: F401
from interngv.checkpoint import read_checkpoint
from interngv.engine import AmpOptimWrapper, CSVVisBackend, UserError
from interngv.engine.distributed import fit_to_cpu, place, processes
from interngv.engine.low_precision import accept_bfloat16, operators_in_float32, predictions_in_float32
from interngv.engine.optim_wrapper import amp_dtype
from interngv.engine.pictures import fault
from interngv.engine.schedule import batch_lines, scheduler_words

# Two processes


# Without batch norm, and with it in eval mode: over processes, each takes the statistics of its own share.
MODELS = {
    "lenet": "",
    "mn-mini": """
model = dict(
    backbone=dict(_delete_=True, type="interngv.MetaNet", arch="mn-mini", in_channels=1, norm_eval=True),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=1280),
)
train_dataloader = dict(dataset=dict(indices=list(range(0, 1400, 70)) * 10))  # twenty pictures, learnt by heart
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_two_processes_equal_one_with_the_doubled_batch(tool: Callable, lenet_config: Path, tmp_path: Path, model: str):
    losses, weights = {}, {}
    for name, batch, count in (("one", 20, 0), ("two", 10, 2)):
        config = tmp_path / f"{name}.py"
        config.write_text(
            f"_base_ = ['{lenet_config}']\n{MODELS[model]}\n"
            "custom_imports = dict(_delete_=True, imports=['interngv', 'loss_recorder'])\n"
            f"custom_hooks = [dict(type='LossRecorder', folder='{tmp_path / name}')]\n"
            "val_dataloader = val_cfg = val_evaluator = None\n"
        )
        arguments = [config, "--work-dir", tmp_path / f"{name}_work", "--cfg-options", "randomness.seed=3"]
        arguments += [f"train_dataloader.batch_size={batch}", *(["--launcher", "pytorch"] if count else [])]
        done = tool("train", *arguments, processes=count, PYTHONPATH=str(Path(__file__).parent))
        assert done.returncode == 0, done.stderr[-3000:]
        ranks = [[float(x) for x in file.read_text().split()] for file in sorted((tmp_path / name).iterdir())]
        assert len(ranks) == max(1, count)
        losses[name] = torch.tensor(ranks, dtype=torch.float64).mean(0)
        weights[name] = read_checkpoint(tmp_path / f"{name}_work" / "epoch_1")["state_dict"]
    assert len(losses["one"]) >= 10 and losses["one"][-5:].mean() < losses["one"][:5].mean()
    torch.testing.assert_close(losses["two"], losses["one"], atol=1e-5, rtol=0)
    for name, value in weights["one"].items():
        torch.testing.assert_close(weights["two"][name], value, atol=1e-5, rtol=0, msg=f"{name} differs")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Variables of torchrun for the second of two processes, whose first is not there."""
    values = dict(RANK="1", LOCAL_RANK="1", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="9")
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_place_comes_from_the_launcher(alone: pytest.MonkeyPatch):
    assert place("none") == (0, 1)
    assert place("pytorch") == (1, 2)
    alone.setenv("RANK", "2")
    with pytest.raises(UserError, match="RANK=2 and WORLD_SIZE=2"):
        place("pytorch")
    alone.delenv("MASTER_PORT")
    with pytest.raises(UserError, match="MASTER_PORT not set"):
        place("pytorch")
    with pytest.raises(UserError, match="srun"):
        place("slurm")


@pytest.mark.slow
def test_dead_meeting_point_is_one_error(alone: pytest.MonkeyPatch):
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9"), processes("pytorch", dict(timeout=1)):
        pass
    assert not torch.distributed.is_initialized()


def test_other_launchers_need_a_gpu():
    with pytest.raises(UserError, match="torchrun"), processes("slurm", {}):
        pass


def test_fit_to_cpu_keeps_what_the_config_says():
    cfg = Config(dict(model_wrapper_cfg=dict(find_unused_parameters=True)))
    fit_to_cpu(cfg)
    assert cfg.model_wrapper_cfg.find_unused_parameters is True
    assert cfg.model_wrapper_cfg.device_ids is None
    flexible = Config(dict(strategy=dict(type="DDPStrategy")))
    fit_to_cpu(flexible)
    assert flexible.strategy.model_wrapper.type == "MMDistributedDataParallel"


# Mixed precision


def _wrapper(**kwargs) -> tuple[nn.Module, AmpOptimWrapper]:
    torch.manual_seed(0)
    model = nn.Linear(8, 1).to(get_device())
    return model, AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **kwargs)


def test_amp_on_a_cpu_computes_in_bfloat16_and_steps_in_float32():
    model, wrapper = _wrapper()
    x = torch.randn(4, 8)
    with wrapper.optim_context(model):
        y = model(x)
    assert y.dtype == torch.bfloat16
    expected = model.weight.detach() - 0.1 * x.bfloat16().float().mean(0)
    wrapper.update_params(y.float().mean())
    assert model.weight.dtype == torch.float32
    torch.testing.assert_close(model.weight.detach(), expected, atol=2e-3, rtol=0)


@pytest.mark.gpu
def test_amp_accumulates_and_clips():
    model, wrapper = _wrapper(accumulative_counts=2, clip_grad=dict(max_norm=0.5), loss_scale=1024.0)
    wrapper.initialize_count_status(model, 0, 4)
    before = model.weight.detach().clone()
    steps = []
    for _ in range(2):
        with wrapper.optim_context(model):
            loss = model(torch.full((2, 8), 10.0, device=get_device())).sum()
        wrapper.update_params(loss)
        steps.append((model.weight.detach() - before).norm())
    assert steps[0] == 0
    assert 0 < steps[1] <= 0.1 * 0.5 + 1e-6


@pytest.mark.gpu
def test_amp_state_passes_between_scaled_and_unscaled_runs():
    _, wrapper = _wrapper()
    unscaled = wrapper.state_dict() | dict(loss_scaler=torch.amp.GradScaler(enabled=False).state_dict())
    scaled = unscaled | dict(loss_scaler=torch.amp.GradScaler("cpu", init_scale=2.0).state_dict())
    before = wrapper.loss_scaler.get_scale()
    for one, scale in ((unscaled, before), (scaled, 2.0 if wrapper.loss_scaler.is_enabled() else before)):
        wrapper.load_state_dict(one)
        assert wrapper.loss_scaler.get_scale() == scale
        assert "loss_scaler" in one  # the given state is not emptied


def test_amp_refuses_what_the_device_cannot():
    assert amp_dtype(None, "cpu") == torch.bfloat16
    assert amp_dtype(None, "cuda") == torch.float16
    with pytest.raises(UserError, match="needs a GPU"):
        amp_dtype("float16", "cpu")
    with pytest.raises(UserError, match="float61"):
        amp_dtype("float61", "cuda")


def test_amp_is_a_plug_in():
    from mmengine.registry import OPTIM_WRAPPERS

    assert OPTIM_WRAPPERS.get("interngv.AmpOptimWrapper") is AmpOptimWrapper


def test_operators_take_bfloat16_and_compute_in_float32():
    class Square(torch.autograd.Function):
        """Refuses anything but float32, as mmcv's kernels do."""

        @staticmethod
        def forward(ctx, x: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            assert x.dtype == torch.float32
            ctx.save_for_backward(x)
            return x * x, index

        @staticmethod
        def backward(ctx, grad: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, None]:
            assert grad.dtype == torch.float32
            return grad * 2 * ctx.saved_tensors[0], None

    accept_bfloat16(Square)
    once = Square.forward
    accept_bfloat16(Square)
    assert Square.forward is once
    x = torch.tensor([1.5, -2.0])
    for dtype in (torch.float32, torch.bfloat16):
        leaf = x.clone().to(dtype).requires_grad_()
        squared, index = Square.apply(leaf, torch.tensor([3]))
        squared.sum().backward()
        assert squared.dtype == leaf.grad.dtype == dtype and index.dtype == torch.int64
        assert squared.tolist() == [2.25, 4.0] and leaf.grad.tolist() == [3.0, -4.0]


def test_operators_that_are_imported_later_are_reached(monkeypatch: pytest.MonkeyPatch):
    operators_in_float32()
    module = ModuleType("mmcv.ops.late")

    class Late(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: torch.Tensor) -> torch.Tensor:
            assert x.dtype == torch.float32
            return x

    Late.__module__, module.Late = module.__name__, Late
    monkeypatch.setitem(sys.modules, module.__name__, module)
    operators_in_float32()
    assert Late.apply(torch.ones(1, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_predictions_reach_the_metrics_in_float32():
    class Detector(nn.Module):
        def forward(self) -> list[BaseDataElement]:
            boxes = BaseDataElement(bboxes=torch.ones(1, 4, dtype=torch.bfloat16), labels=torch.tensor([7]))
            return [BaseDataElement(pred_instances=boxes)]

    model = Detector()
    predictions_in_float32(model)
    found = model()[0].pred_instances
    assert found.bboxes.dtype == torch.float32 and found.labels.dtype == torch.int64


# Logs and words


def test_csv_widens_for_new_names(tmp_path: Path):
    backend = CSVVisBackend(str(tmp_path / "logs"))
    backend.add_scalars(dict(loss=torch.tensor(1.5), lr=0.1), step=1)
    backend.add_scalars({"accuracy/top1": 20.0, "step": 1}, step=1)
    backend.add_scalar("loss", 1.25, step=2)
    rows = list(csv.DictReader((tmp_path / "logs" / "scalars.csv").open()))
    assert [row["loss"] for row in rows] == ["1.5", "", "1.25"]
    assert rows[1]["accuracy/top1"] == "20.0" and [row["step"] for row in rows] == ["1", "1", "2"]
    assert [file.name for file in (tmp_path / "logs").iterdir()] == ["scalars.csv"]


def test_csv_goes_on_with_the_table_of_an_earlier_run(tmp_path: Path):
    CSVVisBackend(str(tmp_path)).add_scalars(dict(loss=1.5, time=0.1), step=1)
    second = CSVVisBackend(str(tmp_path))
    second.add_scalars(dict(loss=1.0), step=2)
    second.add_scalars(dict(score=7), step=1)
    rows = list(csv.DictReader((tmp_path / "scalars.csv").open()))
    assert [(row["step"], row["loss"], row["score"]) for row in rows] == [
        ("1", "1.5", ""),
        ("2", "1.0", ""),
        ("1", "", "7.0"),
    ]


def test_schedule_in_words():
    several = [
        dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=500),
        dict(type="CosineAnnealingLR", T_max=95, eta_min=1e-5, by_epoch=True, begin=5, end=100),
    ]
    words = scheduler_words(several).split("; ")
    assert words[0] == "LinearLR (start_factor 0.01) from iteration 0 to 500"
    assert words[1] == "CosineAnnealingLR (eta_min 1e-05) from epoch 5 to 100"
    assert scheduler_words(None) == "constant"
    assert batch_lines(dict(batch_size=8), 2, 4)[-1] == "total batch: 64 (8 x 2 processes x 4 steps)"


def test_fault_tells_good_pictures_from_bad(class_folder: Path, tmp_path: Path):
    good = next(file for file in (class_folder / "val").rglob("*.*") if file.is_file())
    assert fault(str(good)) is None
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "bad.png").write_bytes(good.read_bytes()[:20])
    assert "empty" in fault(str(tmp_path / "empty.png"))
    assert "decoded" in fault(str(tmp_path / "bad.png"))
    assert "does not exist" in fault(str(tmp_path / "none.png"))
