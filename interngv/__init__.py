"""interngv: the INTERN paradigm for general vision (arXiv 2111.08687) on the OpenMMLab stack."""

from interngv import compat, registry
from interngv.version import __version__

compat.repair_torchvision()

__all__ = ["__version__", "registry"]
