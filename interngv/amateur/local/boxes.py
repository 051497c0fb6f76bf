"""Local self-supervision on boxes: the same box of the image, cut out of the maps of two views.

After SoCo (Wei et al., NeurIPS 2021, arXiv 2106.02637, section 3), which trains a detector's parts with the trunk: FPN,
RoIAlign and the two layers behind it. Of its boxes' jitter and its search for proposals nothing is here: the proposals
come with the samples, or boxes are random.
"""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS as ROOT
from torch import Tensor, nn

from interngv.amateur.local.box_sources import Boxes, proposed_boxes, random_boxes
from interngv.amateur.local.geometry import ViewGeometry
from interngv.amateur.local.hosts import needs
from interngv.amateur.local.matching import LocalMatching, SeenView, disagreement, each, spread
from interngv.amateur.losses.base import check_choice
from interngv.amateur.losses.projectors import Projector
from interngv.registry import MODELS

SOURCES = ("random", "proposals")


class BoxProjector(nn.Module):
    """Maps and boxes to projections: RoIAlign, two linear layers, a projector.

    ``shared_fcs`` has the names and shapes of mmdet's ``Shared2FCBBoxHead``, which can start from it.
    """

    def __init__(
        self, width: int, strides: Sequence[int], finest_scale: float, cells: int, head: int, hidden: int, out: int
    ) -> None:
        super().__init__()
        needs("mmdet", "BoxMatching")
        align = dict(type="RoIAlign", output_size=cells, sampling_ratio=0)
        extractor = dict(type="mmdet.SingleRoIExtractor", roi_layer=align, out_channels=width)
        self.extractor = ROOT.build(dict(extractor, featmap_strides=list(strides), finest_scale=finest_scale))
        self.shared_fcs = nn.ModuleList((nn.Linear(width * cells**2, head), nn.Linear(head, head)))
        self.projector = Projector(head, hidden, out)

    def forward(self, maps: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
        """(N, K, D) of boxes (N, K, 4) in the view's pixels."""
        images = torch.arange(len(boxes), device=boxes.device).repeat_interleave(boxes.shape[1])
        features = self.extractor(maps, torch.cat((images[:, None].to(boxes), boxes.flatten(0, 1)), 1)).flatten(1)
        for layer in self.shared_fcs:
            features = layer(features).relu()
        return self.projector(features).unflatten(0, boxes.shape[:2])


@MODELS.register_module()
class BoxMatching(LocalMatching):
    """A box in one view predicts the projection of the same box in another view.

        L = mean over boxes of 2 - 2 cos(predictor(projector(box in x)), target projector(box in y))

    The mean is over an image's boxes, then over images. A box counts where it lies in both views and is, in either, as
    large as a cell of the finest map. An image has ``count`` places for boxes; one that stays free holds the whole view
    and counts for nothing, so that every process runs the same layers whatever its boxes are.

    Args:
        width: C, channels of the maps.
        strides: of the maps, in the view's pixels.
        source: ``'random'`` draws boxes in what both views show, ``'proposals'`` takes those of the data samples: their
            field ``proposals``, (M, 4) in pixels of the images.
        count: K.
        finest_scale: boxes of at least twice this many pixels go to the second map, of four times to the third ... The
            16 are the 56 of FPN (arXiv 1612.03144, section 4.2), whose images have 800 pixels, at views of 224.
        cells: of RoIAlign, across and down.
        head: width of the two layers behind RoIAlign.
        hidden: width of the layer inside projector and predictor.
        out: D.

    Logs ``boxes``, how many an image count, ``boxes_dropped``, how many do not for they lie in one view only or are
    small, and ``spread`` (:func:`interngv.amateur.local.matching.spread`).
    Raises ValueError for an unknown source; UserError where mmdet cannot be imported.
    """

    def __init__(
        self,
        width: int = 256,
        strides: Sequence[int] = (4, 8, 16, 32),
        source: str = "random",
        count: int = 4,
        finest_scale: float = 16,
        cells: int = 7,
        head: int = 1024,
        hidden: int = 4096,
        out: int = 256,
    ) -> None:
        projector = BoxProjector(width, strides, finest_scale, cells, head, hidden, out)
        super().__init__(width, projector, hidden, out)
        self.source = check_choice("source", source, SOURCES)
        self.strides, self.count = tuple(strides), count

    def forward(
        self, online: SeenView, target: SeenView, projector: nn.Module, proposals: list[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As :meth:`LocalMatching.forward`.

        Raises:
            ValueError: as there; maps of other strides; no proposals where they are wanted.
        """
        self.check(online.maps)
        for view in (online, target):
            self._check_strides(view)
        found = self._boxes(online.geometry, target.geometry, proposals)
        predictions = each(self.predictor, self.projector(online.maps, _placed(found, online.geometry)))
        with torch.no_grad():
            goals = projector(target.maps, _placed(found, target.geometry))
        loss = disagreement(predictions, goals, found.valid.diag_embed())
        used = found.valid.sum() / len(found.valid)
        return loss, {"boxes": used, "boxes_dropped": found.dropped, "spread": spread(goals)}

    def _check_strides(self, view: SeenView) -> None:
        height, width = view.geometry.size
        grids = [tuple(one.shape[-2:]) for one in view.maps]
        fits = [
            abs(h * stride - height) < stride and abs(w * stride - width) < stride
            for (h, w), stride in zip(grids, self.strides, strict=False)
        ]
        if len(grids) != len(self.strides) or not all(fits):
            raise ValueError(
                f"strides={self.strides}, and a view of {height} x {width} pixels has maps of {grids} cells"
            )

    def _boxes(self, first: ViewGeometry, second: ViewGeometry, proposals: list[Tensor] | None) -> Boxes:
        if self.source == "random":
            return random_boxes(first, second, self.count, self.strides[0])
        if proposals is None:
            raise ValueError(
                "BoxMatching(source='proposals'): the samples have none; PackInputs(algorithm_keys=('view_boxes', "
                "'view_flips', 'proposals')) hands them over"
            )
        return proposed_boxes(first, second, self.count, self.strides[0], proposals)


def _placed(found: Boxes, geometry: ViewGeometry) -> Tensor:
    """(N, K, 4) the boxes in a view's pixels; the whole view where a place is free."""
    height, width = geometry.size
    whole = found.boxes.new_tensor([0, 0, width, height])
    return torch.where(found.valid[..., None], geometry.project(found.boxes), whole)
