"""Train the arms of a comparison with several seeds, measure each, and write what came out as mean and deviation.

    python tools/study.py configs/studies/up_a.py [--seeds 0,1,2] [--jobs N] [--work-dir DIR] [--out docs/results]

A study is a config with ``title``, ``arms`` (see :class:`Arm`) and ``measures`` (see :class:`Measure`). All training
and testing goes through tools/train.py and tools/test.py, in processes of their own. What is done is kept: the same
command goes on after a stop, and takes further seeds. The table and every number go to ``<out>/<name of the
config>.md`` and ``.json``.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

import interngv
from interngv.amateur.local.joined import join
from interngv.checkpoint.files import replaced
from interngv.engine.command import run_tool
from interngv.errors import UserError, did_you_mean
from interngv.gvb import report

TOOLS = Path(__file__).resolve().parent
Scores = dict[str, float]  # by label


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        config: what is trained; None for a trunk that is not.
        options: dotted keys that override it.
        upstream: the arm whose checkpoint of the same seed it starts from.
        texts: the arm whose image-text model its trunk is put into for measures of images with texts.
        trunk: what GV-B calls its trunk; its config where left out.
    """

    config: str | None = None
    options: Mapping[str, Any] | None = None
    upstream: str | None = None
    texts: str | None = None
    trunk: str | None = None


@dataclass(frozen=True)
class Measure:
    """One call of tools/test.py.

    Attributes:
        scores: by label, the key of a metric, or with a suite, the task.
        options: dotted keys that override the arm's config, which is tested; or
        suite: a suite of GV-B, to judge an arm's trunk on, with ``arguments`` such as ``--shots 10``.
        texts: whether it needs an image-text model.
        arms: those it is taken of; all where left out.
    """

    scores: Mapping[str, str]
    options: Mapping[str, Any] | None = None
    suite: str | None = None
    arguments: str = ""
    texts: bool = False
    arms: Sequence[str] | None = None


class Study:
    """The arms and measures of a config, and the folder where they are kept.

    Raises UserError for a config that lacks one of them, or names an arm that it has not.
    """

    def __init__(self, config: str, work_dir: Path) -> None:
        if not Path(config).is_file():
            raise UserError(f"{config}: no such file; studies lie in configs/studies")
        given = Config.fromfile(config)
        self.name, self.folder = Path(config).stem, work_dir / Path(config).stem
        try:
            self.title = given.title
            self.arms = {name: Arm(**arm) for name, arm in given.arms.items()}
            self.measures = [Measure(**one) for one in given.measures]
        except (AttributeError, TypeError) as error:
            raise UserError(f"{config} is no study: {error}") from error
        for arm in self.arms.values():
            for other in (arm.upstream, arm.texts, *(each for one in self.measures for each in one.arms or ())):
                if other is not None and other not in self.arms:
                    raise UserError(f"{config}: '{other}' is no arm{did_you_mean(other, self.arms)}")

    def keep(self, names: Sequence[str]) -> None:
        """Leave the other arms out; UserError for an unknown one and for one that starts from an arm left out."""
        for name in names:
            if name not in self.arms:
                raise UserError(f"'{name}' is no arm{did_you_mean(name, self.arms)}; {_listed(list(self.arms))}")
            arm = self.arms[name]
            for other in (arm.upstream, arm.texts):
                if other and other not in names:
                    raise UserError(f"'{name}' needs the arm '{other}'")
        self.arms = {name: self.arms[name] for name in names}

    def train(self, name: str, seed: int) -> None:
        """Train an arm, whose upstream is trained; one that was trained to its end is left as it is."""
        arm, folder = self.arms[name], self.folder / name / str(seed)
        if arm.config is None or (folder / "trained.json").exists():
            return
        start = ["--upstream", _checkpoint(self.folder / arm.upstream / str(seed))] if arm.upstream else []
        begin = time.time()
        _tool("train", [arm.config, "--seed", str(seed), "--resume", *start, *_options(arm.options)], folder)
        _keep(folder / "trained.json", {"seconds": round(time.time() - begin), "environment": environment()})

    def measure(self, number: int, name: str, seed: int) -> Scores:
        """One of the measures, of a trained arm; kept from an earlier call, and none where it does not apply."""
        measure, arm, folder = self.measures[number], self.arms[name], self.folder / name / str(seed)
        if (measure.texts and not self._has_texts(arm)) or name not in (measure.arms or self.arms):
            return {}
        kept = folder / f"measure_{number}.json"
        if not kept.exists():
            found = (
                self._judged(measure, name, seed, folder / f"grid_{number}")
                if measure.suite
                else self._tested(measure, arm, seed, folder)
            )
            _keep(kept, found)
        return json.loads(kept.read_text())

    def costs(self, seeds: Sequence[int]) -> list[str]:
        """Seconds and environment of every arm's trainings."""
        lines = []
        for name, arm in self.arms.items():
            files = [self.folder / name / str(seed) / "trained.json" for seed in seeds]
            records = [json.loads(file.read_text()) for file in files] if arm.config else []
            for where in dict.fromkeys(record["environment"] for record in records):
                seconds = [record["seconds"] for record in records if record["environment"] == where]
                lines.append(f"{name}: {_listed(seconds)} s; {where}")
        return lines

    def _has_texts(self, arm: Arm) -> bool:
        return arm.texts is not None or (arm.config is not None and arm.upstream is None)

    def _model(self, arm: Arm, seed: int, folder: Path) -> tuple[str, str]:
        """Config and checkpoint of an arm's image-text model."""
        if arm.texts is None:
            return str(arm.config), _checkpoint(folder)
        path = folder / "joined.safetensors"
        if not path.exists():
            join(_checkpoint(self.folder / arm.texts / str(seed)), _checkpoint(folder), path)
        return str(self.arms[arm.texts].config), str(path)

    def _tested(self, measure: Measure, arm: Arm, seed: int, folder: Path) -> Scores:
        out = folder / "metrics.json"
        _tool("test", [*self._model(arm, seed, folder), "--out", str(out), *_options(measure.options)], folder)
        metrics = json.loads(out.read_text())
        return {label: metrics[key] for label, key in measure.scores.items()}

    def _judged(self, measure: Measure, name: str, seed: int, grid: Path) -> Scores:
        arm, label, folder = self.arms[name], f"{name} {seed}", self.folder / name / str(seed)
        if measure.texts:
            trunk, checkpoint = self._model(arm, seed, folder)
        elif arm.config:
            trunk, checkpoint = arm.config, _checkpoint(folder)
        else:
            trunk, checkpoint = str(arm.trunk), f"random:{seed}"
        tasks = ",".join(measure.scores.values())
        words = ["--trunk", trunk, "--checkpoint", checkpoint, "--name", label, "--tasks", tasks]
        _tool("test", [str(measure.suite), *words, *shlex.split(measure.arguments)], folder, work_dir=grid)
        cells = {cell["task"]: cell["score"] for cell in report.read(grid).cells if cell["status"] == "done"}
        if missing := sorted(set(measure.scores.values()) - set(cells)):
            raise UserError(f"{label}: {', '.join(missing)} could not be measured; {grid}/report.md says why")
        return {label: cells[task] for label, task in measure.scores.items()}


