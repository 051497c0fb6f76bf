"""MetaNet inside three host libraries, by ``custom_imports`` alone: builds, learns real pictures, saves, reloads."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner, find_latest_checkpoint, set_random_seed
from PIL import Image
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = ROOT / "projects"
B4_TRUNK = 31_705_992 - 1_281_000  # parameters of the release with its 1000-class head, without that head
B4_PROJECTION = 384 * 1280 + 2 * 1280  # absent where no level asks for it


@dataclass(frozen=True)
class Project:
    """One project: its configs, the host's metric, by how much it must rise, and what shortens the run for a test."""

    full: str
    mini: str
    metric: str
    rise: float
    shorter: dict[str, Any] = field(default_factory=dict)


def _epochs(count: int) -> dict[str, Any]:
    last = {"end": count, "T_max": count, "type": "CosineAnnealingLR", "convert_to_iter_based": True}
    return {"train_cfg.max_epochs": count, "param_scheduler": [last]}


PROJECTS_BY_NAME = {
    "classifier": Project(
        "mmpretrain_classifier/mn-b4_8xb128-300e_in1k.py",
        "mmpretrain_classifier/mn-mini_1xb64-12e_cifar10-mini.py",
        "accuracy/top1",
        rise=18.0,  # per cent; chance is 10
        shorter=_epochs(5),
    ),
    "faster-rcnn": Project(
        "mmdet_detectors/faster-rcnn_mn-b4_fpn_1x_coco.py",
        "mmdet_detectors/faster-rcnn_mn-mini_fpn_4e_bccd.py",
        "coco/bbox_mAP_50",
        rise=0.2,
        shorter=_epochs(1),
    ),
    "mask-rcnn": Project(
        "mmdet_detectors/mask-rcnn_mn-b4_fpn_1x_coco.py",
        "mmdet_detectors/mask-rcnn_mn-mini_fpn_4e_people.py",
        "coco/segm_mAP_50",
        rise=0.15,
        shorter=_epochs(1),
    ),
    "upernet": Project(
        "mmseg_upernet/upernet_mn-b4_160k_ade20k-512px.py",
        "mmseg_upernet/upernet_mn-mini_150i_people-seg.py",
        "mIoU",
        rise=10.0,  # per cent; the untrained net may say background everywhere, which is worth 37
        shorter={"train_cfg.max_iters": 60, "param_scheduler.0.end": 60},
    ),
}
each_project = pytest.mark.parametrize("name", PROJECTS_BY_NAME)


def load(name: str, work_dir: Path, classes: dict[str, tuple[str, ...]]) -> Config:
    """The project's mini config, seeded, shortened, writing to ``work_dir``."""
    project = PROJECTS_BY_NAME[name]
    config = Config.fromfile(PROJECTS / project.mini)
    config.merge_from_dict(project.shorter)
    config.merge_from_dict(dict(work_dir=str(work_dir), randomness=dict(seed=0), log_level="ERROR"))
    config.val_cfg = config.val_dataloader = config.val_evaluator = None  # judged by test_dataloader, its twin
    for loader in ("train_dataloader", "test_dataloader"):
        if name in classes:
            config[loader].dataset.metainfo.classes = classes[name]
    return config


def build_model(config: Config) -> nn.Module:
    init_default_scope(config.default_scope)
    set_random_seed(0)
    model = config.model.copy()
    model.setdefault("data_preprocessor", config.get("data_preprocessor"))
    return MODELS.build(model)


@each_project
def test_full_size_builds_in_its_host(name: str) -> None:
    config = Config.fromfile(PROJECTS / PROJECTS_BY_NAME[name].full)
    with torch.device("meta"):
        model = build_model(config)
    backbone = model.backbone
    assert type(model).__module__.split(".")[0] == config.default_scope
    assert type(backbone).__module__ == "interngv.gva.metanet"
    expected = B4_TRUNK if name == "classifier" else B4_TRUNK - B4_PROJECTION
    assert sum(p.numel() for p in backbone.parameters()) == expected
    user = {"classifier": "head", "upernet": "decode_head"}.get(name, "neck")
    taken = getattr(model, user).in_channels
    assert tuple(np.atleast_1d(taken)) == backbone.out_channels


@each_project
def test_uses_interngv_by_custom_imports_alone(name: str) -> None:
    project = PROJECTS_BY_NAME[name]
    uses = [re.findall(r"[^\n]*interngv[^\n]*", (PROJECTS / file).read_text()) for file in (project.full, project.mini)]
    assert uses[0][0] == 'custom_imports = dict(imports=["interngv"])'
    assert len(uses[0]) == 2 and "type='interngv.MetaNet'" in uses[0][1].replace('"', "'")
    assert uses[1] == []


