"""What every layout of a data set gives: its samples, the config by which a host library reads them, and its faults."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from interngv.checkpoint.files import replaced
from interngv.errors import UserError, did_you_mean
from interngv.gvb.layouts.faults import Fault, Findings, Kind, Problem

if TYPE_CHECKING:
    from interngv.gvb.tasks import Task

PICTURES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif")  # those of mmpretrain's CustomDataset


@dataclass(frozen=True)
class Samples:
    """A split's samples in their order: pictures' paths below the root; (N,) int64 classes for classification."""

    names: list[str]
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.names)


@dataclass
class Reading:
    """What stands in the annotation files of a split: samples, and what is wrong with them."""

    names: list[str]
    labels: np.ndarray | None = None
    problems: list[Problem] = field(default_factory=list)


class Layout(ABC):
    """A way in which the files of a data set lie, bound to a task and the folder of its files.

    A layout says how annotation files are read (:meth:`read`, without a host library and without opening a picture),
    which host data set reads the same samples (:meth:`dataset`) and what can be wrong beyond a missing picture
    (:meth:`look`). ``SETTINGS`` names the settings that a row may give and whether it must.
    """

    SETTINGS: ClassVar[Mapping[str, bool]]

    def __init__(self, task: "Task", root: str | os.PathLike) -> None:
        self.task = task
        self.root = Path(root)
        self.settings: dict[str, Any] = dict(task.settings)

    @abstractmethod
    def read(self, split: str) -> Reading:
        """Read the annotation files of a split; raises UserError where one is missing or has no such form."""

    @abstractmethod
    def dataset(self, split: str, kept: Sequence[int] | None, folder: str | os.PathLike) -> dict[str, Any]:
        """The host data set's config, without a pipeline, for the samples at ``kept`` (None: all).

        Lists that the host is to read are written into ``folder``, under names that say their content.
        """

    def look(self, split: str, reading: Reading, found: Findings, deep: bool) -> None:  # noqa: B027 it may be empty
        """Add this layout's own faults; pictures may be opened only where ``deep``."""

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of the labels; their numbers where the row gives none."""
        return self.task.class_names or tuple(str(label) for label in range(self.task.num_classes or 0))

    def samples(self, split: str) -> Samples:
        """The samples of a split.

        Raises:
            UserError: a split that the task has not, a file that is missing, no sample, or an annotation that makes
                numbers wrong, with file and line.
        """
        reading = self.read(split)
        wrong = [problem for problem in reading.problems if problem.kind.is_error]
        if wrong:
            more = f" ({len(wrong) - 1} more such lines)" if len(wrong) > 1 else ""
            raise UserError(f"{self.task.name}: {wrong[0]}{more}")
        if not reading.names:
            raise UserError(f"{self.task.name}: the split '{split}' in {self.root} has no samples")
        return Samples(reading.names, reading.labels)

    def faults(self, split: str, deep: bool = False) -> list[Fault]:
        """Everything that is wrong with a split, counted; ``deep`` opens every picture."""
        found = Findings()
        try:
            reading = self.read(split)
        except UserError as error:
            return [Fault(Kind.UNREADABLE_LIST, 1, (str(error),))]
        for problem in reading.problems:
            found.add(problem.kind, problem.where)
        if not reading.names:
            found.add(Kind.EMPTY, split)
        found.add_all(Kind.DUPLICATE, _repeated(reading.names))
        if reading.labels is not None:
            found.add_all(Kind.EMPTY_CLASS, self._classes_without_sample(reading.labels))
        found.add_all(Kind.MISSING_PICTURE, (name for name in reading.names if not (self.root / name).is_file()))
        if deep:
            _open_pictures(self.root, reading.names, found)
        self.look(split, reading, found, deep)
        return found.faults()

    def of_split(self, setting: str, split: str) -> Any:
        """The value of a setting that has one value a split; raises UserError for a split that it has not."""
        values = self.settings[setting]
        if split not in values:
            raise UserError(
                f"{self.task.name} has no split '{split}'{did_you_mean(split, values)}; it has {', '.join(values)}"
            )
        return values[split]

    def _classes_without_sample(self, labels: np.ndarray) -> list[str]:
        names = self.class_names()
        present = set(np.unique(labels).tolist())
        return [name for label, name in enumerate(names) if label not in present]


def lines_of(file: Path, task: str) -> list[str]:
    """The lines of a list file, empty ones too, so that indices are line numbers less one; UserError if unreadable."""
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"{task}: {file} is missing; `interngv data status` says where it comes from") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{task}: {file} cannot be read: {error}") from error


def chosen(names: Sequence[Any], kept: Sequence[int] | None) -> list[Any]:
    """The entries at ``kept``, all where it is None."""
    return list(names) if kept is None else [names[index] for index in kept]


def write_list(folder: str | os.PathLike, stem: str, text: str, suffix: str = ".txt") -> str:
    """Write ``<stem>-<start of the content's sha256><suffix>`` whole or not at all; returns its absolute path.

    Processes that write the same list at the same time leave the same file.
    """
    content = text.encode()
    target = Path(folder).absolute() / f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content)
    return str(target)


def write_whole(target: Path, content: bytes) -> None:
    """Write a file; a crash leaves it as it was or as it shall be."""
    with replaced(target) as file:
        file.write(content)


def joined(datasets: list[dict[str, Any]]) -> dict[str, Any]:
    """One data set's config for several of one host, which differ in their files only."""
    if len(datasets) == 1:
        return datasets[0]
    return dict(type="mmengine.ConcatDataset", datasets=datasets, ignore_keys=["dataset_type"])


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _open_pictures(root: Path, names: Iterable[str], found: Findings) -> None:
    """Decode every picture that is there, and compare their bytes."""
    from PIL import Image

    first_with: dict[bytes, str] = {}
    for name in dict.fromkeys(names):
        file = root / name
        if not file.is_file():
            continue
        same = first_with.setdefault(hashlib.sha256(file.read_bytes()).digest(), name)
        if same != name:
            found.add(Kind.SAME_CONTENT, f"{name} = {same}")
        try:
            with Image.open(file) as picture:
                picture.load()
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise for damaged files
            found.add(Kind.UNREADABLE_PICTURE, f"{name}: {error}")
