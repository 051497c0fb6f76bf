"""The configs: every one loads and passes the check, names its command, and the full-size ones hold UniNet's recipe."""

import ast
import re
from pathlib import Path

import pytest

from interngv.engine.config import load_config
from interngv.gva import ARCHS

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
SUITES = [CONFIGS / f"gvb/{name}.py" for name in ("suite", "mini", "open")]
SHIPPED = sorted(path for path in CONFIGS.rglob("*.py") if "_base_" not in path.parts)
RUNNABLE = [path for path in SHIPPED if path not in SUITES]
FULL_SIZE = {
    "mn-b1": 224,
    "mn-b4": 224,
    "mn-b15": 224,
    **{f"uninet-b{i}": size for i, size in enumerate((160, 224, 256, 288, 320, 384, 448))},
}
IN1K = [path for path in RUNNABLE if "in1k" in path.name]


def name(path: Path) -> str:
    return path.stem


def test_every_arch_has_its_config() -> None:
    assert set(FULL_SIZE) == set(ARCHS) - {"mn-mini"}
    assert sorted(load_config(str(path)).model.backbone.arch for path in IN1K) == sorted(FULL_SIZE)


@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_header_names_command_and_files(path: Path) -> None:
    text = path.read_text()
    header = ast.get_docstring(ast.parse(text)) or ""
    assert f"tools/{'test' if path in SUITES else 'train'}.py {path.relative_to(ROOT)}" in header
    assert all(f"\n{word}: " in header for word in ("Expected", "Cost", "Run", "Next"))
    assert len(text.splitlines()) <= (60 if path in SUITES else 40)
    for named in re.findall(r"(?:configs|tools|docs)/[\w./-]+\.(?:py|md)", text):
        assert (ROOT / named).is_file(), named


@pytest.mark.parametrize("path", [p for p in CONFIGS.rglob("*.py") if "_base_" in p.parts], ids=name)
def test_base_files_are_documented_and_named_files_exist(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    for named in re.findall(r"(?:configs|tools|docs)/[\w./-]+\.(?:py|md)", text):
        assert (ROOT / named).is_file(), named


@pytest.mark.parametrize("path", IN1K, ids=name)
def test_full_size_configs_hold_the_recipe(path: Path) -> None:
    cfg = load_config(str(path))
    gpus, batch, epochs = map(int, re.search(r"_(\d+)xb(\d+)-(\d+)e_", path.name).groups())
    assert (gpus, batch, epochs) == (8, cfg.train_dataloader.batch_size, cfg.train_cfg.max_epochs) == (8, 128, 300)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == "AdamW" and optimizer.weight_decay == 0.05
    assert optimizer.lr == pytest.approx(5e-4 * gpus * batch / 512) and cfg.auto_scale_lr.base_batch_size == 1024
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.end, cosine.begin, cosine.end, cosine.eta_min) == (5, 5, epochs, 1e-5)
    assert cosine.begin + cosine.T_max == epochs
    assert cfg.custom_hooks[0].type == "EMAHook" and cfg.custom_hooks[0].momentum == pytest.approx(1 - 0.99996)
    assert cfg.model.head.loss.label_smooth_val == 0.1 and cfg.model.backbone.drop_path_rate == 0.0
    assert {a.type: a.alpha for a in cfg.model.train_cfg.augments} == {"Mixup": 0.8, "CutMix": 1.0}


@pytest.mark.parametrize("path", IN1K, ids=name)
def test_full_size_configs_train_at_their_resolution(path: Path) -> None:
    cfg = load_config(str(path))
    size = FULL_SIZE[cfg.model.backbone.arch]
    assert size == ARCHS[cfg.model.backbone.arch].img_size and (f"-{size}px" in path.name) == (size != 224)
    train = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert list(train) == ["LoadImageFromFile", "RandomResizedCrop", "RandomFlip", "RandAugment", "PackInputs"]
    assert train["RandomResizedCrop"].scale == size
    assert (train["RandAugment"].magnitude_level, train["RandAugment"].magnitude_std) == (9, 0.5)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        steps = {step.type: step for step in loader.dataset.pipeline}
        assert steps["CenterCrop"].crop_size == size and steps["ResizeEdge"].scale == size * 256 // 224


def test_decay_free_parameters() -> None:
    """The optimizer of the recipe decays matrices and kernels alone: no norm, bias, gamma or temperature."""
    from mmengine.optim import build_optim_wrapper

    from interngv.gva import MetaNet

    table = {
        "stages": [
            {"operator": "mbconv", "repeats": 1, "channels": 8, "expansion": 2, "stride": 2},
            {"operator": "sa", "repeats": 2, "channels": 8, "expansion": 2},
            {"operator": "xca", "repeats": 2, "channels": 16, "expansion": 2, "stride": 2},
        ],
        "stem_channels": 8,
        "head_dim": 4,
        "feature_dim": 32,
    }
    net = MetaNet(table, out_indices=(2,))
    wrapper = {"type": "OptimWrapper", **load_config(str(IN1K[0])).optim_wrapper}
    optimizer = build_optim_wrapper(net, wrapper).optimizer
    names = {id(parameter): key for key, parameter in net.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert set(decay) == set(names.values())
    assert any("temperature" in key for key in decay) and any("gamma" in key for key in decay)
    for key, parameter in net.named_parameters():
        free = parameter.ndim == 1 or "temperature" in key
        assert decay[key] == (0.0 if free else 0.05), key


@pytest.mark.slow
@pytest.mark.parametrize("path", RUNNABLE, ids=name)
def test_every_config_passes_the_check(path: Path) -> None:
    from interngv.engine.config import check_config

    check_config(load_config(str(path)))


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in RUNNABLE if "linear-probe" in p.name], ids=name)
def test_a_probe_trains_its_head_alone(path: Path) -> None:
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import MODELS

    cfg = load_config(str(path))
    init_default_scope("mmpretrain")
    model = MODELS.build(cfg.model).train()
    assert {key for key, p in model.named_parameters() if p.requires_grad} == {"head.fc.weight", "head.fc.bias"}
    assert not any(module.training for module in model.backbone.modules() if hasattr(module, "running_mean"))
