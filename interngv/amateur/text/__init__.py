"""Captions as strings and ids: tokenizer, augmentation, masking. Importing it needs torch and mmengine only."""

from interngv.amateur.text.augment import TextAugment
from interngv.amateur.text.masking import mask_tokens
from interngv.amateur.text.tokenizer import BPETokenizer

__all__ = ["BPETokenizer", "TextAugment", "mask_tokens"]
