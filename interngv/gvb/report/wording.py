"""Numbers and the state of a place in the grid, in words."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from interngv.gvb.report.document import Marked, Text
from interngv.gvb.report.results import Cell
from interngv.gvb.report.scores import Tries

METRICS = {
    "accuracy": "accuracy, %",
    "per_class": "mean per-class accuracy, %",
    "voc_map": "VOC mAP, %",
    "wider_ap": "WIDER AP, %",
    "mr2": "MR⁻², %, lower is better",
    "coco_ap": "COCO AP, %",
    "miou": "mIoU, %",
    "rmse": "RMSE, m, lower is better",
}
NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
SHORT = {"classification": "cls", "detection": "det", "segmentation": "seg", "depth": "depth"}
_REASON = 60  # characters of a failure's reason inside a table of scores; the table of failures has all of it


def metric_title(metric: str) -> str:
    """A metric with its unit and direction; a metric of the user's own as it is called."""
    return METRICS.get(metric, metric)


def number(value: float | None, metric: str = "accuracy") -> str:
    """A score as printed: percentages with two digits after the point, others with four that count."""
    if value is None:
        return NONE
    text = f"{value:.4g}" if metric == "rmse" or metric not in METRICS else f"{value:.2f}"
    return text.replace("-", MINUS)


def change(part: float | None) -> str:
    """A relative change in percent, with its sign: ``−40.2 %``."""
    return "cannot be said" if part is None else f"{100 * part:+.1f} %".replace("-", MINUS)


def tries_text(tries: Tries, metric: str) -> Text:
    """A place of the grid: ``76.60 ± 0.31 (n=3)``, with what failed or is missing, and why."""
    lost = _lost(tries)
    if tries.mean is None:
        return Marked(lost or "missing")
    text = score_text(tries.mean, tries.deviation, len(tries.scores), metric)
    return Marked(f"{text}; {lost}") if lost else text


def score_text(mean: float, deviation: float | None, count: int, metric: str) -> str:
    """Mean, sample deviation (from two tries on) and number of tries."""
    spread = "" if deviation is None else f" ± {number(deviation, metric)}"
    return f"{number(mean, metric)}{spread} (n={count})"


def _lost(tries: Tries) -> str:
    parts = []
    if tries.failed:
        reasons = dict.fromkeys(cell["error"] or "no reason given" for cell in tries.failed)
        parts.append(f"{len(tries.failed)} failed: {'; '.join(map(_shortened, reasons))}")
    if tries.missing:
        parts.append(f"{len(tries.missing)} missing")
    return ", ".join(parts)


def _shortened(reason: str) -> str:
    return reason if len(reason) <= _REASON else f"{reason[: _REASON - 1]}…"


def names(found: Iterable[str], none: str = "none") -> str:
    """Names, one after the other."""
    return ", ".join(found) or none


def digest(sha256: str | None) -> str:
    """The part of a hash that is shown."""
    return sha256[:12] if sha256 else NONE


def settings(details: Mapping[str, Any]) -> str:
    """Names and values: ``lr=0.1, wd=0.001``; of a list its length, of what is inside a mapping all."""
    return names(_settings(details), NONE)


def _settings(details: Mapping[str, Any]) -> Iterator[str]:
    for key, value in details.items():
        if isinstance(value, Mapping):
            yield from _settings(value)
        elif isinstance(value, list | tuple):
            yield f"{key}: {len(value)}"
        else:
            yield f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}"


def seconds(cells: Iterable[Cell]) -> str:
    """The cells' time together."""
    total = sum(cell["seconds"] or 0 for cell in cells)
    return f"{total:.0f} s" if total < 3600 else f"{total / 3600:.1f} h"
