"""Data-efficiency curves: score against shots, a picture a task, a line a trunk and protocol."""

import io
import re
from collections.abc import Sequence
from math import log10
from typing import TYPE_CHECKING, Any

from interngv.gvb.report.document import Picture, plain
from interngv.gvb.report.noise import mean
from interngv.gvb.report.scores import Row, Scores, shots_title
from interngv.gvb.report.wording import metric_title, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which the colour-blind tell apart, less the yellow that paper swallows; markers and dashes
# tell the lines apart once more.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", ":", "-.")
_WIDTH, _HEIGHT, _LINE, _DPI = 5.0, 3.1, 0.2, 120  # inches (height without legend, a line of it), dots an inch
_NAME, _HALF = 56, 26  # characters of a name in the legend; up to which two share a line


def curves(scores: Scores, folder: str = "curves") -> list[Picture]:
    """A picture for every task that has a finished cell; their names are files in ``folder``."""
    by_task: dict[str, list[Row]] = {}
    for row in scores.rows:
        if row.metric:
            by_task.setdefault(row.task, []).append(row)
    pictures = []
    for place, (task, rows) in enumerate(by_task.items()):
        name = f"{folder}/{place:02d}-{re.sub('[^A-Za-z0-9_-]+', '-', task)}.png"
        lines = [line for row in rows for line in _lines(scores, row)]
        pictures.append(Picture(name, _draw(scores, rows, lines), _alt(rows[0], lines)))
    return pictures


class _Line:
    """A trunk's scores on a row: shots, training samples, mean (None: nothing finished) and deviation of each."""

    def __init__(self, scores: Scores, row: Row, trunk: str, samples: dict[str, float]) -> None:
        self.row, self.trunk = row, trunk
        self.shots = list(samples)
        self.samples = list(samples.values())
        tries = [scores.at(row, shots, trunk) for shots in self.shots]
        self.means = [one.mean for one in tries]
        self.deviations = [one.deviation or 0.0 for one in tries]


def _lines(scores: Scores, row: Row) -> list[_Line]:
    samples = _samples(scores, row)
    lines = [_Line(scores, row, trunk, samples) for trunk in scores.trunks]
    return [line for line in lines if any(value is not None for value in line.means)]


def _samples(scores: Scores, row: Row) -> dict[str, float]:
    """Training samples by shots, the mean over all lists, the fewest first; places in a row where they are unknown."""
    found: dict[str, float] = {}
    for place, shots in enumerate(shots for shots in scores.shots if scores.has(row, shots)):
        cells = [cell for trunk in scores.trunks for cell in scores.at(row, shots, trunk).done]
        sizes = [cell["list"]["samples"] for cell in cells if cell["list"]]
        if cells:
            found[shots] = mean(sizes) if sizes else float(place)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _draw(scores: Scores, rows: Sequence[Row], lines: Sequence[_Line]) -> bytes:
    from matplotlib.figure import Figure

    protocols = list(dict.fromkeys(row.protocol for row in rows))
    names = [_shortened(f"{line.trunk}, {line.row.protocol}" if len(protocols) > 1 else line.trunk) for line in lines]
    columns = 2 if max(map(len, names)) <= _HALF else 1
    height = _HEIGHT + _LINE * (1 + -(-len(names) // columns))
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    handles = [_plot(axes, line, scores.trunks.index(line.trunk), protocols.index(line.row.protocol)) for line in lines]
    _axes(axes, rows[0], lines)
    legend = figure.legend(
        handles, ["-"] * len(handles), loc="outside lower center", ncols=columns, fontsize=9, handlelength=3
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)  # given as a label, a name that starts with '_' would be left out
    for text in [axes.title, axes.yaxis.label, *legend.get_texts()]:
        text.set_parse_math(False)  # a name may hold a dollar sign
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _plot(axes: "Axes", line: _Line, trunk: int, protocol: int) -> Any:
    """A line with its deviations; it is broken where a mean is unknown."""
    return axes.errorbar(
        line.samples,
        [float("nan") if value is None else value for value in line.means],
        yerr=line.deviations,
        color=COLOURS[trunk % len(COLOURS)],
        marker=MARKERS[trunk % len(MARKERS)],
        linestyle=DASHES[protocol % len(DASHES)],
        markersize=5,
        linewidth=1.6,
        capsize=3,
    )


def _axes(axes: "Axes", row: Row, lines: Sequence[_Line]) -> None:
    positions: dict[float, dict[str, None]] = {}  # a number of samples may be what several shots come to
    for line in lines:
        for shots, size in zip(line.shots, line.samples, strict=True):
            positions.setdefault(size, {})[shots_title(shots)] = None
    positive = [size for size in positions if size > 0]
    if min(positions) > 0:
        axes.set_xscale("log")
    elif positive:
        axes.set_xscale("symlog", linthresh=min(positive))
    ticks = _apart(sorted(positions), bool(positive))
    axes.set_xticks(ticks, ["\n".join([*positions[tick], f"{tick:,.0f}".replace(",", " ")]) for tick in ticks])
    axes.minorticks_off()
    axes.margins(x=0.08, y=0.1)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_shortened(row.task), fontsize=12, loc="left")
    axes.set_xlabel("training samples", fontsize=9)
    axes.set_ylabel(metric_title(row.metric), fontsize=9)
    axes.tick_params(labelsize=9)


def _apart(positions: Sequence[float], is_log: bool) -> list[float]:
    """Positions whose labels do not touch: the ends, and what is a sixth of the axis from those kept before it."""
    if len(positions) < 3:
        return list(positions)
    places = [log10(max(size, 0.1)) if is_log else size for size in positions]
    least = (places[-1] - places[0]) / 6
    kept = [0]
    for index in range(1, len(positions) - 1):
        if places[index] - places[kept[-1]] >= least and places[-1] - places[index] >= least:
            kept.append(index)
    return [positions[index] for index in (*kept, len(positions) - 1)]


def _alt(row: Row, lines: Sequence[_Line]) -> str:
    """The picture in words, with its numbers."""
    texts = []
    for line in lines:
        points = [
            f"{number(value, row.metric)} at {shots_title(shots)}"
            for shots, value in zip(line.shots, line.means, strict=True)
            if value is not None
        ]
        texts.append(f"{line.trunk} ({line.row.protocol}) {', '.join(points)}")
    return f"{row.task}, {metric_title(row.metric)} against training samples: {'; '.join(texts)}."


def _shortened(name: str) -> str:
    text = plain(name)
    return text if len(text) <= _NAME else f"{text[: _NAME // 2]}…{text[-_NAME // 2 + 1 :]}"
