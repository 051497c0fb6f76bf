"""What stands in a report, second part: how the results came about (classes, lists, settings, runs, failures)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

from interngv.gvb.report.document import Block, Bullets, Marked, Paragraph, Section, Table, Text
from interngv.gvb.report.noise import mean
from interngv.gvb.report.results import Cell
from interngv.gvb.report.scores import Row, Scores, shots_title
from interngv.gvb.report.wording import NONE, digest, names, number, seconds, settings

_SIZES: tuple[Literal["samples", "min", "mean", "max"], ...] = ("samples", "min", "mean", "max")
_ALIKE: dict[Literal["test_sha256", "settings_sha256", "image_size"], str] = {
    "test_sha256": "test lists",
    "settings_sha256": "settings of the protocol",
    "image_size": "image sizes",
}
_WORST = 50  # classes that a table shows; results.json has them all


def overview(scores: Scores) -> tuple[Block, ...]:
    """What was run, in a few lines, and whatever a reader must know before the first number."""
    kinds = dict.fromkeys(row.kind for row in scores.rows)
    tasks = [(kind, tuple(dict.fromkeys(row.task for row in scores.rows if row.kind == kind))) for kind in kinds]
    done = sum(cell["status"] == "done" for cell in scores.cells)
    missing = sum(len(scores.at(row, shots, trunk).missing) for row, shots, trunk in _places(scores))
    failed = len(scores.cells) - done
    lines: list[Text] = [
        *(f"{kind}: {len(found)} {'task' if len(found) == 1 else 'tasks'}, {names(found)}" for kind, found in tasks),
        f"{len(scores.trunks)} trunks: {names(scores.trunks)}",
        f"shots: {names(map(shots_title, scores.shots))}",
        f"{done} cells done",
    ]
    lines += [Marked(f"{failed} cells failed")] if failed else []
    lines += [Marked(f"{missing} cells missing: tries or shots that other trunks or tasks have")] if missing else []
    for name in scores.ambiguous():
        lines.append(Marked(f"the name {name} stands for several weights: each is a column of its own"))
    if len(_versions(scores.cells)) > 1:
        lines.append(Marked("cells of different versions of interngv or its libraries are set side by side"))
    lines += [Marked(text) for text in _unlike(scores)]
    edges = sum(bool(_edges(cell)) for cell in scores.cells)
    if edges:
        lines.append(Marked(f"{edges} cells have their best setting at the edge of the grid: see Settings chosen"))
    return (Bullets(tuple(lines)),)


def _unlike(scores: Scores) -> Iterator[str]:
    """Tasks of which one row holds cells that were measured on other pictures or in another way."""
    for key, what in _ALIKE.items():
        seen: dict[tuple[str, str], set] = defaultdict(set)
        for cell in scores.cells:
            if cell["status"] == "done":
                seen[cell["task"], cell["protocol"]].add(cell[key])
        found = [f"{task} ({protocol})" for (task, protocol), values in seen.items() if len(values) > 1]
        if found:
            yield f"cells with different {what} are set side by side: {names(found)}"


def _places(scores: Scores) -> list[tuple[Row, str, str]]:
    return [(row, shots, trunk) for row in scores.rows for shots in scores.shots for trunk in scores.trunks]


def class_section(scores: Scores) -> Section:
    """Scores per class, folded, the worst first."""
    folded = [section for row in scores.rows for section in [_classes(scores, row)] if section]
    text = "The worst first, by the mean over the columns; means over the tries."
    return Section("Classes", (Paragraph(text), *folded) if folded else (Paragraph("No scores per class."),))


def _classes(scores: Scores, row: Row) -> Section | None:
    columns: dict[str, dict[str, float]] = {}
    for shots in scores.shots:
        for trunk in scores.trunks:
            found = _class_means(scores.at(row, shots, trunk).done)
            if found:
                columns[f"{trunk}, {shots_title(shots)}"] = found
    if not columns:
        return None
    known = dict.fromkeys(name for column in columns.values() for name in column)
    overall = {name: mean([column[name] for column in columns.values() if name in column]) for name in known}
    ordered = sorted(known, key=lambda name: overall[name], reverse=not row.higher_is_better)
    rows = [(name, *(number(column.get(name), row.metric) for column in columns.values())) for name in ordered[:_WORST]]
    said = f"The {len(rows)} worst of {len(ordered)} classes; results.json has them all."
    rest = (Paragraph(said),) if len(rows) < len(ordered) else ()
    table = Table(("class", *columns), tuple(rows))
    return Section(f"{row.task}, {row.protocol}: {len(ordered)} classes", (*rest, table), folded=True)


def _class_means(cells: Sequence[Cell]) -> dict[str, float]:
    """Mean over the tries of every class that has a value in one of them."""
    values: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        for name, value in (cell["per_class"] or {}).items():
            if value is not None:
                values[name].append(value)
    return {name: mean(found) for name, found in values.items()}


def list_section(scores: Scores) -> Section:
    """The training lists: samples in all and a class, and the hash that identifies each."""
    used: dict[tuple, dict[str, None]] = defaultdict(dict)
    for cell in scores.cells:
        if cell["status"] == "done":
            sizes = tuple(cell["list"][key] if cell["list"] else None for key in _SIZES)
            key = (cell["task"], cell["shots"], cell["attempt"], sizes, cell["list_sha256"])
            used[key][scores.trunk(cell)] = None
    order = {row.task: place for place, row in reversed(list(enumerate(scores.rows)))}
    keys = sorted(used, key=lambda key: (order[key[0]], scores.shots.index(key[1]), key[2]))
    rows = [
        (task, shots_title(shots), str(attempt), digest(sha), _users(scores, used[key]), *map(_size, sizes))
        for key in keys
        for task, shots, attempt, sizes, sha in [key]
    ]
    header = ("task", "shots", "try", "sha256 of the list", "used by", "samples", "min a class", "mean", "max")
    folded = Section(f"{len(rows)} lists", (Table(header, tuple(rows), 5),), folded=True)
    return Section("Training lists", (folded,))


def _users(scores: Scores, trunks: Sequence[str] | dict[str, None]) -> Text:
    return "every trunk" if len(trunks) == len(scores.trunks) else names(trunks)


def _size(value: float | None) -> str:
    return NONE if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def settings_section(scores: Scores) -> Section:
    """Hyper-parameters that the protocols chose; a best one at its grid's edge is marked."""
    cells = [cell for cell in scores.cells if cell["status"] == "done" and cell["details"]]
    marked = [cell for cell in cells if _edges(cell)]
    text: Text = "No best setting is at the edge of its grid."
    if marked:
        count = f"{len(marked)} of {len(cells)}"
        text = Marked(f"⚠ {count} best settings are at the edge of the grid: a wider one may do better.")
    ordered = [*marked, *(cell for cell in cells if not _edges(cell))]
    rows = [(*_names(scores, cell), *_chosen(cell), _edge_text(cell)) for cell in ordered]
    table = Table((*_NAMES, "chosen", "and noted", "at the grid's edge"), tuple(rows), 8)
    folded = Section(f"{len(rows)} cells", (table,), folded=True)
    return Section("Settings chosen", (Paragraph(text), folded) if rows else (Paragraph("None recorded."),))


