"""Error messages that help: the nearest valid name for a wrong one."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggest(name: str, valid: Iterable[str], most: int = 3) -> str:
    """``; did you mean 'x'?`` with up to ``most`` near names, else the empty string."""
    near = get_close_matches(name, sorted(valid), n=most, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
