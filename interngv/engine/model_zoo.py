"""The model zoo's weights: which are stated for a config, and whether the file here is what its entry says."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from interngv.engine.config import shipped_configs_dir
from interngv.engine.fingerprint import file_sha256
from interngv.errors import UserError


@dataclass(frozen=True)
class ZooWeights:
    """Weights of one entry of ``model_zoo/*.yml``: its keys Name, Weights, SHA256 and License."""

    name: str
    where: str  # a URL, or a file below the folder that holds model_zoo
    sha256: str | None
    licence: str | None

    @property
    def file(self) -> Path | None:
        """The local file; None where it is behind a URL or not here."""
        path = shipped_configs_dir().parent / self.where
        return path if "://" not in self.where and path.is_file() else None

    def verified(self) -> Path:
        """The local file after a look at its sha256.

        Raises:
            UserError: it is not here, or another one than stated.
        """
        what = f"weights of the model zoo's {self.name}"
        if "://" in self.where:
            raise UserError(f"{what} are not fetched here: download {self.where}")
        if self.file is None:
            raise UserError(f"{what} are not here: no file {shipped_configs_dir().parent / self.where}")
        found = file_sha256(self.file)
        if found != self.sha256:
            stated = self.sha256 or "its entry to state one (SHA256)"
            raise UserError(f"{what}: {self.file} has sha256 {found}, expected {stated}; damaged, or another file")
        return self.file


def find(config: Path) -> ZooWeights | None:
    """The weights that the model zoo states for a config file."""
    root = shipped_configs_dir().parent
    for file in sorted((root / "model_zoo").glob("*.yml")):
        for entry in (yaml.safe_load(file.read_text()) or {}).get("Models") or []:
            if entry.get("Weights") and (root / entry["Config"]).resolve() == config.resolve():
                return ZooWeights(entry["Name"], entry["Weights"], entry.get("SHA256"), entry.get("License"))
    return None
