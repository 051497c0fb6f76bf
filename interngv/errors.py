"""Errors that a user can mend, and the nearest valid name that their messages offer."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in what the user gave: the message says what was given, what was expected and what to do."""


class ConfigError(UserError, ValueError):
    """A config that cannot be found, read or used; the message names the key, its place and what was expected."""


def nearest(name: str, valid: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """The valid names most like ``name``, the best first; differences of case alone count least."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(valid)}
    return [by_lower[match] for match in get_close_matches(name.lower(), by_lower, count, cutoff)]


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A sentence part such as ``; did you mean 'depth'?``, empty where nothing valid is near."""
    close = nearest(name, valid)
    return f"; did you mean '{close[0]}'?" if close else ""
