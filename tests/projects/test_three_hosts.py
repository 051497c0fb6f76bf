"""A classifier, a detector and a segmenter of three hosts on one trunk, in one run; each exported to its host again."""

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from interngv.engine import launch
from interngv.engine.export import export_task

pytestmark = pytest.mark.slow
PROJECTS = Path(__file__).resolve().parents[2] / "projects"
MINIS = {
    "pictures": ("mmpretrain", "mmpretrain_classifier/mn-mini_1xb64-12e_cifar10-mini.py"),
    "boxes": ("mmdet", "mmdet_detectors/faster-rcnn_mn-mini_fpn_4e_bccd.py"),
    "people": ("mmseg", "mmseg_upernet/upernet_mn-mini_150i_people-seg.py"),
}
METRICS = {"pictures": "accuracy/top1", "boxes": "coco/bbox_mAP_50", "people": "mIoU"}
RISES = {"pictures": 6.0, "boxes": 0.1, "people": 8.0}  # chance is 10 % of the pictures
LEVELS = {"pictures": (4,), "boxes": (0, 1, 2, 3), "people": (0, 1, 2, 3)}
WEIGHTS = {"pictures": 2.0, "boxes": 2.0, "people": 1.0}
STEPS = 300


def prefixed(scope: str, config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "type": f"{scope}.{config['type']}"}


def composed(classes: dict[str, tuple[str, ...]]) -> Config:
    """The three hosts' own mini configs, put together; nothing of them is changed but the place where it stands."""
    tasks, sources, loaders, evaluators = {}, {}, {}, {}
    for task, (scope, file) in MINIS.items():
        host = Config.fromfile(PROJECTS / file)
        model = host.model.to_dict()
        model.setdefault("data_preprocessor", host.get("data_preprocessor"))
        tasks[task] = prefixed(scope, model) | {"backbone": dict(out_indices=LEVELS[task])}
        train, test = host.train_dataloader, host.test_dataloader
        for data in (train.dataset, test.dataset):
            name = {"boxes": "faster-rcnn", "people": "upernet"}.get(task)
            if name in classes:
                data.metainfo.classes = classes[name]
        collate = train.get("collate_fn") or dict(type="pseudo_collate")
        sources[task] = dict(
            dataset=prefixed(scope, train.dataset.to_dict()),
            batch_size=train.batch_size,
            weight=WEIGHTS[task],
            collate_fn=collate,
        )
        loaders[task] = test.to_dict() | {"dataset": prefixed(scope, test.dataset.to_dict())}
        evaluators[task] = prefixed(scope, host.test_evaluator.to_dict())
    trunk = dict(type="interngv.MetaNet", arch="mn-mini")
    return Config(
        dict(
            default_scope="mmengine",
            custom_imports=dict(imports=["interngv"]),
            model=dict(type="interngv.MultiTaskModel", trunk=trunk, tasks=tasks),
            train_dataloader=dict(type="interngv.MetaDataLoader", sources=sources),
            train_cfg=dict(type="interngv.MetaTrainLoop", max_iters=STEPS),
            test_dataloader=loaders,
            test_evaluator=evaluators,
            test_cfg=dict(type="interngv.MetaTestLoop"),
            optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-3), clip_grad=dict(max_norm=10.0)),
            param_scheduler=[
                dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=40),
                dict(type="CosineAnnealingLR", by_epoch=False, begin=40, end=STEPS, T_max=STEPS - 40),
            ],
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=STEPS)),
            log_processor=dict(by_epoch=False),
            randomness=dict(seed=0),
        )
    )


def test_three_hosts_learn_together_and_leave_as_plain_models(in_data_folder: dict, tmp_path: Path) -> None:
    file = tmp_path / "three_hosts.py"
    file.write_text(composed(in_data_folder).pretty_text)
    launch.train(str(file), work_dir=str(tmp_path / "start"), options={"train_cfg.max_iters": 1})
    before = launch.test(str(file), str(tmp_path / "start/iter_1"), work_dir=str(tmp_path / "test"))
    launch.train(str(file), work_dir=str(tmp_path / "run"))
    checkpoint = str(tmp_path / f"run/iter_{STEPS}")
    after = launch.test(str(file), checkpoint, work_dir=str(tmp_path / "test"))
    for task, metric in METRICS.items():
        name = f"{task}/{metric}"
        assert after[name] > before[name] + RISES[task], f"{name}: {before[name]} -> {after[name]}"

    for task, metric in METRICS.items():
        config, weights = export_task(str(file), checkpoint, task, tmp_path / "exported" / task)
        plain = Config.fromfile(config)
        plain.work_dir, plain.load_from = str(tmp_path / f"{task}_host"), str(weights)
        found = Runner.from_cfg(plain).test()
        assert found[metric] == pytest.approx(after[f"{task}/{metric}"], abs=1e-6)
