"""Train the arms of a comparison with several seeds, measure each, and write what came out as mean and deviation.

    python tools/study.py tools/studies/up_a_emoji.py [--seeds 0,1,2] [--jobs N] [--work-dir DIR] [--out docs/results]

A study is a file with ``title``, ``arms`` (see :class:`Arm`) and ``measures`` (see :class:`Measure`). All training and
testing goes through tools/train.py and tools/test.py, in processes of their own. What is done is kept, as long as the
configs that it came from say the same: the same command goes on after a stop, and takes further seeds. The table and
every number go to ``<out>/<name of the study>.md`` and ``.json``.
"""

import argparse
import hashlib
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

import interngv
from interngv.amateur.local.joined import join
from interngv.checkpoint.files import replaced
from interngv.engine.command import run_tool
from interngv.engine.config import load_config
from interngv.errors import UserError, did_you_mean
from interngv.gvb import host_run, report
from interngv.gvb.suite import read_suite

RECORD = "arm.json"  # of a training: what it depends on, and what it has cost so far
Scores = dict[str, float]  # by label
Found = Mapping[str, Mapping[int, Scores]]  # by arm and seed


@dataclass(frozen=True)
class Arm:
    """One way of training, or a trunk that is not trained.

    Attributes:
        config: what is trained; or
        trunk: what GV-B calls the trunk, ``mn-mini``; it is initialised with the seed.
        upstream: the arm whose checkpoint of the same seed the training starts from.
        texts: the arm whose image-text model is taken for measures of images with texts: its own name where it is one,
            another one's for a trunk that is then put into that model (:mod:`interngv.amateur.local.joined`).
    """

    config: str | None = None
    trunk: str | None = None
    upstream: str | None = None
    texts: str | None = None


@dataclass(frozen=True)
class Measure:
    """One call of tools/test.py.

    Attributes:
        scores: by label, the key of a metric; with a suite, the task.
        options: dotted keys that override the arm's config, which is tested; or
        suite: a suite of GV-B, to judge an arm's trunk on, with ``arguments`` such as ``--shots 10``.
        texts: whether it needs an image-text model; arms without one are left out.
        arms: those it is taken of; all where left out.
    """

    scores: Mapping[str, str]
    options: Mapping[str, Any] | None = None
    suite: str | None = None
    arguments: str = ""
    texts: bool = False
    arms: Sequence[str] | None = None


