"""General Vision Architecture: the MetaNet family, and timm's models as trunks. Needs torch and mmengine only."""

from interngv.gva.archs import ARCHS, Arch, Stage
from interngv.gva.metanet import MetaNet
from interngv.gva.timm_trunk import TimmTrunk
from interngv.gva.weights import LoadReport, PretrainedTrunk, WeightsError, load_trunk, to_released

__all__ = [
    "ARCHS",
    "Arch",
    "LoadReport",
    "MetaNet",
    "PretrainedTrunk",
    "Stage",
    "TimmTrunk",
    "WeightsError",
    "load_trunk",
    "to_released",
]
