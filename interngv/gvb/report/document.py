"""What a report says, free of form: :mod:`html` and :mod:`markdown` write the same blocks, so the two cannot differ."""

import re
from dataclasses import dataclass

_ILLEGAL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # XML and UTF-8 have no place for them


@dataclass(frozen=True)
class Marked:
    """A text that must strike the eye: a failure, a setting at its grid's edge."""

    text: str


Text = str | Marked


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: Text


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[Text, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a header; the first ``labels`` columns are names, the others numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    labels: int = 1
    caption: str = ""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.header) for row in self.rows):
            raise ValueError(f"a row of the table {self.caption!r} has not the header's {len(self.header)} columns")


@dataclass(frozen=True)
class Picture:
    """A PNG and the name of its file; ``alt`` says in words what it shows."""

    name: str
    png: bytes
    alt: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; a ``folded`` one opens on demand."""

    title: str
    blocks: tuple["Block", ...]
    folded: bool = False


Block = Paragraph | Bullets | Table | Picture | Section


def plain(text: Text) -> str:
    """The text on one line; what no file may hold (control characters, halves of surrogate pairs) becomes U+FFFD."""
    raw = text.text if isinstance(text, Marked) else text
    return _ILLEGAL.sub("\ufffd", " ".join(raw.split()))


def as_text(table: Table) -> str:
    """The table for a terminal: columns padded, names to the left, numbers to the right."""
    rows = [[plain(text) for text in row] for row in (table.header, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [
            text.ljust(width) if place < table.labels else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
