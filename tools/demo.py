"""The whole path on real images: fetch packs, train mn-mini on some, judge the frozen trunk on others.

    python tools/demo.py [--packs {auto,emoji,clothes,pip}] [--quick] [--work-dir work_dirs/demo]

The open suite of GV-B (configs/gvb/open.py) judges three trunks: the trained one, the same untrained, and
EfficientNet-Lite0 with its ImageNet weights. All training and testing goes through tools/train.py and tools/test.py
with configs of the project. Prints a table, writes accuracy.png and the benchmark's report to the work dir; what did
not change is kept from the last run.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

import interngv
from interngv.amateur.text.train_vocabulary import train_vocabulary
from interngv.engine.config import load_config
from interngv.gvb.report import Cell, read
from interngv.gvd.layouts import prepare
from interngv.gvd.open_data import OpenDataError, pack_facts

TOOLS = Path(__file__).resolve().parent
CONFIGS = TOOLS.parent / "configs"
SUITE = CONFIGS / "gvb/open.py"
GRID = "gvb"  # the benchmark's folder, beside the training's
DENSE = ("tree-crowns", "nuclei", "motorcycle")
VOCABULARY = Path("data/vocabulary/bpe-4096.json")
COLOURS = {"random": "#999999", "trained": "#0072B2", "ImageNet": "#E69F00"}
PROGRESS = re.compile(r"((?:Epoch|Iter)\((?:train|val|test)\).*|^\[\d+/\d+\] .*)")


class Variant(NamedTuple):
    """Packs and config that train the trunk, the metric of that training, and the pack that it then classifies."""

    packs: tuple[str, ...]
    config: str
    metric: str
    classification: str


VARIANTS = {
    "emoji": Variant(
        ("fluent-emoji", "wordnet"),
        "up_a/mn-mini_declip_1xb64-400i_fluent-emoji-64px.py",
        "retrieval/i2t_R@5",
        "mnist-5k",
    ),
    "clothes": Variant(("fashion-mnist",), "gva/mn-mini_1xb128-3e_fashion-mnist-32px.py", "accuracy/top1", "mnist-5k"),
    "pip": Variant(("mnist-5k",), "gva/mn-mini_1xb64-20e_mnist-5k-32px.py", "accuracy/top1", "digits-8x8"),
}


def choose(name: str, *others: str, dense: tuple[str, ...] = DENSE) -> str:
    """Prepare the data of the first of these variants whose packages can be had, and return its name."""
    try:
        for pack in (*VARIANTS[name].packs, VARIANTS[name].classification, *dense):
            prepare(pack)
        if "wordnet" in VARIANTS[name].packs and not VOCABULARY.exists():
            train_vocabulary(["data/wordnet"], out=VOCABULARY)
    except OpenDataError as error:
        if not others:
            raise SystemExit(f"error: {error}") from error
        print(f"{error}\nthe demo goes on without: it takes the variant '{others[0]}'", flush=True)
        return choose(*others, dense=dense)
    return name


def train(variant: Variant, folder: Path, options: dict[str, object]) -> dict[str, object]:
    """Score, seconds and checkpoint of a variant's config; kept from a run before with the same config and data."""
    config = str(CONFIGS / variant.config)
    text = load_config(config, dict(options)).pretty_text
    data = [pack_facts(name).sha256 for name in variant.packs]
    if str(VOCABULARY) in text:
        data.append(hashlib.sha256(VOCABULARY.read_bytes()).hexdigest())
    key = hashlib.sha256("\n".join([interngv.__version__, variant.metric, text, *data]).encode()).hexdigest()
    record = folder / "step.json"
    step = json.loads(record.read_text()) if record.is_file() else {}
    if step.get("key") == key and Path(step["checkpoint"]).exists():
        print(f"{folder.name}: kept from an earlier run", flush=True)
        return step
    record.unlink(missing_ok=True)
    shutil.rmtree(folder.parent / GRID, ignore_errors=True)  # it judged other weights
    pairs = [f"{name}={value}" for name, value in options.items()]
    start, common = time.time(), ["--work-dir", str(folder), *(["--cfg-options", *pairs] if pairs else [])]
    tool("train.py", [config, *common], folder)
    checkpoint = (folder / "last_checkpoint").read_text().strip()
    tool("test.py", [config, checkpoint, "--out", str(folder / "test.json"), *common], folder)
    score = round(json.loads((folder / "test.json").read_text())[variant.metric], 2)
    step = {"score": score, "seconds": round(time.time() - start, 1), "checkpoint": checkpoint, "key": key}
    record.write_text(json.dumps(step))
    return step


