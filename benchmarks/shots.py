"""Percentage-shot of 10**8 labels, 1000 classes with a long tail, 10 %: ours beside numpy and polars.

Each keeps exactly round(n_c / 10) random samples of every class (which is checked) and hands over a bit mask of the
samples. Every run is a fresh process; the labels are a file of uint16, mapped and read once before; memory is what the
selection needs beyond that. Usage: ``python -m benchmarks.shots [--check] [--samples N]``. Needs polars.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.harness import Goal, arguments, environment, finish, in_fresh_process, peak_growth
from interngv.gvb.shot_stream import StreamedShots
from interngv.gvb.shots import Shots

SAMPLES, CLASSES, ROUNDS = 10**8, 1000, 3
SHOTS = Shots.parse("10")
WARM_UP = 10**5  # labels


def write_labels(path: Path, samples: int) -> None:
    """A file of labels in which class c is as frequent as 1 / (c + 1)."""
    labels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint16, shape=(samples,))
    edges = np.cumsum(1 / np.arange(1, CLASSES + 1))
    rng = np.random.default_rng(0)
    for start in range(0, samples, 10**6):
        part = labels[start : start + 10**6]
        part[:] = np.searchsorted(edges / edges[-1], rng.random(len(part)), side="right")


def ours(labels: np.ndarray) -> np.ndarray:
    """Ranks of positions, in blocks."""
    return StreamedShots(labels, SHOTS, CLASSES).mask(labels)


def numpys(labels: np.ndarray) -> np.ndarray:
    """The first samples of every class in a random permutation that is sorted by class, stably."""
    order = np.random.default_rng(0).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels, minlength=CLASSES)
    keep = np.zeros(len(labels), bool)
    for first, size in zip(np.cumsum(counts) - counts, SHOTS.sizes(counts), strict=True):
        keep[order[first : first + size]] = True
    return np.packbits(keep)


def polars(labels: np.ndarray) -> np.ndarray:
    """A shuffled number within every class, below the class's size."""
    import polars as pl

    size = pl.max_horizontal(1, (pl.len() * int(SHOTS.percent) + 50) // 100)
    keep = (pl.int_range(pl.len()).shuffle(seed=0) < size).over("label")
    return np.packbits(pl.DataFrame({"label": labels}).select(keep=keep)["keep"].to_numpy())


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"ours": ours, "numpy": numpys, "polars": polars}


def check_exact(labels: np.ndarray, mask: np.ndarray) -> None:
    """Ends the process where the mask does not keep the exact number of samples of every class."""
    keep = np.unpackbits(mask, count=len(labels)).view(bool)
    found, counts = (np.bincount(some, minlength=CLASSES) for some in (labels[keep], labels))
    if np.any(found != SHOTS.sizes(counts)):
        raise SystemExit("error: the selection is not exact")


def measure(kind: str, method: str, file: str) -> float:
    """Seconds, or MiB beyond the labels, of one selection in this process."""
    labels, masks = np.load(file, mmap_mode="r"), []

    def warm_up() -> None:
        labels.max()  # reads the file
        METHODS[method](labels[:WARM_UP])

    def step() -> None:
        masks.append(METHODS[method](labels))

    if kind == "memory":
        value = peak_growth(warm_up, step)
    else:
        warm_up()
        start = time.perf_counter()
        step()
        value = time.perf_counter() - start
    check_exact(labels, masks[0])
    return value


def figures(file: Path, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of processes that take turns, and MiB, of every method."""
    child = partial(in_fresh_process, "benchmarks.shots", "--measure")
    times = [{name: child("seconds", name, str(file)) for name in METHODS} for _ in range(rounds)]
    seconds = {name: median(turn[name] for turn in times) for name in METHODS}
    return seconds, {name: child("memory", name, str(file)) for name in METHODS}


def main() -> None:
    """Runs everything and prints the line of figures."""
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(rounds=ROUNDS)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="labels; the goals are for the default")
    parser.add_argument("--measure", nargs=3, metavar=("KIND", "METHOD", "FILE"), help="one figure in this process")
    args = parser.parse_args()
    if args.measure:
        print(measure(*args.measure))
        return
    import polars as pl

    print(f"{environment()}, numpy {np.__version__}, polars {pl.__version__} on {pl.thread_pool_size()} threads")
    with tempfile.TemporaryDirectory() as folder:
        write_labels(file := Path(folder, "labels.npy"), args.samples)
        seconds, peaks = figures(file, args.rounds)
    print(f"{SHOTS} % of {args.samples} labels, {CLASSES} classes, sizes exact:")
    for name in METHODS:
        print(f"  {name:8} {seconds[name]:7.2f} s  {peaks[name]:8.1f} MiB")
    goals = [
        Goal("seconds", seconds["ours"], 2, at_most=True),
        Goal("MiB beyond the labels", peaks["ours"], 32, at_most=True),
        Goal("numpy's seconds / ours", seconds["numpy"] / seconds["ours"], 1),
        Goal("polars' seconds / ours", seconds["polars"] / seconds["ours"], 1),
    ]
    finish("shots", goals, args.check)


if __name__ == "__main__":
    main()
