"""The supervisions of Up-A-G, each a loss of its own with ``forward(outputs: TowerOutputs) -> Tensor``.

What they have in common, and what they ask of the model, is in :class:`SupervisionLoss`. CLIP is ``InfoNCE('first')``,
SigLIP ``SigLIPLoss``, SLIP InfoNCE and ``SimCLRLoss``, FILIP ``TokenwiseLoss``, DeCLIP InfoNCE, ``SimSiamLoss``,
``MaskedTextLoss`` and ``NearestNeighbourLoss``, DeFILIP those of DeCLIP and ``TokenwiseLoss``.
"""

from interngv.amateur.losses.bank import FeatureBank
from interngv.amateur.losses.base import BatchError, SupervisionLoss
from interngv.amateur.losses.contrastive import InfoNCE
from interngv.amateur.losses.gather import gather
from interngv.amateur.losses.masked_text import MaskedTextLoss
from interngv.amateur.losses.nearest import NearestNeighbourLoss
from interngv.amateur.losses.siglip import SigLIPLoss
from interngv.amateur.losses.simclr import SimCLRLoss
from interngv.amateur.losses.simsiam import SimSiamLoss
from interngv.amateur.losses.tokenwise import TokenwiseLoss
from interngv.amateur.losses.weights import paper_weights

__all__ = [
    "BatchError",
    "FeatureBank",
    "InfoNCE",
    "MaskedTextLoss",
    "NearestNeighbourLoss",
    "SigLIPLoss",
    "SimCLRLoss",
    "SimSiamLoss",
    "SupervisionLoss",
    "TokenwiseLoss",
    "gather",
    "paper_weights",
]
