"""Up-A-L: local self-supervision that adapts a trained Up-A-G trunk to dense prediction.

INTERN (arXiv 2111.08687) says of Up-A-L that it is local, self-supervised and starts from the trained vision-language
model; its loss is not public. What stands here is inferred [I]: BYOL (arXiv 2006.07733), between places of two views
instead of whole images, in one of two forms: :class:`BoxMatching` after SoCo (arXiv 2106.02637), the one local method
of which INTERN's group released code at that time, and :class:`DenseMatching` after PixPro (arXiv 2011.10043). A second
term, inferred as well, keeps the global ability: the trunk's pooled feature stays where the frozen Up-A-G tower has the
same view in the space of images and texts.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import MODELS as ROOT
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from interngv.amateur.image_tower import ImageTower
from interngv.amateur.local.hosts import needs
from interngv.amateur.local.matching import SeenView
from interngv.amateur.local.networks import LocalNetwork
from interngv.amateur.local.samples import geometries, proposals
from interngv.amateur.losses.base import unit
from interngv.registry import MODELS


@MODELS.register_module()
class LocalSelfSupervision(BaseModel):
    """A trunk that learns to see one place of an image alike in all of its views.

    The stage hand-off fills the trunk and its teacher from a checkpoint of Up-A-G::

        upstream = dict(config="configs/up_a/...", select={"image.trunk": "trunk", "image": "teacher"})

    The target network is a copy of trunk, neck and projector. It is set equal to them at the first step, whatever
    filled them, and follows at the start of every step with mmpretrain's ``CosineEMA``, whose count of steps is in the
    checkpoint.

    For zero-shot, an image-text model takes ``trunk.*`` of this model's checkpoint as its ``image.trunk.*`` and all
    else, the image's projection too, from Up-A-G's.

    Args:
        trunk: a backbone's config: Up-A-G's, possibly with other ``out_indices``. A distillation needs the maps or
            layers from which Up-A-G pools its feature to be the last.
        matching: config of a :class:`DenseMatching` or a :class:`BoxMatching`.
        levels: which of the trunk's maps are compared, the finest first. None takes the one map, or the patches, that
            the trunk's pooling sees.
        neck: config of what joins the levels, such as mmdet's ``FPN``.
        momentum: of the target network at the first step; it goes to 1 by a half cosine over the training.
        distillation: ``weight`` of the term 1 - cos to the teacher's embedding, and what an
            :class:`interngv.amateur.image_tower.ImageTower` takes beside its trunk: ``embed_dim``, ``projection_bias``.
            Without it, or with a weight of 0, no teacher is built.
        data_preprocessor: config; mmpretrain's ``SelfSupDataPreprocessor`` takes several views.
        init_cfg: mmengine's initialisation config.

    A data sample holds ``view_boxes`` (V, 4) and ``view_flips`` (V,), which :class:`LocalViews` makes, and where the
    matching asks for them ``proposals`` (M, 4). Batch norms see one view at a time, for views may differ in size.

    Raises:
        ValueError: a momentum outside of 0 to 1, a weight that is no number from 0 up.
        UserError: mmpretrain, or what the matching is built on, cannot be imported.
    """

    def __init__(
        self,
        trunk: Mapping[str, Any],
        matching: Mapping[str, Any],
        levels: Sequence[int] | None = None,
        neck: Mapping[str, Any] | None = None,
        momentum: float = 0.99,
        distillation: Mapping[str, Any] | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if not 0 < momentum < 1:
            raise ValueError(f"momentum={momentum}: expected a share of the target that stays, between 0 and 1")
        self.trunk = ROOT.build(dict(trunk))
        self.neck = None if neck is None else ROOT.build(dict(neck))
        self.matching = ROOT.build(dict(matching))
        self.levels = None if levels is None else tuple(levels)
        needs("mmpretrain", "the target network's momentum")
        self.target = ROOT.build(dict(type="mmpretrain.CosineEMA", model=self._online(), momentum=1 - momentum))
        self.distillation_weight, self.teacher = _weight_and_teacher(trunk, distillation or {"weight": 0})

    def forward(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Maps of the first view behind the neck (``tensor``), or losses and figures by name (``loss``).

        Raises:
            ValueError: another mode; see :func:`interngv.amateur.local.samples.geometries` and the matching's.
        """
        views = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if mode == "tensor":
            return self._online()(views[0])[1]
        if mode != "loss":
            raise ValueError(f"mode={mode!r}: LocalSelfSupervision has 'tensor' and 'loss'")
        return self.loss(views, data_samples or ())

    def loss(self, views: Sequence[Tensor], data_samples: Sequence[BaseDataElement]) -> dict[str, Tensor]:
        """``loss_local``, a mean over all ordered pairs of views; the matching's figures; ``loss_global``, weighted."""
        places = geometries(views, data_samples)
        boxes = proposals(data_samples, views[0].device)
        if self.training:
            self._follow()
        pooled, maps = zip(*map(self._online(), views), strict=True)
        with torch.no_grad():
            goals = [self.target(view)[1] for view in views]
        losses = self._compared(list(map(SeenView, maps, places)), list(map(SeenView, goals, places)), boxes)
        if self.teacher is not None:
            losses["loss_global"] = self.distillation_weight * self._distillation(views, pooled)
        return losses

    def train(self, mode: bool = True) -> "LocalSelfSupervision":
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def _online(self) -> LocalNetwork:
        return LocalNetwork(self.trunk, self.levels, self.neck, self.matching.projector)

    def _follow(self) -> None:
        if not MessageHub.get_current_instance().get_info("max_iters"):
            raise ValueError(
                "the target's momentum follows the length of the training, which is not known; outside of mmengine's "
                "Runner, say MessageHub.get_current_instance().update_info('max_iters', STEPS)"
            )
        self.target.update_parameters(self._online())

    def _compared(
        self, online: list[SeenView], target: list[SeenView], boxes: list[Tensor] | None
    ) -> dict[str, Tensor]:
        found = [
            self.matching(online[one], target[other], self.target.module.projector, boxes)
            for one, other in permutations(range(len(online)), 2)
        ]
        figures = {name: torch.stack([logged[name] for _, logged in found]).mean() for name in found[0][1]}
        return {"loss_local": torch.stack([loss for loss, _ in found]).mean(), **figures}

    def _distillation(self, views: Sequence[Tensor], pooled: Sequence[Tensor]) -> Tensor:
        """() mean of 1 - cos between both trunks' embeddings of a view, through the one frozen projection."""
        assert self.teacher is not None
        terms = []
        for view, feature in zip(views, pooled, strict=True):
            with torch.no_grad():
                goal = unit(self.teacher(view).embedding)
            terms.append(1 - (unit(self.teacher.projection(feature)) * goal).sum(1).mean())
        return torch.stack(terms).mean()


def _weight_and_teacher(trunk: Mapping[str, Any], distillation: Mapping[str, Any]) -> tuple[float, ImageTower | None]:
    tower = dict(distillation)
    weight = tower.pop("weight", None)
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight < math.inf:
        raise ValueError(f"distillation.weight={weight!r}: expected a number from 0 up")
    if not weight:
        return 0.0, None
    teacher = ImageTower(trunk, **tower)
    return float(weight), teacher.requires_grad_(False).eval()