def _options(given: Mapping[str, Any] | None) -> list[str]:
    return ["--cfg-options", *(f"{key}={value}" for key, value in given.items())] if given else []


def environment() -> str:
    """What a number may depend on beside the code."""
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return f"interngv {interngv.__version__}, torch {torch.__version__}, Python {platform.python_version()}, {device}"


def _keep(path: Path, what: Mapping[str, Any]) -> None:
    with replaced(path) as file:
        file.write(json.dumps(what, indent=2).encode() + b"\n")


def _checkpoint(folder: Path) -> str:
    return (folder / "last_checkpoint").read_text().strip()


def _tool(name: str, arguments: list[str], folder: Path, work_dir: Path | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    command = [sys.executable, str(TOOLS / f"{name}.py"), *arguments, "--work-dir", str(work_dir or folder)]
    with log.open("a") as file:
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        if subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment).returncode:
            tail = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-8:])
            raise UserError(f"{' '.join(command)} failed (log: {log}):\n{tail}")


def run(study: Study, seeds: Sequence[int], jobs: int) -> dict[str, dict[int, Scores]]:
    """The scores of every arm and seed: all are trained, those that others start from first, and then measured."""
    found: dict[str, dict[int, Scores]] = {name: {seed: {} for seed in seeds} for name in study.arms}
    later = [name for name, arm in study.arms.items() if arm.upstream]
    first = [name for name in study.arms if name not in later]

    def measured(number: int, name: str, seed: int) -> None:
        found[name][seed] |= study.measure(number, name, seed)

    with ThreadPoolExecutor(jobs) as pool:

        def each(what: str, do: Callable[[str, int], object], names: Sequence[str]) -> None:
            begin = time.time()
            for done in [pool.submit(do, name, seed) for seed in seeds for name in names]:
                done.result()
            print(f"{what}: {', '.join(names)}; {time.time() - begin:.0f} s", flush=True)

        each("trained", study.train, first)
        each("trained", study.train, later)
        for number, measure in enumerate(study.measures):
            each(f"measured {', '.join(measure.scores)}", partial(measured, number), list(study.arms))
    return found


def table(found: Mapping[str, Mapping[int, Scores]]) -> str:
    """Mean ± standard deviation over the seeds, a line a label and a column an arm, as markdown."""
    labels = list(dict.fromkeys(label for runs in found.values() for scores in runs.values() for label in scores))
    rows = [["", *found], ["---", *("---:" for _ in found)]]
    rows += [
        [label, *(_cell([scores[label] for scores in runs.values() if label in scores]) for runs in found.values())]
        for label in labels
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else "-"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def write(study: Study, found: Mapping[str, Mapping[int, Scores]], command: str, out: Path) -> str:
    """Write ``.md`` and ``.json`` and return the table."""
    body, seeds = table(found), sorted({seed for runs in found.values() for seed in runs})
    lines = [f"# {study.title}", "", body, "", f"Mean ± standard deviation over the seeds {_listed(seeds)}, by:", ""]
    lines += [
        f"    {command}",
        "",
        "Trained:",
        *(f"* {line}" for line in study.costs(seeds)),
        "",
        f"Measured with {environment()}.",
    ]
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{study.name}.md").write_text("\n".join(lines) + "\n")
    _keep(out / f"{study.name}.json", {"title": study.title, "command": command, "scores": found})
    return body


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def main() -> int:
    """Run a study."""
    parser = argparse.ArgumentParser(description="Compare ways of training, with several seeds.")
    parser.add_argument("config", help="such as configs/studies/up_a_group.py")
    parser.add_argument("--seeds", default="0,1,2", help="which seeds: 0,1,2")
    parser.add_argument("--arms", help="some of the arms: clip,declip")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/studies"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()

    def go() -> None:
        study = Study(args.config, args.work_dir)
        if args.arms:
            study.keep(args.arms.split(","))
        found = run(study, [int(seed) for seed in args.seeds.split(",")], args.jobs)
        print(write(study, found, f"python tools/study.py {args.config} --seeds {args.seeds}", args.out))

    return run_tool(go)


if __name__ == "__main__":
    sys.exit(main())
