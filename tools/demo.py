"""The whole path on real images: fetch packs, train mn-mini on one, probe the frozen trunk on another, judge it.

    python tools/demo.py [--packs {auto,debian,pip}] [--quick] [--work-dir work_dirs/demo]

The probe runs at 10 % and 100 % of the second set's training images, with the trained trunk and with a random one; then
tools/demo_benchmark.py judges trunks. All training and testing goes through tools/train.py and tools/test.py with
configs of the project. Prints tables, writes accuracy.png, results.json and the benchmark's report to the work dir; a
step whose inputs did not change is kept from the last run.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from demo_benchmark import DENSE, judge
from matplotlib.figure import Figure

import interngv
from interngv.engine.config import load_config
from interngv.gvb.shots import shot_list
from interngv.gvd.layouts import prepare
from interngv.gvd.open_data import OpenDataError, pack_facts

TOOLS = Path(__file__).resolve().parent
CONFIGS = TOOLS.parent / "configs"
PROBE = "gvb/mn-mini_linear-probe_1xb64-500i_{}-32px.py"
PROGRESS = re.compile(r"((?:Epoch|Iter)\((?:train|val|test)\).*|^\[\d+/\d+\] .*)")
QUICK_UPSTREAM = {"train_cfg.max_epochs": 4, "param_scheduler.1.end": 4, "param_scheduler.1.T_max": 2}
QUICK_PROBE = {"train_cfg.max_iters": 200, "param_scheduler.T_max": 200, "default_hooks.checkpoint.interval": 200}


class Variant(NamedTuple):
    """Which pack trains the trunk, with which config, and which pack judges it."""

    upstream: str
    config: str
    downstream: str


VARIANTS = {
    "debian": Variant("fashion-mnist", "gva/mn-mini_1xb128-3e_fashion-mnist-32px.py", "mnist-5k"),
    "pip": Variant("mnist-5k", "gva/mn-mini_1xb64-20e_mnist-5k-32px.py", "digits-8x8"),
}


def choose(packs: str, dense: Sequence[str] = DENSE) -> str:
    """Prepare the data of a variant and return its name; ``auto`` falls back to pip where Debian's packs fail."""
    name = "debian" if packs == "auto" else packs
    try:
        for pack in (VARIANTS[name].upstream, VARIANTS[name].downstream, *dense):
            prepare(pack)
    except OpenDataError as error:
        if packs != "auto":
            raise SystemExit(f"error: {error}") from error
        print(f"{error}\nno Debian pack here: the demo takes the variant that needs pip alone", flush=True)
        return choose("pip", dense)
    return name


def train_and_test(folder: Path, config: str, options: dict[str, object], data: str) -> dict[str, object]:
    """Accuracy (%), seconds and checkpoint of a config; kept from an earlier run where config and data are the same."""
    text = load_config(str(CONFIGS / config), dict(options)).pretty_text
    key = hashlib.sha256("\n".join([interngv.__version__, text, data]).encode()).hexdigest()
    record = folder / "step.json"
    step = json.loads(record.read_text()) if record.is_file() else {}
    if step.get("key") == key and Path(step["checkpoint"]).exists():
        print(f"{folder.name}: kept from an earlier run", flush=True)
        return step
    record.unlink(missing_ok=True)
    pairs = [f"{name}={value}" for name, value in options.items()]
    start, common = time.time(), ["--work-dir", str(folder), *(["--cfg-options", *pairs] if pairs else [])]
    tool("train.py", [str(CONFIGS / config), *common], folder)
    checkpoint = (folder / "last_checkpoint").read_text().strip()
    tool("test.py", [str(CONFIGS / config), checkpoint, "--out", str(folder / "test.json"), *common], folder)
    top1 = round(json.loads((folder / "test.json").read_text())["accuracy/top1"], 2)
    step = {"accuracy": top1, "seconds": round(time.time() - start, 1), "checkpoint": checkpoint, "key": key}
    record.write_text(json.dumps(step))
    return step


