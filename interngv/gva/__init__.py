"""General Vision Architecture: the MetaNet family. Needs torch and mmengine only."""

from interngv.gva.archs import ARCHS, Arch, Stage
from interngv.gva.metanet import MetaNet
from interngv.gva.weights import LoadReport, PretrainedTrunk, WeightsError, load_trunk, to_released

__all__ = [
    "ARCHS",
    "Arch",
    "LoadReport",
    "MetaNet",
    "PretrainedTrunk",
    "Stage",
    "WeightsError",
    "load_trunk",
    "to_released",
]
