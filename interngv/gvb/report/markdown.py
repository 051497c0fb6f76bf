"""A report as Markdown (GitHub's tables); its pictures are files beside it."""

import re
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from interngv.gvb.report.document import Block, Bullets, Marked, Paragraph, Picture, Section, Table, Text, plain

# What Markdown would read as markup; an underscore inside a word is none.
_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
_AT_START = re.compile(r"^(\d+[.)]|[-+#=])")


def markdown(report: Section) -> str:
    """The report as Markdown text."""
    return f"# {_text(report.title)}\n\n{_blocks(report.blocks, 2)}\n"


def _blocks(blocks: Sequence[Block], level: int) -> str:
    return "\n\n".join(_block(block, level) for block in blocks)


def _block(block: Block, level: int) -> str:
    match block:
        case Paragraph(text):
            return _line(text)
        case Bullets(items):
            return "\n".join(f"* {_line(item)}" for item in items)
        case Table():
            return _table(block)
        case Picture(name, _, alt):
            return f"![{_text(alt)}]({quote(name)})"
        case Section(title, inner, folded):
            inside = _blocks(inner, min(level + 1, 6))
            if folded:
                return f"<details><summary>{escape(plain(title))}</summary>\n\n{inside}\n\n</details>"
            return f"{'#' * level} {_text(title)}\n\n{inside}"


def _table(table: Table) -> str:
    rule = [":--" if place < table.labels else "--:" for place in range(len(table.header))]
    rows = [[_text(text) for text in table.header], rule, *([_text(text) for text in row] for row in table.rows)]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{_text(table.caption)}\n\n{lines}" if table.caption else lines


def _line(text: Text) -> str:
    """A line of its own: no number or sign at its start begins a list or a heading."""
    return _AT_START.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", _text(text))


def _text(text: Text) -> str:
    """One line on which nothing but a mark is markup."""
    shown = _MARKUP.sub(r"\\\g<0>", plain(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"**{shown}**" if isinstance(text, Marked) and shown else shown