_NAMES = ("task", "trunk", "protocol", "shots", "try")


def _names(scores: Scores, cell: Cell) -> tuple[str, ...]:
    return cell["task"], scores.trunk(cell), cell["protocol"], shots_title(cell["shots"]), str(cell["attempt"])


def _edges(cell: Cell) -> list[str]:
    return [str(name) for name in (cell["details"] or {}).get("at_edge") or ()]


def _chosen(cell: Cell) -> tuple[str, str]:
    """The settings chosen, and what else the protocol notes; the grid itself stands in results.json."""
    details = cell["details"] or {}
    rest = {key: value for key, value in details.items() if key not in ("chosen", "grid", "at_edge")}
    return settings(details.get("chosen") or {}), settings(rest)


def _edge_text(cell: Cell) -> Text:
    return Marked(f"⚠ {names(_edges(cell))}") if _edges(cell) else "no"


def run_section(scores: Scores) -> Section:
    """Trunks and protocols with weights, versions, number of cells and time."""
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in scores.cells:
        groups[scores.trunk(cell), cell["protocol"]].append(cell)
    rows = [
        (trunk, protocol, names(_weights(found), NONE), names(_versions(found), NONE), *_counts(found), seconds(found))
        for (trunk, protocol), found in groups.items()
    ]
    header = ("trunk", "protocol", "sha256 of the weights", "versions", "done", "failed", "time")
    return Section("What was run", (Table(header, tuple(rows), 4),))


def _weights(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(digest(cell["weights_sha256"]) for cell in cells if cell["weights_sha256"]))


def _versions(cells: Sequence[Cell]) -> list[str]:
    found = [" ".join(f"{name} {one}" for name, one in (cell["versions"] or {}).items()) for cell in cells]
    return list(dict.fromkeys(text for text in found if text))


def _counts(cells: Sequence[Cell]) -> tuple[Text, Text]:
    failed = sum(cell["status"] == "failed" for cell in cells)
    return str(len(cells) - failed), Marked(str(failed)) if failed else "0"


def failure_section(scores: Scores) -> Section:
    """Cells that failed, with the whole reason, and places that lack tries."""
    failed = [(*_names(scores, cell), cell["error"] or NONE) for cell in scores.cells if cell["status"] == "failed"]
    missing = [
        (row.task, trunk, row.protocol, shots_title(shots), names(map(str, tries.missing)))
        for row, shots, trunk in _places(scores)
        for tries in [scores.at(row, shots, trunk)]
        if tries.missing
    ]
    blocks: list[Block] = []
    if failed:
        blocks.append(Table((*_NAMES, "reason"), tuple(failed), 6, "Failed"))
    if missing:
        blocks.append(Table((*_NAMES[:4], "tries"), tuple(missing), 5, "Missing from the results"))
    return Section("Failed and missing cells", tuple(blocks) or (Paragraph("None."),))
