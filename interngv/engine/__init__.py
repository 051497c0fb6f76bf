"""What all stages share: configs, launching, checkpoints, mixed precision, logs.

Importing this package registers its plug-ins and needs torch and mmengine only.
"""

from interngv.engine.checkpoints import CheckpointHook
from interngv.engine.multi_task import MultiTaskModel
from interngv.engine.optim_wrapper import AmpOptimWrapper
from interngv.engine.strategies import FSDPStrategy
from interngv.engine.vis_backend import CSVVisBackend
from interngv.errors import UserError

__all__ = ["AmpOptimWrapper", "CSVVisBackend", "CheckpointHook", "FSDPStrategy", "MultiTaskModel", "UserError"]
