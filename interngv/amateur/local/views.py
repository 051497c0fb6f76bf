"""Views of an image that know where they lie in it: what mmpretrain's ``MultiView`` does, and the places besides."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS as ROOT

from interngv.amateur.local.hosts import needs
from interngv.errors import did_you_mean
from interngv.registry import TRANSFORMS

_KEYS = ("crop", "flip", "photometric")


class _View(NamedTuple):
    crop: Any  # mmpretrain's RandomResizedCrop
    flip: float
    photometric: Compose


@TRANSFORMS.register_module()
class LocalViews:
    """Cuts views out of an image, flips them, changes their colours, and notes box and flip of each.

    Reads ``img`` (H, W, C); writes ``img``, a list of V views, ``view_boxes``, (V, 4) float32: x0, y0, x1, y1 in pixels
    of the image that was given, and ``view_flips``, (V,) bool. Both are handed over by
    ``PackInputs(algorithm_keys=('view_boxes', 'view_flips'))``. Random are numpy's and Python's global generators.

    Args:
        views: a dict a view, so that views may differ::

            view = dict(
                crop=dict(scale=224, crop_ratio_range=(0.2, 1.0)),  # what mmpretrain's RandomResizedCrop takes
                flip=0.5,  # probability that left and right are exchanged; 0 where it is left out
                photometric=[dict(type="mmpretrain.ColorJitter", brightness=0.4)],  # transforms that move nothing
            )
            dict(type="interngv.LocalViews", views=[view, view])

    Raises:
        ValueError: no views, an unknown key of one, no crop, a probability outside of 0 to 1; when called, a
            photometric transform that changed the size of a view.
        UserError: mmpretrain cannot be imported.
    """

    def __init__(self, views: Sequence[Mapping[str, Any]]) -> None:
        if not views:
            raise ValueError("views=[]: expected a dict a view, such as dict(crop=dict(scale=224), flip=0.5)")
        needs("mmpretrain", "cropping views")
        self.views = [_built(place, view) for place, view in enumerate(views)]

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        found = [_cut(results["img"], view) for view in self.views]
        results["img"] = [image for image, _, _ in found]
        results["view_boxes"] = torch.tensor([box for _, box, _ in found], dtype=torch.float32)
        results["view_flips"] = torch.tensor([flip for _, _, flip in found])
        return results


def _built(place: int, view: Mapping[str, Any]) -> _View:
    for key in view:
        if key not in _KEYS:
            hint = did_you_mean(str(key), _KEYS)
            raise ValueError(f"views[{place}].{key}: a view takes {', '.join(_KEYS)} only{hint}")
    if "crop" not in view:
        raise ValueError(f"views[{place}]: a view needs crop=dict(scale=...)")
    if not 0 <= (flip := view.get("flip", 0.0)) <= 1:
        raise ValueError(f"views[{place}].flip={flip}: expected a probability from 0 to 1")
    crop = ROOT.build({"type": "mmpretrain.RandomResizedCrop", **view["crop"]})
    return _View(crop, flip, Compose([dict(one) for one in view.get("photometric", ())]))


def _cut(image: np.ndarray, view: _View) -> tuple[np.ndarray, tuple[int, int, int, int], bool]:
    """A view, its box and its flip."""
    from mmcv import imresize

    crop = view.crop
    y, x, height, width = crop.rand_crop_params(image)
    size = tuple(crop.scale[::-1])
    cut = imresize(image[y : y + height, x : x + width], size, interpolation=crop.interpolation, backend=crop.backend)
    flip = bool(np.random.random() < view.flip)
    if flip:
        cut = np.ascontiguousarray(cut[:, ::-1])
    changed = view.photometric({"img": cut})["img"]
    if changed.shape[:2] != cut.shape[:2]:
        raise ValueError(
            f"a photometric transform made {changed.shape[:2]} of a view of {cut.shape[:2]}: what moves pixels belongs "
            "in front of LocalViews, else nobody knows where a view lies"
        )
    return changed, (x, y, x + width, y + height), flip
