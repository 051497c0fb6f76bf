"""InfoNCE and the sigmoid loss of N pairs, forward and backward, against open_clip's ClipLoss and SigLipLoss.

Features are 512 wide, in float32, in one process. Memory and time are of fresh processes: memory beyond the features,
time as the median of processes that take turns. open_clip's losses hold several N x N matrices, some 17 GiB of them at
32k pairs, and are measured up to 16k. Loss and gradients are compared at 4k: difference over the largest entry. Usage:
``python -m benchmarks.contrastive [--check] [--rounds N]``, some ten minutes on two cores. Needs open_clip_torch.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import normalize

import interngv  # repairs torchvision where open_clip could not import it
from benchmarks.harness import Goal, arguments, environment, finish, in_fresh_process, peak_growth
from interngv.amateur.losses import InfoNCE, SigLIPLoss
from interngv.amateur.outputs import TowerOutputs
from interngv.engine.speed import keep_freed_memory

WIDTH, ROUNDS = 512, 3
SIZES, COMPARED, EQUAL_AT, WARM_UP = (4096, 8192, 16_384, 32_768), 16_384, 4096, 256
PEERS = {"InfoNCE": "ClipLoss", "SigLIPLoss": "SigLipLoss"}


def inputs(pairs: int) -> list[Tensor]:
    """Features of images and of texts that resemble them, logit scale and bias; a gradient is wanted for each."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(pairs, WIDTH, generator=generator)
    text = torch.randn(pairs, WIDTH, generator=generator) + 0.3 * image
    return [value.requires_grad_() for value in (image, text, torch.tensor(1 / 0.07), torch.tensor(-10.0))]


def loss(name: str, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """One of the four losses; features are normalised in each alike."""
    if name == "InfoNCE":
        return InfoNCE("first")(TowerOutputs((image,), (text,), scale))
    if name == "SigLIPLoss":
        return SigLIPLoss()(TowerOutputs((image,), (text,), scale, bias))
    from open_clip.loss import ClipLoss, SigLipLoss

    features = normalize(image), normalize(text)
    return ClipLoss()(*features, scale) if name == "ClipLoss" else SigLipLoss()(*features, scale, bias)


def step(name: str, given: list[Tensor]) -> Tensor:
    """Loss, with the gradients left in the inputs."""
    for value in given:
        value.grad = None
    found = loss(name, *given)
    found.backward()
    return found.detach()


def difference(name: str) -> float:
    """The largest of loss and gradients to the peer's, each over its largest entry."""
    found = []
    for which in (name, PEERS[name]):
        given = inputs(EQUAL_AT)
        found.append([step(which, given), *(value.grad for value in given if value.grad is not None)])
    return max(float((ours - peers).abs().max() / peers.abs().max()) for ours, peers in zip(*found, strict=True))


def measure(kind: str, name: str, pairs: int) -> float:
    """MiB beyond the features, or seconds, of one step in this process."""
    small, given = inputs(WARM_UP), inputs(pairs)
    if kind == "memory":
        return peak_growth(lambda: step(name, small), lambda: step(name, given))
    keep_freed_memory()
    step(name, given)
    start = time.perf_counter()
    step(name, given)
    return time.perf_counter() - start


def figures(child: Callable[..., float], rounds: int) -> tuple[dict[str, dict[int, float]], dict[str, float]]:
    """MiB of every loss at every size that it is measured at, and its median seconds at the one compared."""
    both = [name for pair in PEERS.items() for name in pair]
    memory = {
        name: {n: child("memory", name, str(n)) for n in SIZES if n <= COMPARED or name in PEERS} for name in both
    }
    turns = [{name: child("seconds", name, str(COMPARED)) for name in both} for _ in range(rounds)]
    return memory, {name: median(turn[name] for turn in turns) for name in both}


def main() -> None:
    """Runs everything and prints the line of figures."""
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(rounds=ROUNDS)
    parser.add_argument("--measure", nargs=3, metavar=("KIND", "LOSS", "PAIRS"), help="one figure in this process")
    args = parser.parse_args()
    if args.measure:
        print(measure(args.measure[0], args.measure[1], int(args.measure[2])))
        return
    from open_clip import __version__ as version

    print(f"{environment()}, interngv {interngv.__version__}, open_clip {version}")
    memory, seconds = figures(partial(in_fresh_process, "benchmarks.contrastive", "--measure"), args.rounds)
    print(f"{'pairs':12}" + "".join(f"{n:>10}" for n in SIZES) + f"   seconds at {COMPARED}")
    for name, peaks in memory.items():
        row = "".join(f"{peaks[n]:6.0f} MiB" if n in peaks else f"{'-':>10}" for n in SIZES)
        print(f"{name:12}{row}{seconds[name]:9.2f}")
    goals = []
    for name, peer in PEERS.items():
        exponent = math.log(memory[name][32_768] / memory[name][8192], 4)
        goals += [
            Goal(f"{name} / {peer}: memory", memory[name][COMPARED] / memory[peer][COMPARED], 0.15, at_most=True),
            Goal("exponent of the memory in N", exponent, 1.1, at_most=True),
            Goal("time", seconds[name] / seconds[peer], 1.2, at_most=True),
            Goal("difference in 1e-5", difference(name) * 1e5, 1, at_most=True),
        ]
    finish("contrastive", goals, args.check)


if __name__ == "__main__":
    main()
