"""What the losses of the group share: what a loss says that it needs, the checks of a batch, unit features."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from interngv.amateur.outputs import TowerOutputs
from interngv.errors import UserError, did_you_mean


class BatchError(UserError, ValueError):
    """A batch on which a loss is not defined."""


class SupervisionLoss(nn.Module):
    """One supervision of the group; the model adds their weighted sum up.

    On several processes every one returns its share, and the mean of the shares, as of their gradients, which is what
    DDP takes, is that of one process with the whole batch (but for batch norms, whose statistics are each process's).

    Attributes:
        image_views: how many views of every image must be encoded.
        text_views: how many forms of every caption must be.
        tokens: whether features of single cells and words are needed.
        masked_text: whether captions with masked words must be encoded.
    """

    image_views = 0
    text_views = 0
    tokens = False
    masked_text = False

    def forward(self, outputs: TowerOutputs) -> Tensor:
        """(), not yet weighted."""
        raise NotImplementedError

    def paired(self, outputs: TowerOutputs) -> tuple[list[Tensor], list[Tensor]]:
        """Unit features (n, D) of the images' views and of the captions' forms that this loss needs.

        Raises:
            ValueError: too few views, or another number of captions than of images.
        """
        images = self.needed(outputs.image, self.image_views, "image views")
        texts = self.needed(outputs.text, self.text_views, "text forms")
        counts = sorted({len(features) for features in (*images, *texts)})
        if len(counts) > 1:
            raise ValueError(f"{type(self).__name__} needs as many captions as images, got {counts}")
        return [unit(image) for image in images], [unit(text) for text in texts]

    def needed(self, features: tuple[Tensor, ...], count: int, what: str) -> tuple[Tensor, ...]:
        """The first ``count``; raises ValueError where there are fewer."""
        if len(features) < count:
            raise ValueError(f"{type(self).__name__} needs {count} {what}, got {len(features)}")
        return features[:count]


def unit(features: Tensor) -> Tensor:
    """Features of length 1 along the last axis, in float32 at least."""
    return normalize(at_least_single(features), dim=-1)


def at_least_single(values: Tensor) -> Tensor:
    """In float32 where it was half precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def check_choice(name: str, given: str, valid: tuple[str, ...]) -> str:
    """The argument itself; raises ValueError where it is none of the valid ones."""
    if given not in valid:
        raise ValueError(f"{name}={given!r}: expected one of {', '.join(valid)}{did_you_mean(str(given), valid)}")
    return given
