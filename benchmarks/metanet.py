"""MetaNet (mn-b4) against timm's coatnet_0 and convnext_tiny and against a plain version of its own blocks.

Throughput at 224 x 224, batch 8, forward and forward + backward; peak memory at 1024 x 1024, batch 1; arithmetic rate
beside a matrix product. Usage: ``python -m benchmarks.metanet [--check]``. Needs timm.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.harness import Goal, arguments, environment, finish, in_fresh_process, interleaved, peak_growth
from benchmarks.plain_metanet import PlainMetaNet
from interngv.gva import ARCHS, MetaNet
from interngv.gva.complexity import multiply_adds

ARCH, BATCH, SIZE, LARGE = "mn-b4", 8, 224, 1024
BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "ours": lambda: MetaNet(ARCH),
    "ours_with_cp": lambda: MetaNet(ARCH, with_cp=True),
    "plain": lambda: PlainMetaNet(ARCHS[ARCH]),
    "coatnet_0_rw_224": lambda: _timm("coatnet_0_rw_224"),
    "convnext_tiny": lambda: _timm("convnext_tiny"),
}


def _timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name, num_classes=0, global_pool="")


def _last(out: Tensor | tuple[Tensor, ...]) -> Tensor:
    return out if isinstance(out, Tensor) else out[-1]


def forward(model: nn.Module, image: Tensor) -> None:
    """One inference pass."""
    with torch.inference_mode():
        model.eval()(image)


def forward_backward(model: nn.Module, image: Tensor) -> None:
    """One training step without the optimiser."""
    _last(model.train()(image)).mean().backward()
    model.zero_grad(set_to_none=True)


PASSES = {"forward": forward, "forward+backward": forward_backward}


def throughput(rounds: int) -> dict[str, dict[str, float]]:
    """Images per second of each model for each pass, and of the matrix product its GFLOP/s."""
    models = {name: build() for name, build in BUILDERS.items() if name != "ours_with_cp"}
    image, square = torch.randn(BATCH, 3, SIZE, SIZE), torch.randn(2048, 2048)
    rates = {}
    for name, run in PASSES.items():
        steps: dict[str, Callable[[], object]] = {key: partial(run, model, image) for key, model in models.items()}
        seconds = interleaved({**steps, "matmul": partial(torch.matmul, square, square)}, rounds)
        rates[name] = {key: BATCH / s for key, s in seconds.items()}
        gflops = 2e-9 * multiply_adds(models["ours"], image[:1]) * (3 if run is forward_backward else 1)
        print(f"{name} at {SIZE}, batch {BATCH}:")
        for key in models:
            print(f"  {key:18} {rates[name][key]:6.2f} images/s  ours is {rates[name]['ours'] / rates[name][key]:.2f}x")
        matmul = 2e-9 * 2048**3 / seconds["matmul"]
        print(f"  ours runs at {gflops * rates[name]['ours']:.0f} GFLOP/s, a 2048^3 matrix product at {matmul:.0f}")
    return rates


def memory() -> dict[str, float]:
    """MiB a pass at 1024 x 1024 adds to the peak of a fresh process, per ``pass/model``."""
    peaks = {}
    for run in PASSES:
        print(f"peak memory of {run} at {LARGE}, batch 1:")
        for key in ("ours", "ours_with_cp", "plain") if run != "forward" else ("ours", "plain"):
            peaks[f"{run}/{key}"] = in_fresh_process("benchmarks.metanet", "--memory", key, run)
            print(f"  {key:18} {peaks[f'{run}/{key}']:6.0f} MiB")
    return peaks


def main() -> None:
    """Runs everything and prints the line of figures."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--memory", nargs=2, metavar=("MODEL", "PASS"), help="one memory figure in this process")
    args = parser.parse_args()
    if args.memory:
        model, run = BUILDERS[args.memory[0]](), PASSES[args.memory[1]]
        small, large = torch.randn(1, 3, 64, 64), torch.randn(1, 3, LARGE, LARGE)
        print(peak_growth(lambda: run(model, small), lambda: run(model, large)))
        return
    print(environment())
    rates, peaks = throughput(args.rounds), memory()
    goals = []
    for run in PASSES:
        for peer, bound in (("plain", 1.3), ("coatnet_0_rw_224", 1.0)):
            goals.append(Goal(f"{run} / {peer}", rates[run]["ours"] / rates[run][peer], bound))
    goals.append(Goal("forward memory / plain", peaks["forward/ours"] / peaks["forward/plain"], 0.5, at_most=True))
    training = peaks["forward+backward/ours_with_cp"] / peaks["forward+backward/plain"]
    goals.append(Goal("training memory with_cp / plain", training, 0.5, at_most=True))
    finish("metanet", goals, args.check)


if __name__ == "__main__":
    main()
