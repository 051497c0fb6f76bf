"""Refuse a config with a key that nothing reads, before anything is built."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from mmengine.config import Config

from interngv.engine.config import places
from interngv.engine.config.params import is_placeholder, keys_taken, parameters
from interngv.engine.config.places import Place
from interngv.engine.config.reads import in_host, unread_keys
from interngv.engine.config.source import Origins
from interngv.engine.config.types import Found, find, is_scope, nearest_type, scope_error, scope_of, source_of
from interngv.errors import ConfigError, did_you_mean, nearest

__all__ = ["ConfigError", "Problem", "check_config", "find_problems"]

_ALWAYS = frozenset({"type", "_scope_"})
_SLIP = 0.88  # likeness of two names that differ by a letter


@dataclass(frozen=True)
class Problem:
    """One wrong key: its dotted name, the line that set it, and what is wrong with it."""

    key: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.key} ({self.where}): {self.message}"


def check_config(cfg: Config) -> None:
    """Check every key of a loaded config (see :func:`find_problems`).

    Raises:
        ConfigError: lists all problems, each with its key, the file and line that set it, and the nearest valid name.
    """
    problems = find_problems(cfg)
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{count} in {cfg.filename or 'the config'}:\n{lines}")


def find_problems(cfg: Config) -> list[Problem]:
    """All problems of a config, without building anything.

    Checked are: types that no registry knows; keys that a constructor does not accept and, at places where the caller
    is known, required ones that are missing; keys of the runner's sections; top-level keys that nobody reads.
    """
    checker = _Checker(cfg)
    checker.run()
    return checker.report()


class _Checker:
    def __init__(self, cfg: Config) -> None:
        self.cfg, self.origins = cfg, Origins.of(cfg)
        self.found: dict[tuple[str, str], list[str]] = {}
        self.used: list[Any] = []
        self.broken_scopes: set[str] = set()

    def run(self) -> None:
        scope = self.cfg.get("default_scope") or "mmengine"
        self._default_scope(scope)
        for key in sorted(self.cfg, key="optim_wrapper".__eq__):  # last: hooks may read settings of its groups
            if key in places.runner_keys():
                self._top(key, self.cfg[key], scope)
        for key, place, message in unread_keys(self.cfg, self.origins, self.used):
            self._add(key, message, str(place) if place else None)

    def report(self) -> list[Problem]:
        return [Problem(", ".join(keys), where, message) for (where, message), keys in self.found.items()]

    def _add(self, key: str, message: str, where: str | None = None) -> None:
        place = self.origins.place(key)
        where = where or (str(place) if place else "not set by a file")
        keys = self.found.setdefault((where, message), [])
        if key not in keys:
            keys.append(key)

    def _default_scope(self, scope: str) -> None:
        error = scope_error(scope)
        if error:
            self.broken_scopes.add(scope)
            self._add("default_scope", f"'{scope}' cannot be used: {error}")

    def _top(self, key: str, value: Any, scope: str) -> None:
        if key in places.LOADERS:
            for one, path in self._each_named(value, key):
                self._loader(one, path, scope)
        elif key in ("default_hooks", *places.section_keys()) and _is_plain(value):
            self._no_dict(key, value, "a dict")
        elif key in places.EVALUATORS:
            self._evaluator(key, value, scope)
        elif key == "default_hooks" and isinstance(value, dict):
            self._default_hooks(value, scope)
        elif key == "optim_wrapper" and isinstance(value, dict):
            self._optim_wrapper(value, scope)
        elif key == "data_preprocessor" and isinstance(value, dict):
            self._data_preprocessor(value, scope)
        elif key in places.section_keys() and isinstance(value, dict):
            self._section(key, value)
        elif key == "train_cfg" and isinstance(value, dict):
            self.visit(value, key, scope, places.train_loop(value))
        elif key in places.PIPELINES:
            self.visit(value, key, scope, places.TRANSFORM)
        else:
            self.visit(value, key, scope, places.BY_KEY.get(key, places.ANY))

    def _no_dict(self, key: str, value: Any, expected: str) -> None:
        self._add(key, f"expected {expected}, got {value!r}")

    def _section(self, key: str, value: dict[str, Any]) -> None:
        self._known(key, value, places.section_keys()[key], f"{key} is read for")
        for name, inner in value.items():
            if f"{key}.{name}" in places.section_keys() and isinstance(inner, dict):
                self._section(f"{key}.{name}", inner)

    def _known(self, key: str, value: dict[str, Any], names: Iterable[str], what: str) -> None:
        names = frozenset(names)
        for name in value:
            if name not in names | _ALWAYS:
                self._add(f"{key}.{name}", f"{what} {_listed(names)} only{did_you_mean(str(name), names)}")

    def _each_named(self, value: Any, key: str) -> list[tuple[Any, str]]:
        """The loaders or evaluators of a section: one, a list, or by name where the section's loop takes names."""
        if self._is_named(key) and isinstance(value, dict):
            return [(one, f"{key}.{name}") for name, one in value.items()]
        return _each(value, key)

    def _is_named(self, key: str) -> bool:
        loop = self.cfg.get(f"{key.partition('_')[0]}_cfg") or {}
        return _bare_type(loop) in places.NAMED_LOOPS

    def _loader(self, value: Any, key: str, scope: str) -> None:
        if not isinstance(value, dict):
            if _is_plain(value):
                self._no_dict(key, value, "a dict")
            return
        if _bare_type(value) == "MetaDataLoader":
            self._known(key, value, places.meta_loader_keys(), "a MetaDataLoader takes")
            for name, source in (value.get("sources") or {}).items():
                source_key = f"{key}.sources.{name}"
                if isinstance(source, dict):
                    source_scope = scope_of(source.get("dataset")) or scope
                    self._parts(source, source_key, source_scope, places.SOURCE_KEYS, {"dataset", "batch_size"})
                else:
                    self._no_dict(source_key, source, "a dict")
        elif self._is_named(key.partition(".")[0]):
            names = places.loader_keys() | {"task"}
            self._parts(value, key, scope_of(value.get("dataset")) or scope, names, {"dataset", "sampler"})
        else:
            self._parts(value, key, value.get("_scope_", scope), places.loader_keys(), {"dataset", "sampler"})

    def _parts(self, value: dict, key: str, scope: str, names: frozenset[str], required: set[str]) -> None:
        self._known(key, value, names, "a data loader takes")
        if missing := required - set(value):
            self._add(key, f"a data loader needs {_listed(missing)}")
        for name, inner in value.items():
            if name in places.LOADER_PARTS:
                self.visit(inner, f"{key}.{name}", scope, places.LOADER_PARTS[name])

    def _evaluator(self, key: str, value: Any, scope: str) -> None:
        for one, path in (each for section in self._each_named(value, key) for each in _each(*section)):
            if isinstance(one, dict) and "metrics" in one and "type" not in one:
                place = Place("evaluator", implied="Evaluator", strict=True)
                self.visit(one, path, scope, place)
            else:
                is_evaluator = isinstance(one, dict) and "metrics" in one
                self.visit(one, path, scope, places.ANY if is_evaluator else places.METRIC)

    def _default_hooks(self, value: dict[str, Any], scope: str) -> None:
        known = places.default_hooks()
        for name, hook in value.items():
            key = f"default_hooks.{name}"
            if name not in known and isinstance(hook, dict) and hook.get("type") in known.values():
                self._add(key, f"a second {hook['type']} beside the default one{did_you_mean(name, known)}")
            elif name not in known and hook is None:
                self._add(key, f"removes a default hook that does not exist{did_you_mean(name, known)}")
            self.visit(hook, key, scope, places.HOOK)

    def _optim_wrapper(self, value: dict[str, Any], scope: str) -> None:
        constructor = value.get("constructor", "DefaultOptimWrapperConstructor")
        found = self._lookup(constructor, "optim_wrapper.constructor", scope, places.CONSTRUCTOR)
        if "type" not in value and "optimizer" not in value:
            return  # several optimizers, laid out as their own constructor wants
        self.visit(value, "optim_wrapper", scope, places.OPTIM_WRAPPER)
        readers = [names for one in found if (names := places.paramwise_keys(one.target)) is not None]
        if readers and isinstance(value.get("paramwise_cfg"), dict):
            self._paramwise(value, readers[0], _name(constructor))

    def _paramwise(self, wrapper: dict[str, Any], names: frozenset[str], constructor: str) -> None:
        paramwise, key = wrapper["paramwise_cfg"], "optim_wrapper.paramwise_cfg"
        self._known(key, paramwise, names, f"{constructor} reads")
        of_groups = frozenset().union(*(places.group_keys(one) for one in self.used))
        for name, inner in (paramwise.get("custom_keys") or {}).items():
            for setting in inner if isinstance(inner, dict) else ():
                if setting not in of_groups | {"lr_mult", "decay_mult"}:
                    message = f"nothing reads '{setting}' from a parameter group (the constructor: lr_mult, decay_mult)"
                    hint = did_you_mean(setting, of_groups | {"lr_mult", "decay_mult"})
                    self._add(f"{key}.custom_keys.{name}.{setting}", message + hint)

    def _data_preprocessor(self, value: dict[str, Any], scope: str) -> None:
        """The runner hands it to the model, which may give it a type."""
        model = self.cfg.get("model") or {}
        found = find(model["type"], scope) if isinstance(model.get("type"), str) else ()
        implied = next((name for one in found if (name := places.implied_type(one.target, "data_preprocessor"))), None)
        if implied or "type" in value:
            self.visit(value, "data_preprocessor", scope, Place("model", implied=implied))

    def visit(self, value: Any, key: str, scope: str, place: Place) -> None:
        """Check a value and everything inside it; ``place`` says what is expected there."""
        if isinstance(value, list | tuple):
            for one, path in _each(value, key):
                self.visit(one, path, scope, place)
            return
        if not isinstance(value, dict):
            if place.strict and _is_plain(value):
                self._no_dict(key, value, "a dict" if place.implied else "a dict with 'type'")
            return
        scope = value.get("_scope_") or (scope_of(value) if _is_task(key) else None) or scope
        target: Any = None
        if "type" in value or place.implied:
            target = self._typed(value, key, scope, place)
        elif place.strict and place.registry != "parameter scheduler":  # of those there may be a dict of dicts
            self._add(key, f"a {place.registry} needs a 'type'")
        own = places.OWN_TYPES.get(_name(target), frozenset())
        for name, inner in value.items():
            if name not in own and not is_placeholder(target):
                path = f"{key}.{name}"
                self.visit(inner, path, scope, self._place_of(path, str(name), target, inner))

    def _place_of(self, key: str, name: str, parent: Any, value: Any) -> Place:
        by_key = places.BY_KEY.get(".".join(part for part in key.split(".") if not part.isdigit()))
        if by_key is not None:
            return by_key
        if name in places.PIPELINES and not isinstance(value, dict):
            return places.TRANSFORM
        if isinstance(value, dict) and "type" not in value:
            implied = places.implied_type(parent, name)
            return Place(implied=implied, parent=parent) if implied else places.ANY
        return replace(places.BY_ARGUMENT.get(name, places.ANY), parent=parent)

    def _typed(self, value: dict[str, Any], key: str, scope: str, place: Place) -> Any:
        """Check one dict that names (or implies) a type; returns what the type means, None where that is unknown."""
        given = value.get("type", place.implied)
        found = self._lookup(given, f"{key}.type" if "type" in value else key, scope, place)
        if not found:
            return None
        self.used += [one.target for one in found]
        if is_placeholder(found[0].target):
            self._add(f"{key}.type", f"'{given}' cannot be built: packages that it needs are not installed")
            return found[0].target
        tries = [(self._wrong_keys(value, key, one.target, place), one.target) for one in found]
        wrong, target = min(tries, key=lambda one: len(one[0]))
        for name, message in wrong:
            self._add(f"{key}.{name}" if name else key, message)
        return target

    def _wrong_keys(self, value: dict[str, Any], key: str, target: Any, place: Place) -> list[tuple[str, str]]:
        accepted = parameters(target)
        names = accepted.names | place.extra
        unknown = [str(name) for name in value if name not in names | _ALWAYS]
        if accepted.open:  # it takes any key, but a slip of the pen beside a declared one is hardly meant
            unknown = [name for name in unknown if nearest(name, names, cutoff=_SLIP)]
        if unknown and place.parent is not None:
            taken = keys_taken(place.parent, key.rpartition(".")[2])
            unknown = [name for name in unknown if name not in taken]
        if accepted.swallows:
            unknown = [name for name in unknown if not self._from_host(f"{key}.{name}")]
        verb = "throws away" if accepted.swallows else "does not declare" if accepted.open else "takes no"
        wrong = [(name, f"{_name(target)} {verb} '{name}'{_hint(name, names)}") for name in unknown]
        if place.supplied is not None:
            missing = accepted.required - place.supplied - set(value)
            wrong += [("", f"{_name(target)} needs '{name}'") for name in sorted(missing)]
        return wrong

    def _from_host(self, key: str) -> bool:
        place = self.origins.place(key)
        return place is not None and in_host(place.file)

    def _lookup(self, given: Any, key: str, scope: str, place: Place) -> list[Found]:
        """What a ``type`` means; adds a problem where it means nothing."""
        if not isinstance(given, str):
            if callable(given):
                return [Found(given, None)]
            self._add(key, f"a type must be a name or a class, not {given!r}")
            return []
        found = list(find(given, scope))
        fitting = [one for one in found if one.registry in (place.registry, None)]
        if fitting or (found and not place.strict):
            return fitting or found
        argument = key.split(".")[-2] if "." in key else key
        if place.parent is None or "type" not in keys_taken(place.parent, argument):
            self._unknown_type(given, key, scope, place.registry)
        return []

    def _unknown_type(self, given: str, key: str, scope: str, registry: str | None) -> None:
        prefix = given.partition(".")[0]
        where = prefix if "." in given and is_scope(prefix) else scope
        error = scope_error(where)
        if error is None:
            close = nearest_type(given, scope, registry)
            hint = f"; did you mean '{close}'?" if close else ""
            file = source_of(given, where)
            if file is not None:
                hint = f"; {file} defines it but did not register it: a package that it needs is missing"
            of = where if where == "mmengine" else f"{where} and mmengine"
            which = f"{registry} registry" if registry else "registries"
            self._add(key, f"'{given}' is not in the {which} of {of}{hint}")
        elif where not in self.broken_scopes:
            self.broken_scopes.add(where)
            self._add(key, f"'{given}' cannot be looked up: {error}")


def _each(value: Any, key: str) -> list[tuple[Any, str]]:
    if isinstance(value, list | tuple):
        return [(one, f"{key}.{index}") for index, one in enumerate(value)]
    return [(value, key)]


def _bare_type(value: Any) -> str:
    """The name of a config's type without its scope; empty where it has none."""
    given = value.get("type") if isinstance(value, dict) else None
    return given.rpartition(".")[2] if isinstance(given, str) else getattr(given, "__name__", "")


def _is_task(key: str) -> bool:
    return key.startswith("model.tasks.") and key.count(".") == 2


def _is_plain(value: Any) -> bool:
    """Whether a value is neither a config nor built of one: mmengine takes built objects and functions as they are."""
    return isinstance(value, str | bytes | int | float)


def _name(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _hint(name: str, names: frozenset[str]) -> str:
    return did_you_mean(name, names) or f" (it takes {_listed(names)})"
