"""Several data sets and tasks in one run: the loader, the model on one trunk, the training step and the loops."""

from interngv.engine.multi_task.evaluation import MetaTestLoop, MetaValLoop
from interngv.engine.multi_task.loader import MetaBatch, MetaDataLoader, SourceBatch
from interngv.engine.multi_task.loop import MetaTrainLoop
from interngv.engine.multi_task.model import MultiTaskModel
from interngv.engine.multi_task.step import TaskStep

__all__ = [
    "MetaBatch",
    "MetaDataLoader",
    "MetaTestLoop",
    "MetaTrainLoop",
    "MetaValLoop",
    "MultiTaskModel",
    "SourceBatch",
    "TaskStep",
]
