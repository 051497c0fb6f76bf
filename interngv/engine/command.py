"""How a command-line tool ends: a user's mistake is one line on standard error and exit status 2, no traceback."""

import os
import sys
from collections.abc import Callable

from interngv.errors import UserError


def run_tool(tool: Callable[[], object]) -> int:
    """Run a command-line tool and return its exit status: 0, or 2 after an error that the user can mend.

    Any other exception keeps its traceback: it is a bug, and the traceback is what a report needs.
    """
    try:
        tool()
    except UserError as error:
        print(f"{_prefix()}: {_innermost_message(error)}", file=sys.stderr)
        return 2
    return 0


def _prefix() -> str:
    rank = os.environ.get("RANK", "0")
    return "error" if rank == "0" else f"error (rank {rank})"


def _innermost_message(error: Exception) -> str:
    # A data loader's worker sends its exception back with the whole traceback as the message.
    text = str(error).strip()
    if not text.startswith("Caught "):
        return text
    return text.splitlines()[-1].partition(": ")[2]
