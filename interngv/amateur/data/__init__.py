"""Image-text data: the data set of pairs and the transform of their captions. Needs torch and mmengine only."""

from interngv.amateur.data.caption import EncodeCaption
from interngv.amateur.data.pair_file import PairFile, PairFileError
from interngv.amateur.data.pairs import ImageTextPairs

__all__ = ["EncodeCaption", "ImageTextPairs", "PairFile", "PairFileError"]
