"""What can be wrong with the files of a data set: kinds of fault, and counting them."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

EXAMPLES = 3  # how many places a fault names


class Kind(Enum):
    """A kind of fault: what it says, and whether numbers would be wrong with it."""

    UNREADABLE_LIST = ("annotations missing or of another form", True)
    EMPTY = ("empty set", True)
    SIZE = ("another number of samples than the set has", True)
    SIZE_UNCERTAIN = ("another number of samples than commonly stated", False)
    LINE = ("line of another form", True)
    LABEL = ("label outside the classes", True)
    EMPTY_CLASS = ("class without a sample", False)
    DUPLICATE = ("listed more than once", False)
    CONFLICT = ("listed with different labels", True)
    LEAK = ("in the training and the test list", True)
    SAME_CONTENT = ("same content under another name", False)
    MISSING_PICTURE = ("missing picture", True)
    UNREADABLE_PICTURE = ("unreadable picture", True)
    MISSING_TARGET = ("missing annotation of a picture", True)
    UNREADABLE_TARGET = ("unreadable annotation of a picture", True)
    TARGET_SIZE = ("mask or depth map of another size than its picture", True)
    BLANK_MASK = ("mask without a labelled pixel", False)
    MASK_VALUE = ("mask with values outside the classes", True)
    BOX_OUTSIDE = ("box that leaves its picture", False)
    BOX_WITHOUT_AREA = ("box without area", False)
    NO_DEPTH = ("depth map without a depth", False)
    INFINITE_DEPTH = ("depth map with infinite or undefined values", False)
    DEPTH_WRAP = ("depth map in which 16 bits seem to have overflowed", False)
    DEPTH_BITS = ("depth map of 8 bits", True)
    WITHOUT_TRUTH = ("sample without ground truth, left out", False)
    CHECKSUM = ("archive with another checksum", True)

    def __init__(self, text: str, is_error: bool) -> None:
        self.text = text
        self.is_error = is_error


class Problem(NamedTuple):
    """One fault at one place of an annotation file."""

    kind: Kind
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind.text}"


@dataclass(frozen=True)
class Fault:
    """A kind of fault, how often it was found, and the first places."""

    kind: Kind
    count: int
    examples: tuple[str, ...]

    @property
    def is_error(self) -> bool:
        """Whether numbers would be wrong with it; else a benchmark can live with it."""
        return self.kind.is_error

    def __str__(self) -> str:
        more = ", ..." if self.count > EXAMPLES == len(self.examples) else ""
        return f"{self.kind.text}: {self.count} ({', '.join(self.examples)}{more})"


class Findings:
    """Counts faults by kind and keeps their first places."""

    def __init__(self) -> None:
        self._counts: dict[Kind, int] = {}
        self._examples: dict[Kind, list[str]] = {}

    def add(self, kind: Kind, where: str) -> None:
        """Count one fault."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(where)

    def add_all(self, kind: Kind, places: Iterable[str]) -> None:
        """Count a fault at each place."""
        for where in places:
            self.add(kind, where)

    def faults(self) -> list[Fault]:
        """What was counted, errors first."""
        found = [Fault(kind, count, tuple(self._examples[kind])) for kind, count in self._counts.items()]
        return sorted(found, key=lambda fault: not fault.is_error)
