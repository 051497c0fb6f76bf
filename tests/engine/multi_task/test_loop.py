"""The training loop: hooks and logs, resume, faulty data, going back, and what it refuses."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS
from small import Trunk, host_configs, plain_model, runner, shared_model, sources, validation
from torch import Tensor
from two_processes import in_two_processes

from interngv.engine.multi_task import MetaBatch, MetaDataLoader
from interngv.errors import UserError

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).resolve().parents[3]
State = dict[str, Tensor]


def trained(*args: Any, **kwargs: Any) -> Any:
    run = runner(*args, **kwargs)
    run.train()
    return run


def final(run: Any) -> dict[str, Any]:
    """Weights, momenta, learning rates and counters at the end of a run."""
    optimizer = run.optim_wrapper.state_dict()
    momenta = {f"momentum.{i}": one["momentum_buffer"] for i, one in optimizer["state"].items()}
    rates = [group["lr"] for group in optimizer["param_groups"]]
    return run.model.state_dict() | momenta | {"rates": rates, "iter": run.iter}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    differ = [k for k, v in expected.items() if not (torch.equal(found[k], v) if torch.is_tensor(v) else found[k] == v)]
    assert differ == []


class StillTrunk(Trunk):
    """A trunk whose batch norms stay in eval mode, as with ``norm_eval``."""

    def train(self, mode: bool = True) -> "StillTrunk":
        super().train(mode)
        self.layers[1].eval()
        return self


def test_norms_that_stay_in_eval_mode_do_so_from_the_first_step(tmp_path: Path) -> None:
    model = MODELS.build(dict(type="interngv.MultiTaskModel", trunk=dict(type=StillTrunk), tasks=host_configs()))
    trained(tmp_path, {}, model=model, train_cfg=dict(max_iters=2))
    assert not model.trunk.layers[1].running_mean.any() and model.tasks["digit"].head[0].running_mean.any()


class Recorder(Hook):
    """What the hooks are given."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ids: list[dict[str, list[int]]] = []
        self.outputs: list[dict] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.calls.append(f"before {batch_idx}")

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.calls.append(f"after {batch_idx}")
        self.ids.append({name: one.ids for name, one in data_batch.parts.items()})
        self.outputs.append(outputs)

    def before_val(self, runner: Any) -> None:
        self.calls.append(f"val {runner.iter}")


class Killed(BaseException):
    """The end of a run, at once."""


class KillsAfter(Hook):
    """Ends the run after so many steps."""

    priority = "LOWEST"

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if batch_idx + 1 == self.steps:
            raise Killed


# Logs


def test_logs_have_a_row_for_each_source(tmp_path: Path) -> None:
    recorder = Recorder()
    backends = [dict(type="interngv.CSVVisBackend"), dict(type="LocalVisBackend")]
    run = trained(
        tmp_path,
        dict(schedule="joint", sources=sources(parity=range(20))),
        train_cfg=dict(max_iters=20, conflict_every=2),
        visualizer=dict(type="Visualizer", vis_backends=backends),
        custom_hooks=[recorder],
    )
    text = next(tmp_path.rglob("*.log")).read_text().splitlines()
    lines = [index for index, line in enumerate(text) if "Iter(train)" in line]
    assert len(lines) == 4
    step, *rows = [line.split() for line in text[lines[-1] : lines[-1] + 4]]
    assert "[20/20]" in step and "lr:" in step and not any("/" in word for word in step[step.index("lr:") :])
    assert [row[0] for row in rows] == ["digit", "parity", "conflict"]
    digit, parity = (dict(zip(row[1::2], row[2::2], strict=True)) for row in rows[:2])
    names = ["loss:", "grad_norm:", "loss_class:", "loss_size:", "accuracy:"]
    names += ["samples:", "epochs:", "data_time:", "skipped:", "unreadable:"]
    assert list(digit) == list(parity) == names
    assert digit["samples:"] == "320" and digit["epochs:"] == "0.8000" and digit["skipped:"] == "0"
    skipped = int(parity["skipped:"])
    assert 0 < skipped == sum("parity/loss" not in outputs for outputs in recorder.outputs) < 20
    assert rows[2][1] == "digit-parity:" and -1 <= float(rows[2][2]) <= 1

    (table,) = tmp_path.rglob("scalars.csv")
    last = list(csv.DictReader(table.open()))[-1]
    assert last["digit/samples"] == "320.0" and last["parity/skipped"] == str(float(skipped))
    (scalars,) = tmp_path.rglob("scalars.json")
    logged = json.loads(scalars.read_text().splitlines()[-1])
    window = [outputs["digit/loss"] for outputs in recorder.outputs[-10:]]
    assert logged["digit/loss"] == pytest.approx(sum(window) / 10)
    assert run.message_hub.get_scalar("train/digit/loss").max_length == 1000
    warnings = [line for line in text if "WARNING" in line and "source 'parity'" in line]
    assert len(warnings) == skipped and "non-finite" in warnings[0]


