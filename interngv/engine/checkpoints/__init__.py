"""Checkpoints of a run: written whole or not at all, resumed exactly, found again after a crash, converted.

``runner`` saves and resumes, ``hook`` decides when, ``latest`` finds the one to go on from, ``loading`` makes mmengine
read safely, ``signals`` and ``lock`` guard a run, ``convert`` speaks with host projects. How a checkpoint lies on disk
is :mod:`interngv.checkpoint.directory`'s matter.
"""

from interngv.engine.checkpoints.convert import convert
from interngv.engine.checkpoints.hook import CheckpointHook
from interngv.engine.checkpoints.latest import latest_checkpoint
from interngv.engine.checkpoints.loading import match, require_some, require_state, require_whole, safe_loading
from interngv.engine.checkpoints.lock import work_dir_lock
from interngv.engine.checkpoints.runner import KeepsCheckpoints
from interngv.engine.checkpoints.signals import Interrupted, interruption

__all__ = [
    "CheckpointHook",
    "Interrupted",
    "KeepsCheckpoints",
    "convert",
    "interruption",
    "latest_checkpoint",
    "match",
    "require_some",
    "require_state",
    "require_whole",
    "safe_loading",
    "work_dir_lock",
]
