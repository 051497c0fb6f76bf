"""The engine against a bare PyTorch loop and mmengine's own runner: a step, a save, a resume, memory.

mn-mini with a classification head at 32 x 32, batch 128 as in the demo, pictures in memory, no worker processes: what
is measured is the engine's own work. Saves are of mn-b4 with AdamW's state. Usage:
``python -m benchmarks.engine [--check]``. Needs mmpretrain.
"""

import logging
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler, pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, Dataset

import interngv  # noqa: F401  (registers the plug-ins)
from benchmarks.harness import (
    Goal,
    arguments,
    environment,
    finish,
    in_fresh_process,
    interleaved,
    peak_growth,
)
from interngv.checkpoint import directory, read_checkpoint
from interngv.engine.launch import build_runner

BATCH, SIZE, CLASSES, PICTURES = 128, 32, 10, 4096
STEPS = 200  # timed ones of each loop
MANY = 10**6  # steps of a run that is not trained to its end
TASKS = 3
ADAMW = dict(type="AdamW", lr=1e-3)
FUSED = dict(**ADAMW, fused=True)  # as the engine chooses where a config does not


@DATASETS.register_module()
class PicturesInMemory(Dataset):
    """Random pictures with labels, packed as mmpretrain packs them."""

    def __init__(self) -> None:
        from mmpretrain.structures import DataSample

        generator = torch.Generator().manual_seed(0)
        self.pictures = torch.randint(256, (PICTURES, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
        self.samples = [DataSample().set_gt_label(i % CLASSES) for i in range(PICTURES)]

    def __len__(self) -> int:
        return PICTURES

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(inputs=self.pictures[index], data_samples=self.samples[index])


def classifier(arch: str = "mn-mini", trunk: bool = True) -> dict[str, Any]:
    """A host model's config, with its backbone or without."""
    backbone = dict(backbone=dict(type="interngv.MetaNet", arch=arch)) if trunk else {}
    head = dict(type="LinearClsHead", num_classes=CLASSES, in_channels=1280, loss=dict(type="CrossEntropyLoss"))
    pixels = dict(mean=[128.0] * 3, std=[64.0] * 3)
    neck = dict(type="GlobalAveragePooling")
    return dict(type="mmpretrain.ImageClassifier", data_preprocessor=pixels, **backbone, neck=neck, head=head)


def several(arch: str = "mn-mini", tasks: int = 1) -> dict[str, Any]:
    """A multi-task model's config."""
    hosts = {f"t{i}": classifier(trunk=False) for i in range(tasks)}
    return dict(type="interngv.MultiTaskModel", trunk=dict(type="interngv.MetaNet", arch=arch), tasks=hosts)


def ours(folder: str, model: dict, steps: int = MANY, **more: Any) -> Any:
    """interngv's runner on pictures in memory, a source a task."""
    source = dict(batch_size=BATCH, dataset=dict(type="PicturesInMemory"))
    sources = dict.fromkeys(model["tasks"], source)
    train = dict(
        train_dataloader=dict(type="interngv.MetaDataLoader", schedule="joint", sources=sources),
        train_cfg=dict(type="interngv.MetaTrainLoop", max_iters=steps),
    )
    return build_runner(_config(folder, model, **train, **more), world=1)


def mmengines(folder: str, model: dict, **more: Any) -> Any:
    """mmengine's own runner and loop on the same."""
    loader = dict(
        batch_size=BATCH,
        sampler=dict(type="InfiniteSampler", shuffle=True),
        collate_fn=dict(type="pseudo_collate"),
        dataset=dict(type="PicturesInMemory"),
    )
    train = dict(train_dataloader=loader, train_cfg=dict(type="IterBasedTrainLoop", max_iters=MANY))
    return Runner.from_cfg(_config(folder, model, **train, **more))


def _config(folder: str, model: dict, **more: Any) -> Config:
    hook = dict(type="CheckpointHook", by_epoch=False, interval=10**9, save_last=False)
    if "MetaTrainLoop" in more["train_cfg"]["type"]:
        hook["type"] = "interngv.CheckpointHook"
    common = dict(
        work_dir=folder,
        default_scope="mmpretrain",
        optim_wrapper=dict(optimizer=ADAMW),
        default_hooks=dict(checkpoint=hook, logger=dict(type="LoggerHook", interval=20)),
        log_processor=dict(by_epoch=False),
        log_level="ERROR",
        randomness=dict(seed=0),
        experiment_name=f"run{time.time_ns()}",
    )
    return Config({**common, **more, "model": model})


def bare_step() -> Callable[[], object]:
    """The step of a PyTorch loop: the same model, data, preprocessor and optimizer."""
    data = PicturesInMemory()
    sampler = InfiniteSampler(data, shuffle=True, seed=0)
    loader = iter(DataLoader(data, BATCH, sampler=sampler, collate_fn=pseudo_collate))
    model = MODELS.build(classifier()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=ADAMW["lr"], fused=True)

    def step() -> None:
        batch = model.data_preprocessor(next(loader), True)
        loss = model(**batch, mode="loss")["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def started(runner: Any) -> Any:
    """The runner's training loop, made ready as ``Runner.train`` does before the first step."""
    runner._train_loop = loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner._init_model_weights()
    runner.optim_wrapper.initialize_count_status(runner.model, 0, MANY)
    for point in ("before_run", "before_train", "before_train_epoch"):
        runner.call_hook(point)
    runner.model.train()
    return loop


def runner_step(runner: Any) -> Callable[[], object]:
    """A step of a runner's loop, hooks and all."""
    loop = started(runner)
    batches = iter(loop.dataloader)

    def step() -> None:
        if type(loop) is IterBasedTrainLoop:
            runner.model.train()  # as it does before every step
        loop.run_iter(next(batches))

    return step


def step_overhead() -> dict[str, float]:
    """Milliseconds of a step; the loops take turns at every step.

    mmengine's runner steps twice: with the config that ours has, which names no kernel, so that the engine takes fused
    ones and mmengine does not, and with a config that asks for them, as the bare loop does.
    """
    with tempfile.TemporaryDirectory() as folder:
        steps = {
            "bare loop": bare_step(),
            "mmengine": runner_step(mmengines(f"{folder}/a", classifier())),
            "mmengine, fused": runner_step(mmengines(f"{folder}/b", classifier(), optim_wrapper=dict(optimizer=FUSED))),
            "ours": runner_step(ours(f"{folder}/c", several())),
        }
        medians = {name: 1000 * seconds for name, seconds in interleaved(steps, STEPS).items()}
    print(f"step of mn-mini, one task, batch {BATCH}:")
    for name, value in medians.items():
        print(f"  {name:17} {value:7.2f} ms  {value / medians['bare loop']:.3f}x the bare loop")
    return medians


def save_stall(rounds: int) -> dict[str, float]:
    """Seconds that training waits for a save of mn-b4 and AdamW's state."""
    with tempfile.TemporaryDirectory() as folder:
        runners = {"mmengine": mmengines(folder, classifier("mn-b4")), "ours": ours(folder, several("mn-b4"))}
        for runner in runners.values():
            started(runner)
            for param in runner.model.parameters():
                param.grad = torch.zeros_like(param)
            runner.optim_wrapper.step()
        saves = {
            name: partial(runner.save_checkpoint, folder, f"{name}.pth", by_epoch=False)
            for name, runner in runners.items()
        }
        seconds = interleaved(saves, rounds)
        size = sum(file.stat().st_size for file in Path(folder, "ours").iterdir()) / 2**20
    print(f"save of mn-b4 with AdamW's state, {size:.0f} MiB:")
    for name, value in seconds.items():
        print(f"  {name:10} {value:6.2f} s")
    return seconds


def resume_times(rounds: int) -> dict[int, float]:
    """Seconds from ``resume`` to the end of the first step, by the step that is resumed."""
    with tempfile.TemporaryDirectory() as folder:
        runner = ours(folder, several(), steps=10)
        runner.train()
        runner.save_checkpoint(folder, "iter_10", by_epoch=False, meta=dict(iter=10))
        state = read_checkpoint(Path(folder, "iter_10"))
        state["meta"]["iter"] = 10_000
        for rank in state["ranks"]:
            rank["loop"]["loader"]["step"] = 10_000
            for source in rank["loop"]["loader"]["sources"].values():
                source["consumed"] = 10_000 * BATCH
        directory.write(Path(folder, "iter_10000"), state)

        def first_step(step: int) -> None:
            with tempfile.TemporaryDirectory() as other:
                path = str(Path(folder, f"iter_{step}"))
                ours(other, several(), steps=step + 1, load_from=path, resume=True).train()

        seconds = interleaved({str(step): partial(first_step, step) for step in (10, 10_000)}, rounds)
    print("resume to the end of the first step, with building the run:")
    for step, value in seconds.items():
        print(f"  at step {step:>6} {value:6.2f} s")
    return {int(step): value for step, value in seconds.items()}


def _train_three(shared: bool) -> Callable[[], object]:
    """A step of three mn-b4 classifiers on one trunk, or of three separate models, with AdamW's state."""
    init_default_scope("mmpretrain")
    batch = torch.randn(8, 3, 128, 128)
    if shared:
        model = MODELS.build(several("mn-b4", TASKS))
        models, tasks = [model], [(model, dict(task=name)) for name in model.tasks]
    else:
        models = [MODELS.build(classifier("mn-b4")) for _ in range(TASKS)]
        tasks = [(model, {}) for model in models]
    optimizers = [torch.optim.AdamW(model.parameters()) for model in models]

    def step() -> None:
        for model, named in tasks:
            out = model.train()(batch, mode="tensor", **named)
            out[-1].mean().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    return step


def memory() -> dict[str, float]:
    """MiB of the process that the first training step needs, weights included."""
    found = {kind: in_fresh_process("benchmarks.engine", "--memory", kind) for kind in ("shared", "separate")}
    print(f"memory of {TASKS} mn-b4 classifiers with AdamW, batch 8 at 128:")
    for kind, value in found.items():
        print(f"  {kind:10} {value:6.0f} MiB")
    return found


def main() -> None:
    """Runs everything and prints the line of figures."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--memory", choices=["shared", "separate"], help="one memory figure in this process")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    if args.memory:
        print(peak_growth(lambda: None, lambda: _train_three(args.memory == "shared")()))
        return
    print(environment())
    init_default_scope("mmpretrain")
    steps, resume = step_overhead(), resume_times(args.rounds)
    stall, peaks = save_stall(args.rounds), memory()
    goals = [
        Goal("step / bare loop", steps["ours"] / steps["bare loop"], 1.05, at_most=True),
        Goal("step / mmengine", steps["ours"] / steps["mmengine, fused"], 1.0, at_most=True),
        Goal("resume at 10 000 / at 10", resume[10_000] / resume[10], 1.2, at_most=True),
        Goal("memory of three tasks / three models", peaks["shared"] / peaks["separate"], 1.0, at_most=True),
    ]
    print(f"step {steps['ours'] / steps['mmengine']:.3f}x mmengine's from a config that names no kernels")
    print(f"save stall {stall['ours']:.2f} s, mmengine's {stall['mmengine']:.2f} s")
    finish("engine", goals, args.check)


if __name__ == "__main__":
    main()