def test_a_source_may_have_any_name_and_share_a_task(tmp_path: Path) -> None:
    several = sources()
    several["loss_in_time"] = {**several["digit"], "task": "digit"}
    run = trained(tmp_path, dict(schedule="joint", sources=several), train_cfg=dict(max_iters=5))
    (line,) = [
        line for line in next(tmp_path.rglob("*.log")).read_text().splitlines() if line.strip().startswith("loss_in")
    ]
    assert "samples: 80 " in line
    assert run.message_hub.get_scalar("train/loss_in_time/samples").current() == 80


def test_hooks_are_called_as_by_mmengines_loop(tmp_path: Path) -> None:
    recorder = Recorder()
    train_cfg = dict(max_iters=7, val_interval=3, val_begin=4)
    run = trained(tmp_path, {}, train_cfg=train_cfg, custom_hooks=[recorder], **validation("digit"))
    expected = [f"{when} {i}" for i in range(7) for when in ("before", "after")]
    expected.insert(12, "val 6")
    assert recorder.calls == [*expected, "val 7"]
    assert all(
        outputs["loss"] == pytest.approx(sum(v for k, v in outputs.items() if k.endswith("/loss")))
        for outputs in recorder.outputs
    )
    assert run.iter == 7 and len(run.train_dataloader) == 7


def test_training_stops_early_where_a_hook_says_so(tmp_path: Path) -> None:
    stop = dict(type="EarlyStoppingHook", monitor="digits/hits/top1", rule="greater", patience=1, min_delta=200.0)
    train_cfg = dict(max_iters=50, val_interval=2)
    assert trained(tmp_path, {}, train_cfg=train_cfg, custom_hooks=[stop], **validation("digit")).iter < 50


# Resume


