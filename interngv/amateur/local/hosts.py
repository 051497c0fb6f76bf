"""Host libraries that parts of the local self-supervision come from, imported when such a part is built."""

from importlib import import_module

from interngv.compat import HOSTS
from interngv.errors import UserError


def needs(package: str, what: str) -> None:
    """Import a host library; raises UserError with the command that installs it where that fails."""
    command = f"pip install {HOSTS[package][0]}, or make setup"
    try:
        import_module(package)
    except ImportError as error:
        raise UserError(f"{what} needs {package}, which cannot be imported ({error}): {command}") from error
