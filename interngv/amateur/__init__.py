"""Up-A, the amateur stage: the image-text model, its supervisions, texts, data and retrieval metric.

Importing this package registers its plug-ins and needs torch and mmengine only.
"""

from interngv.amateur.data import EncodeCaption, ImageTextPairs
from interngv.amateur.image_tower import ImageTower
from interngv.amateur.local import LocalSelfSupervision
from interngv.amateur.losses import SupervisionLoss
from interngv.amateur.model import ImageTextModel
from interngv.amateur.outputs import MaskedText, TowerOutputs
from interngv.amateur.retrieval import RetrievalRecall
from interngv.amateur.text import BPETokenizer
from interngv.amateur.text_transformer import TextTransformer

__all__ = [
    "BPETokenizer",
    "EncodeCaption",
    "ImageTextModel",
    "ImageTextPairs",
    "ImageTower",
    "LocalSelfSupervision",
    "MaskedText",
    "RetrievalRecall",
    "SupervisionLoss",
    "TextTransformer",
    "TowerOutputs",
]
