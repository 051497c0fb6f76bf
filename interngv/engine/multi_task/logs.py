"""Logs of several sources: one row each, under names that every backend takes."""

import re
from collections.abc import Iterable
from typing import Any

from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import LogProcessor

_REMEMBERED = 1000  # values of a source's scalar that are kept for means; mmengine's own are kept for ever
_COUNTS = ("samples", "skipped", "unreadable")
_ORDER = ("loss", "grad_norm", "", "samples", "epochs", "data_time", "skipped", "unreadable")  # "": all others
CONFLICT = "conflict"  # in place of a source: the cosines between sources


class TaskLogProcessor(LogProcessor):
    """mmengine's ``LogProcessor`` that prints the scalars named ``SOURCE/NAME`` in a row of their source.

    Args:
        sources: whose rows follow the line of the step.
        **kwargs: as of ``LogProcessor``; means are taken of losses, times and gradient norms by the last part of a
            name, so that a source may be called what it likes.
    """

    def __init__(self, sources: Iterable[str], **kwargs: Any) -> None:
        super().__init__(**{"mean_pattern": r"(^|/)[^/]*(loss|time|grad_norm)[^/]*$", **kwargs})
        self._sources = list(sources)

    @classmethod
    def like(cls, other: LogProcessor, sources: Iterable[str]) -> "TaskLogProcessor":
        """One with the settings of mmengine's."""
        names = ("window_size", "by_epoch", "custom_cfg", "num_digits", "log_with_hierarchy")
        settings = {name: getattr(other, name) for name in names}
        if other.mean_pattern.pattern != LogProcessor().mean_pattern.pattern:
            settings["mean_pattern"] = other.mean_pattern
        return cls(sources, **settings)

    def get_log_after_iter(self, runner: Any, batch_idx: int, mode: str) -> tuple[dict, str]:
        """The scalars for the backends, and the text: mmengine's line without the sources', then their rows."""
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        if mode != "train":
            return tag, line
        rows = {name: self._row(tag, name) for name in [*self._sources, CONFLICT]}
        of_rows = tuple(f"{name}/" for name in rows)
        parts = [part for part in line.split("  ") if not part.startswith(of_rows)]
        width = max(map(len, self._sources))
        return tag, "\n".join(["  ".join(parts), *(f"    {name:{width}}  {row}" for name, row in rows.items() if row)])

    def _row(self, tag: dict[str, float], source: str) -> str:
        name = re.compile(rf"(?:train/)?{re.escape(source)}/(.*)")
        found = {match[1]: value for key, value in tag.items() if (match := name.fullmatch(key))}
        ordered = sorted(found, key=lambda key: _ORDER.index(key if key in _ORDER else ""))
        return "  ".join(f"{key}: {self._number(key, found[key])}" for key in ordered)

    def _number(self, key: str, value: float) -> str:
        return str(int(value)) if key in _COUNTS else f"{value:.{self.num_digits}f}"


def remember_little(hub: MessageHub, names: Iterable[str]) -> None:
    """Bound the histories of these training scalars: mmengine copies a history at each new value."""
    for name in names:
        if f"train/{name}" not in hub.log_scalars:
            hub.log_scalars[f"train/{name}"] = HistoryBuffer()
        hub.log_scalars[f"train/{name}"].max_length = _REMEMBERED
