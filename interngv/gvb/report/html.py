"""A report as one HTML file: no script, nothing fetched, pictures inside; for phone, screen, dark mode and print."""

import base64
from collections.abc import Sequence
from html import escape

from interngv.gvb.report.document import Block, Bullets, Marked, Paragraph, Picture, Section, Table, Text, plain

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; --warn: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --warn: #ffb4ab; } }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.2; }
nav ul { columns: 16rem; padding-left: 1.2rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: right; vertical-align: top; }
thead th { background: var(--soft); vertical-align: bottom; }
.name { text-align: left; font-weight: inherit; }
thead .name { font-weight: 600; }
strong { color: var(--warn); }
.pictures { display: flex; flex-wrap: wrap; gap: .75rem; }
figure { margin: 0; flex: 0 1 25rem; }
img { width: 100%; height: auto; background: #fff; border-radius: .25rem; }
details { border: 1px solid var(--line); border-radius: .25rem; padding: .3rem .75rem; margin: .5rem 0; }
summary { cursor: pointer; }
@media print {
  body { max-width: none; font-size: 9pt; }
  nav { display: none; }
  .scroll { overflow: visible; }
  tr, figure { break-inside: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def html(report: Section) -> str:
    """The report as a page that is well-formed as XML, too."""
    title = escape(plain(report.title))
    parts = [block for block in report.blocks if isinstance(block, Section) and not block.folded]
    entries = "".join(f'<li><a href="#{_anchor(part)}">{escape(plain(part.title))}</a></li>' for part in parts)
    return f"""<!DOCTYPE html>
<html lang="en" xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="{_POLICY}"/>
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<header><h1>{title}</h1></header>
<nav aria-label="Contents"><ul>{entries}</ul></nav>
<main>
{_blocks(report.blocks, 2)}
</main>
</body>
</html>
"""


def _anchor(section: Section) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in section.title.lower())


def _blocks(blocks: Sequence[Block], level: int) -> str:
    """Blocks one after the other; neighbouring pictures share a row as far as there is room."""
    parts: list[str] = []
    for place, block in enumerate(blocks):
        is_picture = isinstance(block, Picture)
        if is_picture and (place == 0 or not isinstance(blocks[place - 1], Picture)):
            parts.append('<div class="pictures">')
        parts.append(_block(block, level))
        if is_picture and (place + 1 == len(blocks) or not isinstance(blocks[place + 1], Picture)):
            parts.append("</div>")
    return "\n".join(parts)


def _block(block: Block, level: int) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{_text(text)}</p>"
        case Bullets(items):
            return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>"
        case Table():
            return _table(block)
        case Picture(_, png, alt):
            data = base64.b64encode(png).decode()
            return f'<figure><img src="data:image/png;base64,{data}" alt="{escape(plain(alt))}"/></figure>'
        case Section(title, inner, folded):
            inside = _blocks(inner, min(level + 1, 6))
            if folded:
                return f"<details><summary>{escape(plain(title))}</summary>\n{inside}\n</details>"
            return f'<section><h{level} id="{_anchor(block)}">{escape(plain(title))}</h{level}>\n{inside}\n</section>'


def _table(table: Table) -> str:
    def cells(row: Sequence[Text], tag: str) -> str:
        parts = []
        for place, text in enumerate(row):
            scope = ' scope="col"' if tag == "th" else ' scope="row"' if place == 0 else ""
            name = ' class="name"' if place < table.labels else ""
            own = "th" if tag == "th" or place == 0 else "td"
            parts.append(f"<{own}{scope}{name}>{_text(text)}</{own}>")
        return f"<tr>{''.join(parts)}</tr>"

    caption = escape(plain(table.caption))
    body = "\n".join(cells(row, "td") for row in table.rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption or "table"}"><table>\n'
        + (f"<caption>{caption}</caption>\n" if caption else "")
        + f"<thead>{cells(table.header, 'th')}</thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _text(text: Text) -> str:
    shown = escape(plain(text))
    return f"<strong>{shown}</strong>" if isinstance(text, Marked) else shown