class Study:
    """The arms and measures of a file, and the folder where their results are kept.

    Raises UserError for a file that is no study, names an arm that it has not, or arms that start from each other.
    """

    def __init__(self, path: str, work_dir: Path) -> None:
        self.name, self.folder = Path(path).stem, work_dir / Path(path).stem
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file; studies lie in tools/studies")
        try:
            given = Config.fromfile(path)
            self.title = given.title
            self.arms = {name: Arm(**arm) for name, arm in given.arms.items()}
            self.measures = [Measure(**one) for one in given.measures]
        except (AttributeError, TypeError, SyntaxError) as error:
            raise UserError(f"{path} is no study: {error}") from error
        for name, arm in self.arms.items():
            if (arm.config is None) == (arm.trunk is None) or (arm.upstream and not arm.config):
                raise UserError(f"{path}: arm '{name}': give config (and, if wanted, upstream), or trunk")
            self._known(path, arm.upstream, arm.texts)
        for measure in self.measures:
            self._known(path, *(measure.arms or ()))
            if bool(measure.arguments) > bool(measure.suite) or bool(measure.options) > (measure.suite is None):
                raise UserError(f"{path}: arguments belong to a suite, options to the arms' own configs: {measure}")
        labels = [label for measure in self.measures for label in measure.scores]
        if twice := {label for label in labels if labels.count(label) > 1}:
            raise UserError(f"{path}: several measures give '{twice.pop()}'")
        self.generations = list(self._generations(path))
        self.key = cache(self._key)

    def _known(self, path: str, *names: str | None) -> None:
        for name in names:
            if name is not None and name not in self.arms:
                raise UserError(f"{path}: '{name}' is no arm{did_you_mean(name, self.arms)}")

    def _generations(self, path: str) -> Iterator[list[str]]:
        """The arms in groups, each of which starts from arms of earlier groups only."""
        left = list(self.arms)
        while left:
            ready = [name for name in left if self.arms[name].upstream not in left]
            if not ready:
                raise UserError(f"{path}: the arms {', '.join(left)} start from each other")
            yield ready
            left = [name for name in left if name not in ready]

    def _key(self, name: str) -> str:
        """Of all that an arm's training depends on beside the seed: its config and its upstream's."""
        arm = self.arms[name]
        said = load_config(arm.config).pretty_text if arm.config else str(arm.trunk)
        return _sha256([said, *([self.key(arm.upstream)] if arm.upstream else [])])

    def place(self, name: str, seed: int) -> Path:
        """Where an arm's checkpoints, logs and scores lie."""
        return self.folder / name / str(seed)

    def train(self, name: str, seed: int, jobs: int) -> None:
        """Train an arm to its end, whose upstream is trained; a stopped training goes on.

        Raises UserError where it fails, is stopped, or was begun with another config.
        """
        arm, folder = self.arms[name], self.place(name, seed)
        if arm.config is None:
            return
        file = folder / RECORD
        record = json.loads(file.read_text()) if file.exists() else {"key": self.key(name), "seconds": 0, "done": False}
        if record["key"] != self.key(name):
            raise UserError(f"{folder} was trained with another config: remove it, or give another --work-dir")
        if record["done"]:
            return
        folder.mkdir(parents=True, exist_ok=True)
        start = ["--upstream", self.checkpoint(arm.upstream, seed)] if arm.upstream else []
        words = [arm.config, "--seed", str(seed), "--resume", *start, "--work-dir", str(folder)]
        begin, record["environment"] = time.time(), environment(jobs)
        _keep(file, record)
        try:
            host_run.call("train", words, folder)
            record["done"] = True
        finally:
            _keep(file, record | {"seconds": round(record["seconds"] + time.time() - begin)})

    def measure(self, number: int, name: str, seed: int, jobs: int) -> dict[str, Any]:
        """``scores`` of one measure of a trained arm, and the ``environment``; empty where it does not apply."""
        measure = self.measures[number]
        if name not in (measure.arms or self.arms) or (measure.texts and not self.arms[name].texts):
            return {}
        said = [self.key(name), self.arms[name].texts, measure.scores, measure.options, measure.texts]
        if measure.suite:
            said += [measure.arguments, _protocols(measure.suite, tuple(measure.scores.values()))]
        place = self.place(name, seed) / f"measure_{_sha256(said)[:12]}"
        if not (place / "scores.json").exists():
            found = (self._judged if measure.suite else self._tested)(measure, name, seed, place)
            _keep(place / "scores.json", {"scores": found, "environment": environment(jobs)})
        return json.loads((place / "scores.json").read_text())

    def checkpoint(self, name: str, seed: int) -> str:
        """The last of an arm."""
        return (self.place(name, seed) / "last_checkpoint").read_text().strip()

    def _image_text(self, name: str, seed: int) -> tuple[str, str]:
        """Config and checkpoint of the image-text model of an arm."""
        texts = str(self.arms[name].texts)
        if texts == name:
            return str(self.arms[name].config), self.checkpoint(name, seed)
        path = self.place(name, seed) / "joined.safetensors"
        if not path.exists():
            join(self.checkpoint(texts, seed), self.checkpoint(name, seed), path)
        return str(self.arms[texts].config), str(path)

    def _tested(self, measure: Measure, name: str, seed: int, place: Path) -> Scores:
        out, arm = place / "metrics.json", self.arms[name]
        model = self._image_text(name, seed) if measure.texts else (str(arm.config), self.checkpoint(name, seed))
        options = [f"{key}={value}" for key, value in (measure.options or {}).items()]
        words = [*model, "--work-dir", str(place), "--out", str(out)]
        host_run.call("test", [*words, *(["--cfg-options", *options] if options else [])], place)
        return _chosen(measure, json.loads(out.read_text()), f"{name} {seed}")

    def _judged(self, measure: Measure, name: str, seed: int, place: Path) -> Scores:
        arm = self.arms[name]
        if measure.texts:
            trunk, checkpoint = self._image_text(name, seed)
        elif arm.config:
            trunk, checkpoint = arm.config, self.checkpoint(name, seed)
        else:
            trunk, checkpoint = str(arm.trunk), f"random:{seed}"
        words = ["--trunk", trunk, "--checkpoint", checkpoint, "--name", f"{name} {seed}", "--work-dir", str(place)]
        words += ["--tasks", ",".join(measure.scores.values()), *shlex.split(measure.arguments)]
        host_run.call("test", [str(measure.suite), *words], place)
        cells = report.read(place).cells
        return _chosen(measure, {cell["task"]: cell["score"] for cell in cells if cell["status"] == "done"}, str(place))


@cache
def _protocols(suite: str, tasks: tuple[str, ...]) -> list[str]:
    """What a suite's protocols say about tasks, as hashes."""
    return [protocol.sha256(task) for protocol in read_suite(suite).protocols.values() for task in tasks]


def environment(jobs: int) -> str:
    """What a number or a time may depend on beside the code."""
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    versions = f"interngv {interngv.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    return f"{versions}, {device}" + (f", {jobs} at a time" if jobs > 1 else "")


