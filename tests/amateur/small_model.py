"""A small image-text model and batches for it: mn-mini on 32 x 32 pixels, two layers of text."""

from typing import Any

import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor

import interngv.amateur.image_tower
import interngv.amateur.losses
import interngv.amateur.model
import interngv.amateur.text_transformer  # noqa: F401

END = 49  # greatest id of a vocabulary of 50 that has no mask
TEXT = dict(vocab_size=51, end_id=END, embed_dim=16, context_length=12, width=32, layers=2, heads=2)
IMAGE = dict(trunk=dict(type="interngv.MetaNet", arch="mn-mini"), embed_dim=16)
GROUP: dict[str, dict[str, Any]] = dict(
    clip=dict(type="interngv.InfoNCE"),
    nn_text=dict(type="interngv.NearestNeighbourLoss", width=16, size=64),
    simsiam=dict(type="interngv.SimSiamLoss", width=1280, hidden=32),
    mlm=dict(type="interngv.MaskedTextLoss", width=32, vocab_size=51),
)
WEIGHTS = dict(clip=0.4, nn_text=0.2, simsiam=0.2, mlm=0.2)
CLIP: dict[str, dict[str, Any]] = dict(clip=dict(type="interngv.InfoNCE", pairs="first"))


def config(**changes: Any) -> dict[str, Any]:
    return {"type": "interngv.ImageTextModel", "image": IMAGE, "text": TEXT, "losses": CLIP, **changes}


def build(**changes: Any) -> Any:
    torch.manual_seed(0)
    model = MODELS.build(config(**changes))
    model.init_weights()
    return model


def captions(count: int, forms: int = 2) -> Tensor:
    """(count, forms, 12) ids: start, up to nine words, end, padding."""
    ids = torch.zeros(count, forms, 12, dtype=torch.long)
    for row in ids.view(-1, 12):
        length = int(torch.randint(1, 10, ()))
        row[0], row[1 : length + 1], row[length + 1] = 48, torch.randint(1, 48, (length,)), END
    return ids


def batch(count: int = 6, views: int = 2, forms: int = 2) -> tuple[list[Tensor], list[BaseDataElement]]:
    """Views of images and data samples with captions, their hashes, and one masked word each."""
    torch.manual_seed(1)
    samples = []
    for number, ids in enumerate(captions(count, forms)):
        masked, targets = ids[0].clone(), torch.full((12,), -100)
        masked[1], targets[1] = 50, ids[0][1]
        samples.append(BaseDataElement(text=ids, caption_id=number, masked_text=masked, masked_targets=targets))
    return [torch.randn(count, 3, 32, 32) for _ in range(views)], samples
