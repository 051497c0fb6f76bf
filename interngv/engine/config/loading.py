"""Finding and loading a config: a path, a config that ships with the package, or a host's ``scope::name``."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config import utils as mmengine_paths

from interngv.errors import ConfigError, nearest

__all__ = ["ConfigError", "base_path", "cfg_options", "load_config", "resolve_config", "shipped_configs_dir"]

SCOPE = "interngv"
_OPTIONS = "_interngv_options"
_PACKAGE = Path(__file__).resolve().parents[2]
_mmengine_base_path = Config._get_cfg_path


def shipped_configs_dir() -> Path:
    """Folder of the configs that ship with interngv: inside an installed wheel, else in the checkout.

    Raises:
        ConfigError: neither place holds configs.
    """
    places = (_PACKAGE / ".mim" / "configs", _PACKAGE.parent / "configs")
    for place in places:
        if place.is_dir():
            return place
    raise ConfigError(f"interngv's configs are in neither {places[0]} nor {places[1]}; install the package again")


def base_path(name: str, config_file: str) -> tuple[str, str | None]:
    """Path and scope of one ``_base_`` entry of ``config_file``.

    As mmengine resolves it, with two additions: ``interngv::...`` names a shipped config (whose types keep the
    default scope, for our configs are written in a host's scope), and a host installed under another distribution
    name than the one that mmengine expects is found as well.
    """
    scope, mark, relative = name.partition("::")
    if mark and scope == SCOPE:
        return str(shipped_configs_dir() / relative), None
    if mark and scope in mmengine_paths.MODULE2PACKAGE:
        spec = find_spec(scope)
        shipped = Path(spec.origin or "").parent / ".mim" / "configs" if spec else None
        if shipped is not None and shipped.is_dir():
            return str(shipped / relative), scope
    return _mmengine_base_path(name, config_file)


@contextmanager
def _our_base_paths() -> Iterator[None]:
    """Let mmengine resolve ``_base_`` entries by :func:`base_path`; it offers no hook for that."""
    previous = Config.__dict__["_get_cfg_path"]
    Config._get_cfg_path = staticmethod(base_path)
    try:
        yield
    finally:
        Config._get_cfg_path = previous


def resolve_config(name_or_path: str) -> Path:
    """Absolute path of a config given as a path, as a shipped name (with or without ``.py``) or as ``scope::name``.

    Raises:
        ConfigError: nothing is found under that name; the message offers the nearest shipped names.
    """
    name = str(name_or_path)
    if "::" in name:
        return _external(name)
    direct = Path(name).expanduser()
    shipped = shipped_configs_dir() / name
    for candidate in (direct, shipped, shipped.parent / f"{shipped.name}.py"):
        if candidate.is_file():
            return candidate.absolute()
    known = sorted(str(path.relative_to(shipped_configs_dir())) for path in shipped_configs_dir().rglob("*.py"))
    close = nearest(name if name.endswith(".py") else f"{name}.py", known, count=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    what = "a folder" if direct.is_dir() else "neither a file"
    rest = ", not a config file" if direct.is_dir() else f" nor a config under {shipped_configs_dir()}"
    raise ConfigError(f"config '{name}' is {what}{rest}{hint}")


def _external(name: str) -> Path:
    try:
        path = Path(base_path(name if name.endswith(".py") else f"{name}.py", "")[0])
    except (AssertionError, ImportError, ValueError, OSError) as error:
        raise ConfigError(f"config '{name}': {error}") from error
    if not path.is_file():
        scope, _, relative = name.partition("::")
        known = [str(file.relative_to(path.parents[relative.count("/")])) for file in path.parent.rglob("*.py")]
        close = nearest(relative, known)
        hint = f"; did you mean {scope}::{close[0]}?" if close else ""
        raise ConfigError(f"config '{name}': no file {path}{hint}")
    return path


def load_config(name_or_path: str, options: dict[str, Any] | None = None) -> Config:
    """Load a config and merge ``options`` (dotted keys, as ``--cfg-options`` gives them) over it.

    The options stay with the config, so that :func:`~interngv.engine.config.check.check_config` and ``explain`` can
    say "command line" for the keys that they set.

    Raises:
        ConfigError: the config is not found, cannot be read, or an option does not fit into it.
    """
    path = resolve_config(name_or_path)
    try:
        with _our_base_paths():
            cfg = Config.fromfile(path)
    except (OSError, SyntaxError, LookupError, TypeError, NameError, ImportError, RuntimeError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {type(error).__name__}: {error}") from error
    for key, value in (options or {}).items():
        try:
            cfg.merge_from_dict({key: value})
        except (LookupError, TypeError, AttributeError) as error:
            raise ConfigError(f"option {key}={value!r} does not fit into {path}: {error}") from error
    object.__setattr__(cfg, _OPTIONS, dict(options or {}))
    return cfg


def cfg_options(cfg: Config) -> dict[str, Any]:
    """The command line's options that :func:`load_config` merged into ``cfg``."""
    return cfg.__dict__.get(_OPTIONS, {})