def judge(variant: Variant, checkpoint: str, folder: Path, quick: bool) -> list[Cell]:
    """Fill the grid in ``folder``, a core a process, write its report there, and return its cells."""
    trunks = {
        "random": ["mn-mini", "--checkpoint", "random"],
        "trained": ["mn-mini", "--checkpoint", checkpoint],
        "ImageNet": ["efficientnet-lite0"],
    }
    parts = {"dense": (",".join(DENSE), "all"), "classification": (variant.classification, "10,all")}
    if quick:
        parts = {"classification": (variant.classification, "10")}
        del trunks["ImageNet"]

    def fill(name: str, part: str, log: str, *more: str) -> None:
        tasks, shots = parts[part]
        which = ["--trunk", *trunks[name], "--name", name, "--tasks", tasks, "--shots", shots, *more]
        tool("test.py", [str(SUITE), *which, "--work-dir", str(folder)], folder.parent / log, OMP_NUM_THREADS="1")

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        jobs = [pool.submit(fill, name, part, f"gvb-{name}-{part}") for part in parts for name in trunks]
    for job in jobs:
        job.result()
    fill("random", "classification", "gvb-report", "--baseline", "random")  # nothing is left to measure
    return [cell for cell in read(folder).cells if cell["status"] == "done"]


def tool(name: str, args: list[str], folder: Path, **env: str) -> None:
    """Run a tool of the project; its progress goes to the terminal, all it says to a log file."""
    folder.mkdir(parents=True, exist_ok=True)
    log, command = folder / f"{name}.log", [sys.executable, str(TOOLS / name), *args]
    print(f"{folder.name}: tools/{name}, log in {log}", flush=True)
    env = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **env}  # threads that spin at barriers crawl beside data workers
    pipe = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=env)
    with log.open("w") as file, subprocess.Popen(command, **pipe) as process:
        for line in process.stdout:
            file.write(line)
            if found := PROGRESS.search(line):
                print(f"  {found[1]}", flush=True)
    if process.returncode:
        tail = "".join(log.read_text().splitlines(keepends=True)[-15:])
        raise SystemExit(f"error: {' '.join(command)} ended with status {process.returncode}:\n{tail}")


def by_row(cells: list[Cell]) -> dict[tuple[str, str, str], dict[str, float]]:
    """The scores by task, labels and metric, then by trunk."""
    rows: dict[tuple[str, str, str], dict[str, float]] = {}
    for cell in cells:
        rows.setdefault((cell["task"], str(cell["shots"]), cell["metric"]), {})[cell["trunk"]] = cell["score"]
    return rows


def table(cells: list[Cell]) -> str:
    """The scores as lines of text."""
    trunks = [name for name in COLOURS if any(cell["trunk"] == name for cell in cells)]
    lines = [f"{'task, labels in %, metric':32}" + "".join(f"{name:>10}" for name in trunks)]
    for row, scores in by_row(cells).items():
        lines.append(f"  {', '.join(row):30}" + "".join(f"{scores.get(name, float('nan')):10.2f}" for name in trunks))
    return "\n".join(lines)


def plot(cells: list[Cell], path: Path) -> None:
    """Bars of the classification: accuracy at each share of the labels, by trunk."""
    rows = {key: scores for key, scores in by_row(cells).items() if key[0] not in DENSE}
    axes = (figure := Figure(figsize=(5, 3.5), layout="constrained")).subplots()
    for number, (trunk, colour) in enumerate(COLOURS.items()):
        heights = [scores.get(trunk, float("nan")) for scores in rows.values()]
        places = [place + 0.27 * (number - 1) for place in range(len(rows))]
        axes.bar_label(axes.bar(places, heights, 0.25, color=colour, label=trunk), fmt="%.1f")
    labels = [f"{task}, {shots if shots == 'all' else shots + ' %'}" for task, shots, _ in rows]
    axes.set_xticks(range(len(rows)), labels)
    axes.set(ylabel="top-1 accuracy, %", ylim=(0, 112), yticks=range(0, 101, 20))
    axes.set_title("Frozen trunks, linear head, by share of the labels", fontsize=10)
    axes.legend(ncols=3, frameon=False, loc="upper left")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description="Train mn-mini on real pictures, judge it on others.")
    parser.add_argument("--packs", choices=("auto", *VARIANTS), default="auto", help="which real sets")
    parser.add_argument("--quick", action="store_true", help="two minutes: pip's packs, one task at 10 %%")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/demo"))
    args = parser.parse_args()
    start = time.time()
    wanted = list(VARIANTS) if args.packs == "auto" else [args.packs]
    name = choose("pip", dense=()) if args.quick else choose(*wanted)
    variant, work_dir = VARIANTS[name], args.work_dir / (f"{name}-quick" if args.quick else name)
    less = {"train_cfg.max_epochs": 4, "param_scheduler.1.end": 4, "param_scheduler.1.T_max": 2} if args.quick else {}
    step = train(variant, work_dir / "upstream", less)
    cells = judge(variant, step["checkpoint"], work_dir / GRID, args.quick)
    plot(cells, work_dir / "accuracy.png")
    learnt = f"mn-mini on {variant.packs[0]}: {variant.metric} {step['score']:.2f} %, {step['seconds']:.0f} s; judged:"
    print(
        f"\n{learnt}\n{table(cells)}\n{work_dir}/accuracy.png, {GRID}/report.html; {time.time() - start:.0f} s in total"
    )


if __name__ == "__main__":
    main()