def tool(name: str, args: list[str], folder: Path) -> None:
    """Run a tool of the project; its progress goes to the terminal, all it says to a log file."""
    folder.mkdir(parents=True, exist_ok=True)
    log, command = folder / f"{name}.log", [sys.executable, str(TOOLS / name), *args]
    print(f"{folder.name}: tools/{name}, log in {log}", flush=True)
    env = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # threads that spin at barriers crawl beside data workers
    pipe = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=env)
    with log.open("w") as file, subprocess.Popen(command, **pipe) as process:
        for line in process.stdout:
            file.write(line)
            if found := PROGRESS.search(line):
                print(f"  {found[1]}", flush=True)
    if process.returncode:
        tail = "".join(log.read_text().splitlines(keepends=True)[-15:])
        raise SystemExit(f"error: {' '.join(command)} ended with status {process.returncode}:\n{tail}")


def run(variant: Variant, work_dir: Path, quick: bool) -> dict[str, object]:
    """Train, probe four times (two in a quick run) and return what results.json holds."""
    _, digest = shot_list(Path("data") / variant.downstream / "meta/train.txt", 10)
    options = QUICK_UPSTREAM if quick else {}
    upstream = train_and_test(work_dir / "upstream", variant.config, options, pack_facts(variant.upstream).sha256)
    rows = []
    for percent in (10,) if quick else (10, 100):
        config = PROBE.format(variant.downstream + ("-10p" if percent == 10 else ""))
        trained = {"upstream.config": None, "upstream.checkpoint": upstream["checkpoint"]}
        for trunk, init in (("trained", trained), ("random", {"upstream": None})):
            data = f"{digest} {upstream['key'] if trunk == 'trained' else ''}"
            step = train_and_test(work_dir / f"{trunk}-{percent}p", config, init | (QUICK_PROBE if quick else {}), data)
            rows.append({"trunk": trunk, "percent": percent, **step})
    return {"upstream_set": variant.upstream, "probe_set": variant.downstream, "upstream": upstream, "probes": rows}


def table(results: dict) -> str:
    """The results as lines of text."""
    up = results["upstream"]
    lines = [f"mn-mini on {results['upstream_set']}: {up['accuracy']:.2f} % top-1, {up['seconds']:.0f} s; probe:"]
    for row in results["probes"]:
        labels = f"{row['percent']} % of {results['probe_set']}"
        lines.append(f"  {row['trunk']:7} trunk, {labels:18} {row['accuracy']:6.2f} % top-1, {row['seconds']:5.1f} s")
    return "\n".join(lines)


def plot(results: dict, path: Path) -> None:
    """Bars: accuracy at each percentage, trained beside random trunk."""
    axes = (figure := Figure(figsize=(5, 3.5), layout="constrained")).subplots()
    for shift, trunk, colour in ((-0.2, "trained", "#0072B2"), (0.2, "random", "#999999")):
        rows = [row for row in results["probes"] if row["trunk"] == trunk]
        places, heights = [n + shift for n in range(len(rows))], [row["accuracy"] for row in rows]
        axes.bar_label(axes.bar(places, heights, 0.38, color=colour, label=f"{trunk} trunk"), fmt="%.1f")
        axes.set_xticks(range(len(rows)), [f"{row['percent']} % of the labels" for row in rows])
    axes.set(ylabel="top-1 accuracy, %", ylim=(0, 112), yticks=range(0, 101, 20))
    axes.set_title(f"Frozen mn-mini ({results['upstream_set']}), linear probe on {results['probe_set']}", fontsize=10)
    axes.legend(ncols=2, frameon=False, loc="upper left")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description="Train mn-mini on one real set, probe it on another.")
    parser.add_argument("--packs", choices=("auto", *VARIANTS), default="auto", help="which real sets")
    parser.add_argument("--quick", action="store_true", help="a minute: pip's packs, less training, 10 %% only")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/demo"))
    args = parser.parse_args()
    start = time.time()
    name = choose("pip", dense=()) if args.quick else choose(args.packs)
    work_dir = args.work_dir / (f"{name}-quick" if args.quick else name)
    results = run(VARIANTS[name], work_dir, args.quick)
    (work_dir / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    plot(results, work_dir / "accuracy.png")
    if not args.quick:
        scores = judge(tool, VARIANTS[name].downstream, results["upstream"]["checkpoint"], work_dir / "gvb")
        print(f"\n{scores}\n{work_dir}/gvb/report.html, report.md, results.json")
    print(f"\n{table(results)}\n{work_dir}/accuracy.png, results.json; {time.time() - start:.0f} s in total")


if __name__ == "__main__":
    main()