def run(study: Study, seeds: Sequence[int], jobs: int) -> tuple[Found, list[str]]:
    """The scores of every arm and seed, all of which are trained first, and the environments they were taken in."""
    found: dict[str, dict[int, Scores]] = {name: {seed: {} for seed in seeds} for name in study.arms}
    environments: dict[str, None] = {}

    def train(name: str, seed: int) -> None:
        study.train(name, seed, jobs)

    def measure(name: str, seed: int) -> None:
        for number in range(len(study.measures)):
            if kept := study.measure(number, name, seed, jobs):
                found[name][seed] |= kept["scores"]
                environments[kept["environment"]] = None

    for names in study.generations:
        _each(train, names, seeds, jobs, "trained")
    _each(measure, list(study.arms), seeds, jobs, "measured")
    return found, sorted(environments)


def _each(do: Callable[[str, int], None], names: Sequence[str], seeds: Sequence[int], jobs: int, what: str) -> None:
    """Do it for every arm and seed; where one fails, or at a signal, those that have not begun are left."""
    begin, pool = time.time(), ThreadPoolExecutor(jobs)
    try:
        for future in [pool.submit(do, name, seed) for seed in seeds for name in names]:
            future.result()
    except KeyboardInterrupt:
        raise UserError("stopped by a signal; the same command goes on with it") from None
    finally:
        pool.shutdown(cancel_futures=True)
    print(f"{what} {', '.join(names)}: {time.time() - begin:.0f} s", flush=True)


def table(found: Found) -> str:
    """Mean ± standard deviation over the seeds, a line a label and a column an arm, as markdown."""
    labels = list(dict.fromkeys(label for runs in found.values() for scores in runs.values() for label in scores))
    rows = [["", *found], ["---", *("---:" for _ in found)]]
    for label in labels:
        columns = [[scores[label] for scores in runs.values() if label in scores] for runs in found.values()]
        rows.append([label, *map(_cell, columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write(study: Study, found: Found, environments: Sequence[str], seeds: Sequence[int], out: Path) -> str:
    """Write ``.md`` and ``.json`` and return the table."""
    body, listed = table(found), ",".join(map(str, seeds))
    command = f"python tools/study.py tools/studies/{study.name}.py --seeds {listed}"
    costs = []
    for name in (name for name, arm in study.arms.items() if arm.config):
        records = [json.loads((study.place(name, seed) / RECORD).read_text()) for seed in seeds]
        for where in dict.fromkeys(record["environment"] for record in records):
            seconds = [str(record["seconds"]) for record in records if record["environment"] == where]
            costs.append(f"* {name}: {', '.join(seconds)} s; {where}")
    lines = [f"# {study.title}", "", body, "", f"Mean ± standard deviation over the seeds {listed}, by", ""]
    lines += [f"    {command}", "", "Trained:", "", *costs, "", "Measured:", "", *(f"* {one}" for one in environments)]
    out.mkdir(parents=True, exist_ok=True)
    with replaced(out / f"{study.name}.md") as file:
        file.write(("\n".join(lines) + "\n").encode())
    _keep(out / f"{study.name}.json", {"title": study.title, "command": command, "scores": found})
    return body


def _chosen(measure: Measure, given: Mapping[str, float], where: str) -> Scores:
    for key in measure.scores.values():
        if key not in given:
            raise UserError(f"{where} has no result '{key}'{did_you_mean(key, given)}; it has {', '.join(given)}")
    return {label: given[key] for label, key in measure.scores.items()}


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    digits = 3 if max(map(abs, values)) < 1 else 2
    numbers = [statistics.mean(values), *([statistics.stdev(values)] if len(values) > 1 else [])]
    return " ± ".join(f"{number:.{digits}f}" for number in numbers)


def _sha256(said: Any) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _keep(path: Path, what: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as file:
        file.write(json.dumps(what, indent=2).encode() + b"\n")


def _numbers(text: str) -> list[int]:
    return list(dict.fromkeys(int(part) for part in text.split(",")))


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def main() -> int:
    """Run a study."""
    parser = argparse.ArgumentParser(description="Compare ways of training, with several seeds.")
    parser.add_argument("study", help="such as tools/studies/up_a_emoji.py")
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2], help="which: 0,1,2")
    parser.add_argument("--jobs", type=_count, default=1, help="how many trainings or measures at a time")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/studies"), help="where all is kept")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="where the table goes")
    args = parser.parse_args()

    def go() -> None:
        study = Study(args.study, args.work_dir)
        print(write(study, *run(study, args.seeds, args.jobs), args.seeds, args.out))

    return run_tool(go)


if __name__ == "__main__":
    sys.exit(main())
