"""Cached features: what a frozen trunk says of every picture of a data set, computed once."""

from interngv.gvb.features.cache import FeatureSet, extract

__all__ = ["FeatureSet", "extract"]
