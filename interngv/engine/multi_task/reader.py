"""Reading the samples of one step: what the worker processes of the meta loader do."""

import os
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.sharedctypes import RawArray
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset, get_worker_info

from interngv.engine.multi_task.order import key, permuted
from interngv.engine.multi_task.sources import Source
from interngv.engine.pictures import UnreadablePicture
from interngv.engine.random_state import generators_put_back, seed_generators
from interngv.errors import UserError

_TRIES = 100
Request = dict[str, tuple[list[int], list[int]]]  # epochs and indices of the samples, by source


class Read(NamedTuple):
    """Samples of one source; ``data`` is None where no sample could be read in place of one."""

    data: Any
    ids: list[int]
    unreadable: list[str]


class Reader(Dataset):
    """Reads and collates the samples of a request; the result depends on nothing but the request.

    A sample that cannot be read is replaced by another of its source. It cannot be read where its picture cannot
    (:class:`~interngv.engine.pictures.UnreadablePicture`, PIL's own errors), where the system fails to read a file
    (``OSError``), and where the data set gives None; any other exception is a fault of the program.
    """

    def __init__(self, sources: Mapping[str, Source], seed: int, num_workers: int) -> None:
        self.sources = dict(sources)
        self._seed = seed
        self._places = _Places(list(sources), num_workers)

    @property
    def metainfo(self) -> dict:
        """The data set's own where there is one source, else theirs by the source's name."""
        infos = {name: getattr(source.dataset, "metainfo", {}) for name, source in self.sources.items()}
        return next(iter(infos.values())) if len(infos) == 1 else infos

    def where(self, pids: Sequence[int]) -> str:
        """What worker processes are reading, in words."""
        return " and ".join(filter(None, map(self._places.of, pids)))

    def __getitem__(self, request: Request) -> dict[str, Read]:
        with generators_put_back():
            read = {name: self._read(name, *samples) for name, samples in request.items()}
        self._places.mark(None)
        return read

    def _read(self, name: str, epochs: list[int], indices: list[int]) -> Read:
        seed_generators(key(self._seed, name, epochs[0], indices[0]))
        samples: list[Any] = []
        ids: list[int] = []
        unreadable: list[str] = []
        for epoch, index in zip(epochs, indices, strict=True):
            for candidate in self._candidates(name, epoch, index):
                sample = self._sample(name, candidate, unreadable)
                if sample is not None:
                    break
            else:
                return Read(None, ids, unreadable)
            samples.append(sample)
            ids.append(candidate)
        try:
            return Read(self.sources[name].collate(samples), ids, unreadable)
        except Exception as error:
            error.add_note(f"while collating samples {ids} of source '{name}'")
            raise

    def _candidates(self, name: str, epoch: int, index: int) -> Iterator[int]:
        """The sample itself, then others in a random order."""
        yield index
        n = self.sources[name].size
        others = permuted(np.arange(min(n, _TRIES)), n, key(self._seed, name, epoch, index, "substitute"))
        yield from (other for other in others.tolist() if other != index)

    def _sample(self, name: str, index: int, unreadable: list[str]) -> Any:
        self._places.mark(name, index)
        try:
            sample = self.sources[name].dataset[index]
        except UnreadablePicture as error:
            unreadable.append(str(error))
        except UserError:
            raise  # its message is all that the user sees
        except Exception as error:
            if not isinstance(error, OSError) and not type(error).__module__.startswith("PIL."):
                error.add_note(f"while reading sample {index} of source '{name}'")
                raise
            unreadable.append(f"sample {index}: {type(error).__name__}: {error}")
        else:
            if sample is None:
                unreadable.append(f"sample {index}: the data set gives None")
            return sample
        return None


class _Places:
    """Shared memory in which each worker process writes what it is reading, for the case that it dies."""

    def __init__(self, sources: list[str], num_workers: int) -> None:
        self._sources = sources
        self._rows = RawArray("q", 3 * max(num_workers, 1))  # process, source's number, sample; -1: none

    def mark(self, source: str | None, index: int = -1) -> None:
        """Set what this process is reading, if anything; does nothing where it is no worker."""
        worker = get_worker_info()
        if worker is not None:
            number = -1 if source is None else self._sources.index(source)
            self._rows[3 * worker.id : 3 * worker.id + 3] = [os.getpid(), number, index]

    def of(self, pid: int) -> str:
        """Sample and source that a worker is reading, in words; empty where it reads nothing."""
        rows = [self._rows[start : start + 3] for start in range(0, len(self._rows), 3)]
        reading = [(number, index) for process, number, index in rows if process == pid and number >= 0]
        return "".join(f"sample {index} of source '{self._sources[number]}'" for number, index in reading)
