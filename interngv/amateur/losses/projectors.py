"""The multi-layer perceptrons between a trunk and a self-supervised loss."""

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor, nn

from interngv.amateur.losses.base import BatchError


class Projector(nn.Sequential):
    """Linear layers of the given widths with batch norm and ReLU between them, (N, widths[0]) -> (N, widths[-1]).

    Args:
        widths: of the input, the hidden layers and the output.
        last_norm: whether a batch norm follows the last layer too.
    """

    def __init__(self, *widths: int, last_norm: bool = False) -> None:
        super().__init__(*_layers(widths, last_norm))

    def forward(self, features: Tensor) -> Tensor:
        """Raises BatchError in training for one sample, of which there are no batch statistics."""
        if self.training and len(features) < 2 and any(isinstance(layer, nn.BatchNorm1d) for layer in self):
            raise BatchError(
                f"{len(features)} sample a process: the projector's batch norm needs two to train on; give the loader "
                "a larger batch or drop its last one"
            )
        return super().forward(features)


def _layers(widths: tuple[int, ...], last_norm: bool) -> Iterator[nn.Module]:
    for place, (before, after) in enumerate(pairwise(widths), start=2):
        last = place == len(widths)
        norm = last_norm or not last
        yield nn.Linear(before, after, bias=not norm)  # a norm takes a bias away again
        if norm:
            yield nn.BatchNorm1d(after)
        if not last:
            yield nn.ReLU(inplace=True)
