"""MetaNet (mn-b4) against timm's coatnet_0 and convnext_tiny and against a plain version of its own blocks.

Throughput at 224 x 224, forward and forward + backward; peak memory at 1024 x 1024, batch 1; arithmetic rate beside a
matrix product. On a CPU in float32 with batch 8, on a GPU (``--device cuda``) in bfloat16 by autocast with batch 128.
Usage: ``python -m benchmarks.metanet [--check] [--device cuda]``. Needs timm.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.harness import Goal, arguments, environment, finish, in_fresh_process, interleaved, peak_growth
from benchmarks.plain_metanet import PlainMetaNet
from interngv.gva import ARCHS, MetaNet
from interngv.gva.complexity import multiply_adds

ARCH, SIZE, LARGE = "mn-b4", 224, 1024
BATCH = {"cpu": 8, "cuda": 128}
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
    with torch.inference_mode(), _precision(image.device):
        model.eval()(image)


def forward_backward(model: nn.Module, image: Tensor) -> None:
    """One training step without the optimiser."""
    with _precision(image.device):
        out = _last(model.train()(image))
    out.float().mean().backward()
    model.zero_grad(set_to_none=True)


PASSES = {"forward": forward, "forward+backward": forward_backward}


def _precision(device: torch.device) -> AbstractContextManager:
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def _finished(step: Callable[[], object], device: str) -> Callable[[], None]:
    """The step, waited for: a GPU works on when a call has returned."""

    def run() -> None:
        step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def throughput(rounds: int, device: str) -> dict[str, dict[str, float]]:
    """Images per second of each model for each pass, and of the matrix product its GFLOP/s."""
    torch.backends.cudnn.benchmark = True  # as in training; memory is measured without its workspaces
    models = {name: build().to(device) for name, build in BUILDERS.items() if name != "ours_with_cp"}
    batch, side = BATCH[device], 2048 if device == "cpu" else 8192
    image = torch.randn(batch, 3, SIZE, SIZE, device=device)
    square = torch.randn(side, side, device=device, dtype=torch.float32 if device == "cpu" else torch.bfloat16)
    rates = {}
    for name, run in PASSES.items():
        steps: dict[str, Callable[[], object]] = {key: partial(run, model, image) for key, model in models.items()}
        steps["matmul"] = partial(torch.matmul, square, square)
        seconds = interleaved({key: _finished(step, device) for key, step in steps.items()}, rounds)
        rates[name] = {key: batch / s for key, s in seconds.items()}
        gflops = 2e-9 * multiply_adds(models["ours"], image[:1]) * (3 if run is forward_backward else 1)
        print(f"{name} at {SIZE}, batch {batch}:")
        for key in models:
            print(f"  {key:18} {rates[name][key]:8.2f} images/s  ours is {rates[name]['ours'] / rates[name][key]:.2f}x")
        matmul = 2e-9 * side**3 / seconds["matmul"]
        print(f"  ours runs at {gflops * rates[name]['ours']:.0f} GFLOP/s, a {side}^3 matrix product at {matmul:.0f}")
    return rates


def memory(device: str) -> dict[str, float]:
    """MiB a pass at 1024 x 1024 adds to the peak of a fresh process, per ``pass/model``."""
    peaks = {}
    for run in PASSES:
        print(f"peak memory of {run} at {LARGE}, batch 1:")
        for key in ("ours", "ours_with_cp", "plain") if run != "forward" else ("ours", "plain"):
            arguments = ("--device", device, "--memory", key, run)
            peaks[f"{run}/{key}"] = in_fresh_process("benchmarks.metanet", *arguments)
            print(f"  {key:18} {peaks[f'{run}/{key}']:6.0f} MiB")
    return peaks


def _peak(key: str, name: str, device: str) -> float:
    """MiB that one pass of a large image needs, in this process."""
    model, run = BUILDERS[key]().to(device), PASSES[name]
    small, large = (torch.randn(1, 3, side, side, device=device) for side in (64, LARGE))
    if device == "cpu":
        return peak_growth(lambda: run(model, small), lambda: run(model, large))
    run(model, small)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run(model, large)
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def main() -> None:
    """Runs everything and prints the line of figures."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--memory", nargs=2, metavar=("MODEL", "PASS"), help="one memory figure in this process")
    parser.add_argument("--device", choices=list(BATCH), default="cpu")
    args = parser.parse_args()
    if args.memory:
        print(_peak(*args.memory, args.device))
        return
    print(environment(args.device))
    rates, peaks = throughput(args.rounds, args.device), memory(args.device)
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
