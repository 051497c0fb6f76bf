"""Probes on cached features: a sweep of C against scikit-learn, a grid of SGD heads against one head after another.

Features are of the size of a small trunk's. Logistic regression is compared at equal objective value: scikit-learn's
solver gets the loosest tolerance, of powers of ten, at which its objective is no more than 1e-3 above ours at every C,
and starts each fit at the last one's solution as well. Heads by SGD are the same to rounding (a test says so). Usage:
``python -m benchmarks.probes [--check]``. Needs scikit-learn.
"""

import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

from benchmarks.harness import Goal, arguments, environment, finish, interleaved
from interngv.gvb.probes import Samples, Schedule
from interngv.gvb.probes.logistic_sweep import _Sweep
from interngv.gvb.probes.sgd import _Training, initial_head, minibatches

SAMPLES, WIDTH, CLASSES = 3000, 384, 20
CS = (1e-3, 1e-2, 0.1, 1.0, 10.0)
TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7)  # scikit-learn's; the first is its default
EQUAL = 1e-3  # relative excess of the objective that counts as equal
SCHEDULE = Schedule(iterations=100, milestones=(30, 60, 90))
GRID = [
    dict(lr=lr, weight_decay=decay, momentum=0.9) for lr in (0.003, 0.01, 0.03, 0.1) for decay in (0, 1e-4, 1e-3, 1e-2)
]


def features() -> Samples:
    """Rectified, correlated clusters whose variances span four decades, as those of a trunk's pooled maps do."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(0, -2, WIDTH)
    centres = 0.25 * scales * torch.randn(CLASSES, WIDTH, generator=generator)
    labels = torch.randint(CLASSES, (SAMPLES,), generator=generator)
    raw = centres[labels] + scales * torch.randn(SAMPLES, WIDTH, generator=generator)
    mixed = raw @ torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0]
    return Samples(mixed.relu(), labels)


def ours(samples: Samples) -> list[float]:
    """Objectives of the sweep."""
    return [note["objective"] for note in _Sweep(samples, False, 1e-4, 1000)([{"C": c} for c in CS]).notes]


def scikit_learns(samples: Samples, tolerance: float) -> list[float]:
    """Objectives of the same sweep."""
    model = LogisticRegression(tol=tolerance, max_iter=10_000, warm_start=True)
    x, y, found = samples.features.numpy(), samples.labels.numpy(), []
    for c in CS:
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            model.set_params(C=c).fit(x, y)
        weights, bias = (torch.tensor(value).double() for value in (model.coef_, model.intercept_))
        loss = nn.functional.cross_entropy(
            samples.features.double() @ weights.T + bias, samples.labels, reduction="sum"
        )
        found.append((c * loss + weights.square().sum() / 2).item())
    return found


def equal_tolerance(samples: Samples) -> float:
    """The loosest of scikit-learn's tolerances that reaches our objectives; prints how far each is above them."""
    least = ours(samples)
    for tolerance in TOLERANCES:
        start = time.perf_counter()
        excess = [theirs / own - 1 for theirs, own in zip(scikit_learns(samples, tolerance), least, strict=True)]
        seconds = time.perf_counter() - start
        print(f"  scikit-learn at tol={tolerance:g}: objective at most {max(excess):+.1e} of ours, {seconds:.2f} s")
        if max(excess) <= EQUAL:
            break
    return tolerance


def logistic_times(samples: Samples, rounds: int) -> dict[str, float]:
    """Seconds of a sweep."""
    print(f"logistic regression, {SAMPLES} x {WIDTH}, {CLASSES} classes, {len(CS)} values of C:")
    tolerance = equal_tolerance(samples)
    steps = {"ours": partial(ours, samples), "scikit-learn": partial(scikit_learns, samples, tolerance)}
    seconds = interleaved(steps, rounds)
    for name, value in seconds.items():
        print(f"  {name:12} {value:7.2f} s")
    return seconds


def one_after_another(samples: Samples) -> None:
    """Every head by nn.Linear, autograd and torch.optim.SGD."""
    start = initial_head(CLASSES, WIDTH, 0)
    for setting in GRID:
        head = nn.Linear(WIDTH, CLASSES)
        head.load_state_dict({"weight": start[:, :-1], "bias": start[:, -1]})
        optimizer = torch.optim.SGD(head.parameters(), **setting)
        for step, rows in zip(range(SCHEDULE.iterations), minibatches(SAMPLES, SCHEDULE.batch_size, 0), strict=False):
            optimizer.param_groups[0]["lr"] = setting["lr"] * SCHEDULE.factor(step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(samples.features[rows]), samples.labels[rows]).backward()
            optimizer.step()


def sgd_times(samples: Samples, rounds: int) -> dict[str, float]:
    """Seconds of all heads."""
    together: Callable[[], object] = partial(_Training(samples, CLASSES, SCHEDULE, False, 0), GRID)
    seconds = interleaved({"ours": together, "one by one": partial(one_after_another, samples)}, rounds)
    print(
        f"{len(GRID)} heads by SGD, {SCHEDULE.iterations} steps of {SCHEDULE.batch_size} x {WIDTH}, {CLASSES} classes:"
    )
    for name, value in seconds.items():
        print(f"  {name:12} {value:7.2f} s")
    return seconds


def main() -> None:
    """Runs both and prints the line of figures."""
    args = arguments(__doc__.splitlines()[0]).parse_args()
    print(environment())
    samples = features()
    logistic, sgd = logistic_times(samples, args.rounds), sgd_times(samples, args.rounds)
    goals = [
        Goal("sweep of C, scikit-learn / ours", logistic["scikit-learn"] / logistic["ours"], 2.0),
        Goal("SGD heads, one by one / together", sgd["one by one"] / sgd["ours"], 1.5),
    ]
    finish("probes", goals, args.check)


if __name__ == "__main__":
    main()