@each_project
def test_loss_and_predict_on_real_pictures(name: str, in_data_folder: dict, tmp_path: Path) -> None:
    config = load(name, tmp_path, in_data_folder)
    model = build_model(config)
    model.init_weights()
    data = DATASETS.build(config.train_dataloader.dataset)
    batch = model.data_preprocessor(pseudo_collate([data[0], data[1]]), training=True)
    losses = model(**batch, mode="loss")
    total, _ = model.parse_losses(losses)
    assert torch.isfinite(total) and total > 0
    expected = {"mask-rcnn": "loss_mask", "faster-rcnn": "loss_rpn_bbox", "upernet": "decode.loss_ce"}
    assert expected.get(name, "loss") in losses

    data = DATASETS.build(config.test_dataloader.dataset)
    batch = model.eval().data_preprocessor(pseudo_collate([data[0]]), training=False)
    with torch.no_grad():
        (result,) = model(**batch, mode="predict")
    if name == "classifier":
        assert result.pred_score.shape == (10,) and result.pred_score.sum() == pytest.approx(1)
    elif name == "upernet":
        assert result.pred_sem_seg.data.shape == (1, *result.ori_shape)
    else:
        found = result.pred_instances
        assert found.bboxes.shape == (len(found.scores), 4) and len(found) > 0
        assert name != "mask-rcnn" or found.masks.shape == (len(found), *result.ori_shape)


def watch_gradients(module: nn.Module) -> set[str]:
    """Names of the parameters that got a gradient other than zero; fills while the module trains."""
    seen: set[str] = set()

    def watch(name: str) -> Callable[[torch.Tensor], None]:
        def look(parameter: torch.Tensor) -> None:
            if name not in seen and parameter.grad.abs().max() > 0:
                seen.add(name)

        return look

    for name, parameter in module.named_parameters():
        parameter.register_post_accumulate_grad_hook(watch(name))
    return seen


@pytest.mark.slow
@each_project
def test_learns_and_reloads(name: str, in_data_folder: dict, tmp_path: Path) -> None:
    project = PROJECTS_BY_NAME[name]
    config = load(name, tmp_path / "train", in_data_folder)
    runner = Runner.from_cfg(config)
    runner.model.init_weights()
    backbone = runner.model.backbone
    start = {n: p.detach().clone() for n, p in backbone.named_parameters()}
    seen = watch_gradients(backbone)

    before = runner.test()[project.metric]
    runner.train()
    after = runner.test()[project.metric]
    print(f"\n{name}: {project.metric} {before:.3f} -> {after:.3f}")
    assert seen == set(start)
    assert {n for n, p in backbone.named_parameters() if torch.equal(p, start[n])} == set()
    assert after >= before + project.rise

    again = load(name, tmp_path / "again", in_data_folder)
    again.merge_from_dict(dict(load_from=find_latest_checkpoint(str(tmp_path / "train")), randomness=dict(seed=1)))
    assert Runner.from_cfg(again).test()[project.metric] == pytest.approx(after, abs=1e-6)


def run_host_tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(PROJECTS / "host_tool.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment, check=False)


@pytest.mark.slow
def test_hosts_own_tools_train_and_test(in_data_folder: dict, tmp_path: Path) -> None:
    config = str(PROJECTS / PROJECTS_BY_NAME["upernet"].mini)
    work_dir = ("--work-dir", str(tmp_path))
    classes = ",".join(in_data_folder.get("upernet", ("background", "person")))
    options = [f"{loader}.dataset.metainfo.classes={classes}" for loader in ("train_dataloader", "test_dataloader")]
    options += ["train_cfg.max_iters=2", "train_cfg.val_interval=9"]
    done = run_host_tool("mmseg", "train", config, *work_dir, "--cfg-options", *options)
    assert done.returncode == 0, done.stderr
    checkpoint = str(tmp_path / "iter_2.pth")
    done = run_host_tool("mmseg", "test", config, checkpoint, *work_dir, "--cfg-options", *options)
    assert done.returncode == 0 and "mIoU" in done.stdout + done.stderr, done.stderr


@pytest.mark.parametrize(("arguments", "message"), [(["mmdett", "train", "x"], "mmdett"), (["mmdet"], "Usage")])
def test_host_tool_refuses_what_it_does_not_know(arguments: list[str], message: str) -> None:
    done = run_host_tool(*arguments)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_people_instances_are_the_connected_regions(tmp_path: Path) -> None:
    mask = np.zeros((100, 80), np.uint8)
    mask[10:30, 5:25] = 1  # 400 pixels
    mask[50:90, 40:70] = 1
    mask[60:70, 50:60] = 0  # a hole of 100
    mask[95:97, 2:4] = 1  # 4 pixels: below 0.5 % of the photograph
    Image.fromarray(mask).save(tmp_path / "a.png")
    tool = runpy.run_path(str(PROJECTS / "mmdet_detectors" / "people_instances.py"))
    found = tool["coco"]([tmp_path / "a.png"])
    assert found["images"] == [dict(id=1, file_name="a.jpg", height=100, width=80)]
    boxes = sorted((a["bbox"], a["area"]) for a in found["annotations"])
    assert boxes == [([5, 10, 20, 20], 400), ([40, 50, 30, 40], 1100)]
    with pytest.raises(SystemExit, match=r"no masks in .*annotations"):
        tool["main"](str(tmp_path), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
