"""Filling a protocol's config in for a trunk and a task: every word ``gvb:NAME`` in it stands for a fact."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from interngv.engine.config.places import runner_keys
from interngv.errors import UserError, did_you_mean

PREFIX = "gvb:"


def fill(template: Config, facts: Mapping[str, Any]) -> Config:
    """A copy of a protocol's config in which the facts stand, without the variables that its files made it of.

    ``'gvb:widths'`` becomes ``facts['widths']``, ``'gvb:widths.3'`` its fourth entry. Where ``type`` of a data set is
    such a word, the fact is a whole data set and takes the template's other keys; where it wraps others, they do.

    Raises:
        UserError: a word that is not among the facts, or an entry that the fact has not.
    """
    settings = {key: value for key, value in template.to_dict().items() if key in runner_keys()}
    return Config({key: _filled(value, facts) for key, value in settings.items()})


def _filled(value: Any, facts: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith(PREFIX):
        return _fact(value[len(PREFIX) :], facts)
    if isinstance(value, list | tuple):
        return type(value)(_filled(one, facts) for one in value)
    if not isinstance(value, Mapping):
        return value
    filled = {key: _filled(one, facts) for key, one in value.items()}
    kind = filled.get("type")
    if isinstance(kind, Mapping):
        return _with_keys(kind, {key: one for key, one in filled.items() if key != "type"})
    return filled


def _fact(word: str, facts: Mapping[str, Any]) -> Any:
    name, *path = word.split(".")
    if name not in facts:
        raise UserError(
            f"'{PREFIX}{word}' stands for nothing{did_you_mean(name, facts)}; a protocol's config may say "
            f"{', '.join(PREFIX + fact for fact in facts)}"
        )
    fact = facts[name]
    for place in path:
        if not place.isdigit() or not isinstance(fact, list | tuple) or int(place) >= len(fact):
            raise UserError(f"'{PREFIX}{word}' stands for nothing: {name} is {facts[name]!r}")
        fact = fact[int(place)]
    return fact


def _with_keys(dataset: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """A data set's config with further keys, given to the innermost data sets of a wrapper."""
    inner = dataset.get("datasets")
    if inner is not None:
        return {**dataset, "datasets": [_with_keys(one, keys) for one in inner]}
    if isinstance(dataset.get("dataset"), Mapping):
        return {**dataset, "dataset": _with_keys(dataset["dataset"], keys)}
    return {**dataset, **keys}
