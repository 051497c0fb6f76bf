"""Scalars of a run as one CSV table (mmengine itself writes JSON lines and TensorBoard events)."""

import csv
import os
from pathlib import Path

from mmengine.visualization import BaseVisBackend

from interngv.registry import VISBACKENDS


@VISBACKENDS.register_module()
class CSVVisBackend(BaseVisBackend):
    """Writes ``scalars.csv``: one row a log line, one column a name, empty where a line has no such name.

    ``step`` is the iteration for training lines and the epoch (or iteration) for validation lines, as in mmengine's
    JSON log. A table that is there already, from an earlier run into the same folder, is gone on with.

    Args:
        save_dir: folder for the table; made when the first row comes.
        file_name: name of the table.
    """

    def __init__(self, save_dir: str, file_name: str = "scalars.csv") -> None:
        super().__init__(save_dir)
        self._path = Path(save_dir or ".") / file_name

    @property
    def experiment(self) -> "CSVVisBackend":
        """The backend itself: there is nothing else to hand out."""
        return self

    def _init_env(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def add_scalar(self, name: str, value: float, step: int = 0, **kwargs: object) -> None:
        """Write one value as a row."""
        self.add_scalars({name: value}, step)

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: object) -> None:
        """Write one row; a name not seen before widens the table."""
        row = {"step": step} | {name: float(value) for name, value in scalar_dict.items() if name != "step"}
        columns = self._header()
        new = [name for name in row if name not in columns]
        if new:
            columns += new
            self._widen(columns)
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, columns).writerow(row)

    def _header(self) -> list[str]:
        if not self._path.exists():
            return []
        with self._path.open(newline="") as file:
            return next(csv.reader(file), [])

    def _widen(self, columns: list[str]) -> None:
        self._init_env()
        rows = list(csv.DictReader(self._path.open(newline=""))) if self._path.exists() else []
        part = self._path.with_suffix(".part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(part, self._path)
