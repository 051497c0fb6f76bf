"""A first-in-first-out bank of text features with exact search for the nearest one."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from interngv.amateur.losses.base import unit

_GROUP = 64  # entries
_BLOCK_MIB = 16  # similarities: near a cache's size, and so few blocks that threads and kernels seldom wait


class FeatureBank(nn.Module):
    """The latest features, of unit length, with ids of what they are features of; all of it is in the state dict.

    It starts full: with random normal features, which are found like any others until they are replaced, and with ids
    that are their places. Fed with the gathered features of all processes it is the same on each, so that a checkpoint
    of the first process's state is the whole state and a resumed run finds what the stopped one would have. (DeCLIP's
    release keeps another bank on every process; of W processes each then remembers W times as many steps.)

    Args:
        width: D.
        size: S, how many features it holds.
    """

    entries: Tensor  # (S, D)
    ids: Tensor  # (S,)
    pointer: Tensor  # (), the place of the oldest entry

    def __init__(self, width: int, size: int = 65_536) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size={size}: a bank holds at least one feature")
        # Of a generator of its own: the same on every process, whatever their seeds.
        start = torch.randn(size, width, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
        self.register_buffer("entries", unit(start))
        self.register_buffer("ids", torch.arange(size))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def search(self, queries: Tensor) -> Tensor:
        """(B,) places of the entries with the highest cosine similarity to queries (B, D); of equals, any."""
        queries = unit(queries).to(self.entries)
        best = queries.new_full((len(queries),), -torch.inf)
        places = torch.zeros_like(best, dtype=torch.long)
        for start, scores in self._scores(queries):
            highest, place = _highest(scores)
            places = torch.where(highest > best, start + place, places)
            best = torch.maximum(highest, best)
        return places

    @torch.no_grad()
    def update(self, features: Tensor, ids: Tensor | None = None) -> None:
        """Replace the oldest entries; of more features than the bank holds, the last ones stay.

        Args:
            features: (B, D) of any length. One that is not finite is passed over and its place keeps what it has.
            ids: (B,) of what they are features of; None: all differ, and their places serve.
        """
        size = len(self.entries)
        written = torch.arange(len(features), device=self.pointer.device)
        places = ((self.pointer + written) % size)[-size:]
        latest = unit(features[-size:]).to(self.entries)
        finite = latest.isfinite().all(1)
        new_ids = places if ids is None else ids[-size:]
        self.entries[places] = torch.where(finite[:, None], latest, self.entries[places])
        self.ids[places] = torch.where(finite, new_ids, self.ids[places])
        self.pointer.copy_((self.pointer + len(features)) % size)

    def _scores(self, queries: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Where a block of entries begins, and its similarities (b, B) to the queries."""
        rows = max(1, int(_BLOCK_MIB * 2**20) // (max(1, len(queries)) * queries.element_size() * _GROUP)) * _GROUP
        block = queries.new_empty(min(rows, len(self.entries)), len(queries))
        for start in range(0, len(self.entries), rows):
            entries = self.entries[start : start + rows]
            # Autocast leaves an operator with `out` alone.
            yield start, torch.mm(entries, queries.T, out=block[: len(entries)])


def _highest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """As ``scores.max(0)``, which on a CPU takes several times as long: only a search without places is vectorised."""
    if len(scores) % _GROUP:
        values, places = scores.max(0)
        return values, places
    groups = scores.view(-1, _GROUP, scores.shape[1])
    values, group = groups.amax(1).max(0)
    members = groups[group, :, torch.arange(scores.shape[1], device=scores.device)]
    return values, group * _GROUP + members.argmax(1)
