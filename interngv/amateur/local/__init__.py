"""Up-A-L: views that know where they lie, two forms of matching them, and the model that learns from it."""

from interngv.amateur.local.boxes import BoxMatching
from interngv.amateur.local.dense import DenseMatching
from interngv.amateur.local.geometry import ViewGeometry
from interngv.amateur.local.matching import LocalMatching, SeenView
from interngv.amateur.local.model import LocalSelfSupervision
from interngv.amateur.local.views import LocalViews

__all__ = [
    "BoxMatching",
    "DenseMatching",
    "LocalMatching",
    "LocalSelfSupervision",
    "LocalViews",
    "SeenView",
    "ViewGeometry",
]
