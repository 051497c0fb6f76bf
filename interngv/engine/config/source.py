"""``explain``: which file and line of the ``_base_`` chain gave a config key its value."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from interngv.engine.config.loading import cfg_options, load_config
from interngv.engine.config.trace import Place, Slot, Source, follow, history, trace
from interngv.errors import ConfigError, did_you_mean

__all__ = ["ConfigError", "Origin", "Origins", "explain", "value_at"]


@dataclass(frozen=True)
class Origin:
    """Where a key comes from; ``str()`` of it is the text that ``interngv explain`` prints."""

    key: str
    value: Any
    place: Place  # the line that won
    exact: bool  # False: the line is the nearest enclosing assignment, the rest is computed there
    written: list[Place]  # every line that wrote this key, the winner first
    variables: list[tuple[str, Place]] = field(default_factory=list)  # names that the value came through
    chain: list[str] = field(default_factory=list)  # the config and all its bases

    def __str__(self) -> str:
        nearness = "" if self.exact else "  (computed; this is the enclosing assignment)"
        lines = [f"{self.key} = {_short(self.value)}", f"  set by  {self.place}{nearness}"]
        lines += [f"  through {name}  ({place})" for name, place in self.variables]
        lines += [f"  instead of {place}" for place in self.written[1:]]
        lines += ["chain:"] + [f"  {'*' if self._wrote(file) else ' '} {file}" for file in self.chain]
        return "\n".join(lines)

    def _wrote(self, file: str) -> bool:
        return any(place.file == file for place in self.written)


class Origins:
    """The traced chain of one config, ready to answer for many keys."""

    def __init__(self, source: Source | None) -> None:
        self.source = source

    @classmethod
    def of(cls, cfg: Config) -> "Origins":
        """Origins of a loaded config; empty for a config that was not read from a file."""
        return cls(trace(str(cfg.filename), cfg_options(cfg)) if cfg.filename else None)

    def slots(self, key: str) -> list[Slot]:
        """The slots along ``key``, as far as the source shows them."""
        return follow(self.source.slots, key) if self.source else []

    def place(self, key: str) -> Place | None:
        """The line that wrote ``key``, or the nearest enclosing one; None where no file wrote it."""
        slots = self.slots(key)
        return slots[-1].place if slots else None

    def files(self) -> list[str]:
        """The config and its bases, each once, the config first."""
        return list(dict.fromkeys(source.path for source in self.source.chain())) if self.source else []


def explain(cfg_path: str, key: str, options: dict[str, Any] | None = None) -> Origin:
    """Say which file and line of the chain set ``key`` (dotted; list elements by number).

    Args:
        cfg_path: path, shipped name or ``scope::name`` of the config.
        key: for instance ``model.backbone.depth`` or ``train_dataloader.dataset.pipeline.0.type``.
        options: what ``--cfg-options`` would add; such keys come from the "command line".

    Raises:
        ConfigError: the config cannot be read, or it has no such key (the nearest one is offered).
    """
    cfg = load_config(cfg_path, options)
    value = value_at(cfg, key)
    origins = Origins.of(cfg)
    slots = origins.slots(key)
    if not slots or origins.source is None:
        raise ConfigError(f"'{key}' is not written by {cfg.filename} or its bases")
    exact = len(slots) == key.count(".") + 1
    written = [slot.place for slot in history(origins.source.slots, key)] if exact else [slots[-1].place]
    variables = [slot.variable for slot in slots if slot.variable is not None]
    return Origin(key, value, slots[-1].place, exact, written, variables, origins.files())


def value_at(cfg: Config, key: str) -> Any:
    """The value at a dotted key.

    Raises:
        ConfigError: there is no such key; the message says what stands there and names the nearest.
    """
    value: Any = cfg
    done: list[str] = []
    for part in key.split("."):
        here = f"'{'.'.join(done)}'" if done else f"{cfg.filename}"
        if isinstance(value, list | tuple) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Config | dict) and part in value:
            value = value[part]
        else:
            raise ConfigError(f"no key '{part}' in {here}{_instead(value, part)}")
        done.append(part)
    return value


def _instead(value: Any, part: str) -> str:
    if isinstance(value, Config | dict):
        return did_you_mean(part, _names(value))
    if isinstance(value, list | tuple):
        return f": it is a list of {len(value)}"
    return f": it is the value {_short(value)}"


def _names(value: Config | dict) -> Iterable[str]:
    return [str(name) for name in value]


def _short(value: Any, limit: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
