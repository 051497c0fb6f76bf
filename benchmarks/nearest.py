"""The bank of nearest-neighbour supervision: search and update against the bare matrix product and faiss's search.

65 536 entries of 512 numbers in float32, 256 queries, the nearest entry of each; the same entries must be found.
faiss's IndexFlatIP only searches: it has no first-in-first-out update. faiss is optional and no requirement: get it
with ``.venv/bin/pip install faiss-cpu``, or beside the environment with ``pip install --target FOLDER --no-deps
faiss-cpu`` and ``PYTHONPATH=FOLDER``. Usage: ``python -m benchmarks.nearest [--check] [--rounds N]``.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.harness import Goal, arguments, environment, finish, interleaved
from interngv.amateur.losses import FeatureBank

SIZE, WIDTH, BATCH, ROUNDS = 65_536, 512, 256, 25


def faiss_search(entries: Tensor, queries: Tensor) -> Callable[[], Tensor] | None:
    """The search of faiss with as many threads as torch; None where faiss is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(WIDTH)
    index.add(entries.numpy())
    print(f"faiss {faiss.__version__}")
    return lambda: torch.from_numpy(index.search(queries.numpy(), 1)[1][:, 0])


def main() -> None:
    """Runs everything and prints the line of figures."""
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(rounds=ROUNDS)
    args = parser.parse_args()
    print(environment())
    bank, queries = FeatureBank(WIDTH, SIZE), normalize(torch.randn(BATCH, WIDTH))
    entries = bank.entries.clone()
    places = (queries @ entries.T).argmax(1)
    if not torch.equal(bank.search(queries), places):
        raise SystemExit("error: the search does not find the nearest entries")

    def search_and_update() -> None:
        bank.search(queries)
        bank.update(queries)

    steps: dict[str, Callable[[], object]] = {
        "matrix product": lambda: queries @ entries.T,
        "matrix product + argmax": lambda: (queries @ entries.T).argmax(1),
        "search + update": search_and_update,
    }
    if faiss := faiss_search(entries, queries):
        if not torch.equal(faiss(), places):
            raise SystemExit("error: faiss finds other entries")
        steps["faiss search"] = faiss
    else:
        print("faiss is not installed, its goal is left out: .venv/bin/pip install faiss-cpu")
    seconds = interleaved(steps, args.rounds)
    for name, value in seconds.items():
        print(f"  {name:24} {1e3 * value:8.1f} ms")
    ours = seconds["search + update"]
    goals = [Goal("search + update / matrix product", ours / seconds["matrix product"], 1.1, at_most=True)]
    if faiss:
        goals.append(Goal("faiss's search / ours", seconds["faiss search"] / ours, 1))
    finish("nearest", goals, args.check)


if __name__ == "__main__":
    main()
