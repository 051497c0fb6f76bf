"""The score table that INTERN's authors published (facts/published.yml): 14 trunks on GV-B's 26 tasks, theirs."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from interngv.gvb.report.noise import mean

MARK = "published by the authors; their lists, weights and search are not available"
_FILE = Path(__file__).parents[1] / "facts" / "published.yml"


@dataclass(frozen=True)
class PublishedTask:
    """A row: the task's kind and metric, what its numbers are, and a text a trunk, as printed (``93.8/92.0/75.5``)."""

    kind: str
    metric: str
    note: str
    printed: tuple[str, ...]

    @property
    def scores(self) -> tuple[float, ...]:
        """The headline number of every trunk: the first of those printed."""
        return tuple(float(text.split("/")[0]) for text in self.printed)


@dataclass(frozen=True)
class Published:
    """The whole table, its source and the conditions that it was made under."""

    source: str
    url: str
    protocol: str
    shots: str
    trunks: tuple[str, ...]
    tasks: dict[str, PublishedTask]

    def means(self, tasks: Iterable[str]) -> tuple[float, ...]:
        """Mean of the headline numbers over some tasks, a number a trunk."""
        return tuple(mean(column) for column in zip(*(self.tasks[task].scores for task in tasks), strict=True))

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Names of the tasks of a kind, in the table's order."""
        return tuple(name for name, task in self.tasks.items() if task.kind == kind)


@lru_cache(maxsize=1)
def published() -> Published:
    """The table as the package holds it."""
    facts = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    tasks = {
        name: PublishedTask(
            kind, facts["metrics"].get(name, "accuracy"), facts["notes"].get(name, ""), tuple(str(line).split())
        )
        for kind, lines in facts["scores"].items()
        for name, line in lines.items()
    }
    texts = {key: str(facts[key]) for key in ("source", "url", "protocol", "shots")}
    return Published(**texts, trunks=tuple(facts["trunks"]), tasks=tasks)
