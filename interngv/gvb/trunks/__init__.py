"""Any trunk for GV-B: what a user names at ``--trunk`` becomes a backbone config, its facts and its frozen module."""

from interngv.gvb.trunks.loading import build, fill, load, pooled, weights_sha256
from interngv.gvb.trunks.spec import TrunkSpec
from interngv.gvb.trunks.words import RANDOM, known, resolve

__all__ = ["RANDOM", "TrunkSpec", "build", "fill", "known", "load", "pooled", "resolve", "weights_sha256"]
