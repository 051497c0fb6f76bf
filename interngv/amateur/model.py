"""The image-text model of Up-A-G: two towers, a temperature, and a group of supervisions with their weights.

INTERN's Up-A-G is DeCLIP-like (arXiv 2110.05208). CLIP, SLIP, FILIP, DeFILIP and SigLIP are this model with other
losses.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS as ROOT
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn.functional import normalize

from interngv.amateur.losses.base import SupervisionLoss
from interngv.amateur.outputs import MaskedText, TowerOutputs
from interngv.errors import did_you_mean
from interngv.registry import MODELS

SCALE = {"start": 1 / 0.07, "least": 1.0, "most": 100.0}  # of cosine similarities, as in CLIP (section 2.5)


@MODELS.register_module()
class ImageTextModel(BaseModel):
    """An image tower and a text tower that learn one space.

    All views of the images go through their tower in one pass, as do all forms of the captions; batch norms see them
    together. Each loss is multiplied by its weight and logged by its name.

    Args:
        image: config of an :class:`interngv.amateur.image_tower.ImageTower`.
        text: config of a :class:`interngv.amateur.text_transformer.TextTransformer`.
        losses: by name, configs of supervisions: ``dict(clip=dict(type='interngv.InfoNCE'))``.
        weights: of losses, by the same names; 1 for those that it does not name.
        logit_scale: the multiplier of cosine similarities: ``start``, ``least``, ``most``. Its logarithm is learnt, and
            put back into these bounds before each use, so that its gradient never vanishes at one of them.
        logit_bias: start of a learnt bias of the similarities, which sigmoid losses have; None for none.
        tokenizer: config of the tokenizer for texts that come as texts; None where all come as ids.
        data_preprocessor: config; mmpretrain's ``SelfSupDataPreprocessor`` takes several views.
        init_cfg: mmengine's initialisation config.

    A data sample holds, for training, ``text``: (V, T) ids of a caption's forms; where a loss asks for masked words,
    ``masked_text`` and ``masked_targets``: (T,); and where captions may be equal, ``caption_id``.

    Raises:
        ValueError: no losses, a weight of a loss that there is not, bounds in the wrong order.
    """

    def __init__(
        self,
        image: Mapping[str, Any],
        text: Mapping[str, Any],
        losses: Mapping[str, Mapping[str, Any]],
        weights: Mapping[str, float] | None = None,
        logit_scale: Mapping[str, float] | None = None,
        logit_bias: float | None = None,
        tokenizer: Mapping[str, Any] | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.image = ROOT.build({"type": "interngv.ImageTower", **image})
        self.text = ROOT.build({"type": "interngv.TextTransformer", **text})
        if not losses:
            raise ValueError("losses={}: a model without a supervision learns nothing")
        self.losses = nn.ModuleDict({name: ROOT.build(dict(loss)) for name, loss in losses.items()})
        self.weights = dict.fromkeys(losses, 1.0) | _weights(weights or {}, losses)
        scale = {**SCALE, **(logit_scale or {})}
        self.bounds = (math.log(scale["least"]), math.log(scale["most"]))
        if set(scale) != set(SCALE) or not self.bounds[0] <= math.log(scale["start"]) <= self.bounds[1]:
            raise ValueError(f"logit_scale={dict(scale)}: expected least <= start <= most, all above 0")
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale["start"])))
        self.logit_bias = None if logit_bias is None else nn.Parameter(torch.tensor(float(logit_bias)))
        self.tokenizer = None if tokenizer is None else ROOT.build(dict(tokenizer))

    def forward(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Embeddings of images (``tensor``), losses by name (``loss``), or data samples with features (``predict``)."""
        views = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if mode == "tensor":
            return self.encode_image(views[0])
        if data_samples is None:
            raise ValueError(f"mode={mode!r} needs data samples with the captions")
        return self.loss(views, data_samples) if mode == "loss" else self.predict(views, data_samples)

    def encode_image(self, images: Tensor) -> Tensor:
        """(N, D) of length 1, of preprocessed images (N, C, H, W)."""
        return normalize(self.image(images).embedding.float(), dim=-1)

    def encode_text(self, texts: Sequence[str] | Tensor) -> Tensor:
        """(N, D) of length 1, of texts or their ids (N, T); ValueError for texts where the model has no tokenizer."""
        if not isinstance(texts, Tensor):
            if self.tokenizer is None:
                raise ValueError("the model has no tokenizer: give ids, or tokenizer=dict(...) to the model")
            texts = self.tokenizer(texts)
        return normalize(self.text(texts).embedding.float(), dim=-1)

    def loss(self, views: Sequence[Tensor], data_samples: Sequence[BaseDataElement]) -> dict[str, Tensor]:
        """``loss_NAME`` of each supervision, weighted, and the temperature's multiplier."""
        outputs = self.towers(views, data_samples)
        found = {f"loss_{name}": self.weights[name] * loss(outputs) for name, loss in self.losses.items()}
        return {**found, "logit_scale": outputs.logit_scale.detach()}

    @torch.no_grad()
    def predict(self, views: Sequence[Tensor], data_samples: Sequence[BaseDataElement]) -> Sequence[BaseDataElement]:
        """The data samples with ``image_feature`` (D,) and, where they have captions, ``text_features`` (V, D)."""
        for sample, feature in zip(data_samples, self.encode_image(views[0]), strict=True):
            sample.set_field(feature, "image_feature")
        captioned = [sample for sample in data_samples if "text" in sample]
        if captioned:
            texts = self.encode_text(torch.cat([sample.text for sample in captioned]))
            for sample, features in zip(captioned, texts.split([len(one.text) for one in captioned]), strict=True):
                sample.set_field(features, "text_features")
        return data_samples

    def towers(self, views: Sequence[Tensor], data_samples: Sequence[BaseDataElement]) -> TowerOutputs:
        """What the losses ask for, of as many views and forms as they need."""
        asked = [cast(SupervisionLoss, loss) for loss in self.losses.values()]
        tokens = any(loss.tokens for loss in asked)
        captions = torch.stack([sample.text for sample in data_samples], dim=1)  # (V, N, T)
        images = _first(views, max(loss.image_views for loss in asked), "views of the images")
        forms = _first(list(captions), max(loss.text_views for loss in asked), "forms of the captions")
        image = self.image(torch.cat(images), tokens=tokens)
        text = self.text(torch.cat(forms), tokens=tokens)
        hidden = any(loss.masked_text for loss in asked)
        return TowerOutputs(
            image=image.embedding.chunk(len(images)),
            pooled=image.pooled.chunk(len(images)),
            image_tokens=image.tokens.chunk(len(images)) if tokens else (),
            text=text.embedding.chunk(len(forms)),
            text_tokens=text.tokens.chunk(len(forms)) if tokens else (),
            text_lengths=text.lengths.chunk(len(forms)),
            logit_scale=self._scale(),
            logit_bias=self.logit_bias,
            caption_ids=_stacked(data_samples, "caption_id"),
            masked_text=self._masked_text(data_samples) if hidden else None,
        )

    def _scale(self) -> Tensor:
        with torch.no_grad():
            self.logit_scale.clamp_(*self.bounds)
        return self.logit_scale.exp()

    def _masked_text(self, data_samples: Sequence[BaseDataElement]) -> MaskedText:
        ids, targets = (_stacked(data_samples, key) for key in ("masked_text", "masked_targets"))
        if ids is None or targets is None:
            raise ValueError(
                "a loss guesses masked words, and the samples have none: mask=True in the pipeline's caption"
            )
        words = self.text(ids, words=True).words
        return MaskedText(words, targets.to(words.device))


def _weights(given: Mapping[str, float], losses: Mapping[str, Any]) -> dict[str, float]:
    for name, weight in given.items():
        if name not in losses:
            raise ValueError(f"weights.{name}: there is no such loss{did_you_mean(name, losses)}; {', '.join(losses)}")
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not math.isfinite(weight):
            raise ValueError(f"weights.{name}={weight!r}: expected a number")
    return {name: float(weight) for name, weight in given.items()}


def _first(given: Sequence[Tensor], count: int, what: str) -> list[Tensor]:
    if len(given) < count:
        raise ValueError(f"the losses need {count} {what}, the pipeline gives {len(given)}")
    return list(given[: max(count, 1)])


def _stacked(data_samples: Sequence[BaseDataElement], key: str) -> Tensor | None:
    """A field of all samples (N, ...); None where none has it."""
    found = [getattr(sample, key) for sample in data_samples if key in sample]
    return torch.stack([torch.as_tensor(one) for one in found]) if len(found) == len(data_samples) else None