@pytest.mark.parametrize("schedule", ["interleave", "joint"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_ends_as_an_undisturbed_one(schedule: str, workers: int, tmp_path: Path) -> None:
    faulty = sources(parity=range(0, 400, 40))
    loader = dict(schedule=schedule, sources=faulty, num_workers=workers)
    guard = dict(spike=dict(window=8), max_skipped=100)
    straight, first, second = Recorder(), Recorder(), Recorder()
    train_cfg = dict(max_iters=14, guard=guard)
    whole = trained(tmp_path / "whole", loader, train_cfg=train_cfg, custom_hooks=[straight])
    with pytest.raises(Killed):
        trained(tmp_path / "parts", loader, dict(interval=8), train_cfg=train_cfg, custom_hooks=[first, KillsAfter(10)])
    resumed = trained(tmp_path / "parts", loader, train_cfg=train_cfg, custom_hooks=[second], resume=True)
    assert_same(final(resumed), final(whole))
    assert first.ids[:8] + second.ids == straight.ids and len(first.ids) == 10
    assert resumed.train_loop.state_dict() == whole.train_loop.state_dict()
    assert resumed.train_loop.state_dict()["guard"]["skipped"]["parity"] > 1
    last = [{k: v for k, v in one.outputs[-1].items() if "time" not in k} for one in (second, straight)]
    assert last[0] == last[1]


def test_a_run_without_a_seed_goes_on_with_the_checkpoints(tmp_path: Path) -> None:
    recorders = [Recorder(), Recorder()]
    for recorder, steps in zip(recorders, (4, 8), strict=True):
        run = trained(
            tmp_path,
            {},
            train_cfg=dict(max_iters=steps),
            custom_hooks=[recorder],
            resume=steps == 8,
            randomness=dict(seed=None),
        )
    straight = Recorder()
    trained(tmp_path / "b", {}, train_cfg=dict(max_iters=8), custom_hooks=[straight], randomness=dict(seed=run.seed))
    assert recorders[0].ids + recorders[1].ids == straight.ids


def test_a_run_says_where_a_checkpoint_has_no_position_in_the_data(tmp_path: Path) -> None:
    for step, expected in ((0, 0), (2, 1)):
        run = runner(tmp_path / str(step), {}, train_cfg=dict(max_iters=4))
        run.train_loop._iter = step  # as mmengine's own resume sets it
        run.train()
        assert next((tmp_path / str(step)).rglob("*.log")).read_text().count("has no position in the data") == expected


def test_a_run_that_was_saved_before_a_validation_begins_with_it(tmp_path: Path) -> None:
    recorder = Recorder()
    train_cfg = dict(max_iters=4, val_interval=4)
    run = runner(tmp_path, {}, dict(interval=4), train_cfg=train_cfg, **validation("digit"))
    run.val_loop.run = lambda: (_ for _ in ()).throw(Killed)
    with pytest.raises(Killed):
        run.train()
    train_cfg["max_iters"] = 6
    trained(tmp_path, {}, train_cfg=train_cfg, custom_hooks=[recorder], resume=True, **validation("digit"))
    assert recorder.calls[:2] == ["val 4", "before 4"] and recorder.calls[-1] == "val 6"


# Faults


class WithoutFaulty(MetaDataLoader):
    """Hands out no parts that are not finite."""

    def __iter__(self) -> Iterator[MetaBatch]:
        for batch in super().__iter__():
            fine = {name: one for name, one in batch.parts.items() if one.data["inputs"].isfinite().all()}
            yield MetaBatch(batch.step, fine)


@pytest.mark.parametrize("schedule", ["interleave", "joint"])
def test_faulty_batches_of_one_task_are_as_if_they_were_not_there(schedule: str, tmp_path: Path) -> None:
    faulty = sources(parity=range(0, 400, 50))
    found = trained(tmp_path / "a", dict(schedule=schedule, sources=faulty), train_cfg=dict(max_iters=12))
    assert found.train_loop.state_dict()["guard"]["skipped"]["parity"] in range(1, 12)
    without = WithoutFaulty(faulty, schedule=schedule, seed=1)
    run = runner(tmp_path / "b", {}, train_cfg=dict(max_iters=12))
    run._train_dataloader = without
    run.train()
    assert_same(final(found), final(run))
    assert all(value.isfinite().all() for value in found.model.state_dict().values())


def spoil(patch: pytest.MonkeyPatch, steps: Sequence[int], left_out: Sequence[int] = ()) -> None:
    """From now on the loader's batches of one task are not finite at some steps, and other steps are left out."""
    given = MetaDataLoader.__iter__

    def batches(loader: MetaDataLoader) -> Iterator[MetaBatch]:
        for batch in given(loader):
            if batch.step in steps:
                batch.parts["parity"].data["inputs"].fill_(float("nan"))
            if batch.step not in left_out:
                yield batch

    patch.setattr(MetaDataLoader, "__iter__", batches)


@pytest.mark.parametrize(("interval", "accumulative_counts", "sound"), [(2, 1, 4), (3, 3, 3)])
def test_after_too_many_faults_training_goes_back_and_its_data_go_on(
    interval: int, accumulative_counts: int, sound: int, tmp_path: Path
) -> None:
    """The checkpoint of step 6 is newer than the first fault, so it is not the one."""
    options: dict[str, Any] = dict(loader=dict(schedule="joint"), hooks=dict(interval=interval, max_keep_ckpts=4))
    options["train_cfg"] = dict(max_iters=12, guard=dict(max_skipped=3, spike=dict(window=8, threshold=100.0)))
    sgd = dict(type="SGD", lr=0.1, momentum=0.9)
    options["optim_wrapper"] = dict(type="OptimWrapper", optimizer=sgd, accumulative_counts=accumulative_counts)
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        spoil(patch, [5, 6, 7, 9])
        found = trained(tmp_path / "a", custom_hooks=[recorder], **options)
    with pytest.MonkeyPatch.context() as patch:
        spoil(patch, [9], left_out=range(sound, 8))
        expected = trained(tmp_path / "b", **options)
    assert_same(final(found), final(expected))
    steps = [int(call.split()[1]) for call in recorder.calls if call.startswith("after")]
    assert steps == [*range(8), *range(sound, 12)]
    states = [run.train_loop.state_dict() for run in (found, expected)]
    assert states[0]["loader"]["step"] == states[1]["loader"]["step"] == 20 - sound
    assert states[0]["guard"]["losses"] == states[1]["guard"]["losses"]
    assert states[0]["guard"]["skipped"] == {"parity": 4} and states[0]["guard"]["rollbacks"] == 1
    assert f"went back from step 8 to step {sound}" in next((tmp_path / "a").rglob("*.log")).read_text()


def test_going_back_without_a_checkpoint_or_without_end_is_an_error(tmp_path: Path) -> None:
    bad = dict(sources=sources(parity=range(400)))
    with pytest.raises(UserError, match="source 'parity'.* no checkpoint to go back to"):
        trained(tmp_path / "a", bad, train_cfg=dict(max_iters=100, guard=dict(max_skipped=2)))
    with pytest.raises(UserError, match="source 'parity'.* it went back 2 times"):
        guard = dict(max_skipped=5, max_rollbacks=2)
        trained(tmp_path / "b", bad, dict(interval=3), train_cfg=dict(max_iters=1000, guard=guard))


# Refusals


def two_digits(**changes: Any) -> dict[str, Any]:
    given = sources()
    given["digit"] |= changes
    return dict(sources=given)


@pytest.mark.parametrize(
    ("loader", "sections", "message"),
    [
        (dict(type="DataLoader"), {}, "train_dataloader.type is 'DataLoader'"),
        (two_digits(task="digits"), {}, "source 'digit' feeds task 'digits'; did you mean 'digit'?"),
        (
            {},
            dict(train_cfg=dict(max_iters=1, clip=dict(pairity=dict(max_norm=1)))),
            "'pairity'.*did you mean 'parity'",
        ),
        ({}, dict(train_cfg=dict(max_iters=1, clip=dict(max_norm=-1))), "max_norm=NUMBER"),
        ({}, dict(train_cfg=dict(max_iters=1, guard=dict(max_skipped=0))), "max_skipped=0"),
        ({}, dict(auto_scale_lr=dict(enable=True, base_batch_size=8)), "auto_scale_lr"),
        ({}, dict(cfg=dict(compile=True)), "compile"),
        (dict(sources=dict(conflict={**sources()["digit"], "task": "digit"})), {}, "called 'conflict'"),
        ({}, dict(model=plain_model()), "the tasks digit, parity, and Classifier is a model of one"),
    ],
)
def test_what_does_not_go_together_is_refused(loader: dict, sections: dict, message: str, tmp_path: Path) -> None:
    run = runner(tmp_path, loader, **dict(train_cfg=dict(max_iters=1)) | sections)
    with pytest.raises(UserError, match=message):
        run.train()


def test_a_plain_model_trains_on_several_sources_of_its_task(tmp_path: Path) -> None:
    both = {name: {**sources()["digit"], "task": "digit"} for name in ("old", "new")}
    run = trained(tmp_path, dict(sources=both, schedule="joint"), model=plain_model(), train_cfg=dict(max_iters=12))
    losses = run.message_hub.get_scalar("train/old/loss").data[0]
    assert losses[-1] < losses[0]


# Two processes


def wrapped(**options: Any) -> MMDistributedDataParallel:
    return MMDistributedDataParallel(shared_model(norm=False), broadcast_buffers=False, **options)


def refused(rank: int, folder: Path, options: dict) -> dict:
    with pytest.raises(UserError) as error:
        trained(folder / str(rank), {}, model=wrapped(**options), train_cfg=dict(max_iters=2))
    return dict(said=str(error.value))


@pytest.mark.parametrize("options", [dict(find_unused_parameters=False), dict(gradient_as_bucket_view=True)])
def test_a_wrapper_that_would_go_wrong_is_refused(options: dict, tmp_path: Path) -> None:
    for found in in_two_processes(refused, tmp_path, tmp_path, dict(find_unused_parameters=True) | options):
        assert next(iter(options)) in found["said"]


def goes_back(rank: int, folder: Path) -> dict:
    spoil(pytest.MonkeyPatch(), range(5, 8) if rank else [])
    train_cfg = dict(max_iters=12, guard=dict(max_skipped=3))
    hooks = dict(interval=2, max_keep_ckpts=3)
    model = wrapped(find_unused_parameters=True)
    run = trained(folder, dict(schedule="joint"), hooks, model=model, train_cfg=train_cfg)
    return dict(state=model.module.state_dict(), loop=run.train_loop.state_dict())


def test_processes_go_back_together_for_the_fault_of_one(tmp_path: Path) -> None:
    first, second = in_two_processes(goes_back, tmp_path, tmp_path / "run")
    assert_same(second["state"], first["state"])
    assert first["loop"] == second["loop"]
    assert first["loop"]["guard"]["rollbacks"] == 1 and first["loop"]["loader"]["step"] == 16
    assert all(value.isfinite().all() for value in first["state"].values())


# Whole runs by the tool

CONFIG = """
_base_ = ["{root}/configs/_base_/default_runtime.py"]
classifier = dict(
    type="mmpretrain.ImageClassifier",
    data_preprocessor=dict(num_classes=10, mean=[120.0] * 3, std=[64.0] * 3),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=1280, loss=dict(type="CrossEntropyLoss")),
)
model = dict(
    type="interngv.MultiTaskModel",
    trunk=dict(type="interngv.MetaNet", arch="mn-mini"),
    tasks=dict(digits=classifier, things=classifier),
)
pipeline = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
folders = dict(digits="{digits}", things="{things}")
train_dataloader = dict(
    type="interngv.MetaDataLoader",
    num_workers=1,
    schedule="{schedule}",
    sources={{
        name: dict(
            batch_size=32,
            dataset=dict(type="mmpretrain.CustomDataset", data_root=folder, data_prefix="train", pipeline=pipeline),
        )
        for name, folder in folders.items()
    }},
)
val_dataloader = {{
    name: dict(
        batch_size=60,
        num_workers=0,
        collate_fn=dict(type="default_collate"),
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(
            type="mmpretrain.CustomDataset", data_root=folder, data_prefix="val", pipeline=pipeline,
            indices=list(range(0, 200, 2)),
        ),
    )
    for name, folder in folders.items()
}}
val_evaluator = {{name: dict(type="mmpretrain.Accuracy", topk=1) for name in folders}}
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3))
train_cfg = dict(
    type="interngv.MetaTrainLoop", max_iters=40, val_interval=20, clip=dict(max_norm=5.0), guard=dict(spike=dict())
)
val_cfg = dict(
    type="interngv.MetaValLoop", score={{"digits/accuracy/top1": 0.5, "things/accuracy/top1": 0.5}}
)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=20, save_best="score"))
log_processor = dict(by_epoch=False)
find_unused_parameters = True
"""


def written(path: Path, **values: Any) -> Path:
    path.write_text(CONFIG.format(root=ROOT, **values))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["interleave", "joint"])
def test_two_host_classifiers_learn_on_one_trunk(
    schedule: str, tool: Callable, digits_folder: Path, class_folder: Path, tmp_path: Path
) -> None:
    config = written(tmp_path / "config.py", schedule=schedule, digits=digits_folder, things=class_folder)
    done = tool("train", config, "--work-dir", tmp_path / "run", "--cfg-options", "randomness.seed=0")
    assert done.returncode == 0, done.stderr[-3000:]
    (scalars,) = (tmp_path / "run").rglob("scalars.json")
    logged = [json.loads(line) for line in scalars.read_text().splitlines()]
    trained = [line for line in logged if "digits/loss" in line]
    for source in ("digits", "things"):
        assert trained[-1][f"{source}/loss"] < trained[0][f"{source}/loss"]
    assert trained[-1]["digits/samples"] == 32 * (40 if schedule == "joint" else 20)
    measured = [line for line in logged if "score" in line]
    assert len(measured) == 2 and measured[-1]["digits/accuracy/top1"] > 30
    assert next((tmp_path / "run").glob("best_score_iter_*")).is_dir()


@pytest.mark.slow
def test_ranks_train_tasks_of_their_own_and_one_that_dies_ends_the_run(
    tool: Callable, digits_folder: Path, class_folder: Path, tmp_path: Path
) -> None:
    config = written(tmp_path / "config.py", schedule="rank", digits=digits_folder, things=class_folder)
    options = ["--launcher", "pytorch", "--cfg-options", "randomness.seed=0"]
    options += ["train_cfg.max_iters=8", "default_hooks.logger.interval=4"]
    done = tool("train", config, "--work-dir", tmp_path / "run", *options, processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    (scalars,) = (tmp_path / "run").rglob("scalars.json")
    logged = [json.loads(line) for line in scalars.read_text().splitlines()]
    trained = [line for line in logged if "digits/loss" in line][-1]
    assert trained["digits/samples"] == trained["things/samples"] == 8 * 32
    assert trained["things/grad_norm"] > 0 and 0 <= logged[-1]["score"] <= 100

    (tmp_path / "dies.py").write_text(DIES)
    deadly = tmp_path / "deadly.py"
    deadly.write_text(
        f"_base_ = ['{config}']\ncustom_hooks = [dict(type='Dies')]\n"
        "custom_imports = dict(_delete_=True, imports=['interngv', 'dies'])\n"
    )
    died = tool("train", deadly, "--work-dir", tmp_path / "b", *options, processes=2, PYTHONPATH=str(tmp_path))
    assert died.returncode != 0
    assert "another process of this run ended: see its output above" in died.stderr + died.stdout


@pytest.mark.slow
def test_a_signal_to_all_processes_of_a_run_ends_it_with_a_checkpoint(
    digits_folder: Path, class_folder: Path, tmp_path: Path
) -> None:
    config = written(tmp_path / "config.py", schedule="joint", digits=digits_folder, things=class_folder)
    command = [sys.executable, ROOT / "tools" / "train.py", config, "--work-dir", tmp_path / "run"]
    command += ["--cfg-options", "default_hooks.logger.interval=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (tmp_path / "said").open("w+") as said:
        run = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True, env=environment)
        try:
            while "Iter(train)" not in (tmp_path / "said").read_text() and run.poll() is None:
                time.sleep(0.2)
            os.killpg(run.pid, signal.SIGTERM)
            assert run.wait(60) == 0, (tmp_path / "said").read_text()[-3000:]
        finally:
            run.kill()
    text = (tmp_path / "said").read_text()
    assert "it goes on from" in text.splitlines()[-1] and list((tmp_path / "run").glob("iter_*"))


DIES = """
import os
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Dies(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx == 3 and runner.rank == 1:
            os._exit(7)
"""
