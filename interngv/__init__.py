"""interngv: the INTERN paradigm for general vision (arXiv 2111.08687) on the OpenMMLab stack."""

from interngv import compat
from interngv.version import __version__

if not compat.is_command_line():  # the command starts without torch, and reports where these imports would crash
    compat.repair_torchvision()
    from interngv import registry as registry

__all__ = ["__version__"]
