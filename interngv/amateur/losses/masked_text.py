"""Text self-supervision: masked language modelling (Devlin et al., NAACL 2019, arXiv 1810.04805), L_TSS of DeCLIP."""

from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from interngv.amateur.losses.base import SupervisionLoss, at_least_single
from interngv.amateur.losses.gather import mean_over_processes
from interngv.amateur.outputs import TowerOutputs
from interngv.registry import MODELS

NOT_ASKED = -100


@MODELS.register_module()
class MaskedTextLoss(SupervisionLoss):
    """Cross-entropy of the words that stood at masked places, by a linear head on the text tower's word features.

    Logits are computed at those places only. The mean is over the places of all processes; where there are none it is
    0, and so are all gradients.

    Args:
        width: of the word features.
        vocab_size: of the tokenizer.
    """

    masked_text = True

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, vocab_size)

    def forward(self, outputs: TowerOutputs) -> Tensor:
        """(), of tokens (M, T, width); raises ValueError where no caption was masked for it."""
        if outputs.masked_text is None:
            raise ValueError("MaskedTextLoss needs captions with masked words, got none")
        asked = outputs.masked_text.targets != NOT_ASKED
        logits = self.head(outputs.masked_text.tokens[asked])
        summed = cross_entropy(at_least_single(logits), outputs.masked_text.targets[asked], reduction="sum")
        count = mean_over_processes(asked.sum().to(summed))
        return summed / count.clamp(min=1 / get_world_size())
