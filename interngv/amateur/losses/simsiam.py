"""Image self-supervision without negatives: SimSiam (Chen and He, CVPR 2021, arXiv 2011.10566), as DeCLIP has it."""

from torch import Tensor

from interngv.amateur.losses.base import SupervisionLoss, unit
from interngv.amateur.losses.projectors import Projector
from interngv.amateur.outputs import TowerOutputs
from interngv.registry import MODELS


@MODELS.register_module()
class SimSiamLoss(SupervisionLoss):
    """One view of an image predicts the other's projection, which gets no gradient; L_ISS of DeCLIP.

        L = -1/2 [cos(p1, sg(z2)) + cos(p2, sg(z1))],  z = projector(trunk), p = predictor(z)

    It is between -1 and 1. The sizes are those of DeCLIP's release: a projector of three layers with a batch norm after
    each, the last one's too, and a predictor whose hidden layer is half as wide.

    Args:
        width: of the trunk's pooled features.
        hidden: of the projector's layers and its output.
    """

    image_views = 2

    def __init__(self, width: int, hidden: int = 1024) -> None:
        super().__init__()
        self.projector = Projector(width, hidden, hidden, hidden, last_norm=True)
        self.predictor = Projector(hidden, hidden // 2, hidden)

    def forward(self, outputs: TowerOutputs) -> Tensor:
        """(), of pooled features (N, width) of two views; raises BatchError in training for one sample."""
        first, second = map(self.projector, self.needed(outputs.pooled, 2, "views of pooled features"))
        return -(self._agreement(first, second) + self._agreement(second, first)) / 2

    def _agreement(self, projected: Tensor, target: Tensor) -> Tensor:
        return (unit(self.predictor(projected)) * unit(target.detach())).sum(1).mean()
