"""Registries of interngv: children of mmengine's roots with the scope ``interngv``.

A host project (mmpretrain, mmdet, mmsegmentation or plain mmengine) sees everything that is registered here after
``custom_imports = dict(imports=['interngv'])`` and names it with the scope prefix: ``dict(type='interngv.MetaNet')``.
``locations`` lists the modules whose import registers the plug-ins; mmengine imports them on the first look-up.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry

DATASETS = Registry(
    "dataset",
    parent=MMENGINE_DATASETS,
    scope="interngv",
    locations=["interngv.gvb.layouts.depth_pairs", "interngv.amateur"],
)
HOOKS = Registry("hook", parent=MMENGINE_HOOKS, scope="interngv", locations=["interngv.engine"])
LOOPS = Registry("loop", parent=MMENGINE_LOOPS, scope="interngv", locations=["interngv.engine"])
METRICS = Registry(
    "metric", parent=MMENGINE_METRICS, scope="interngv", locations=["interngv.gvb.metrics", "interngv.amateur"]
)
MODELS = Registry(
    "model",
    parent=MMENGINE_MODELS,
    scope="interngv",
    locations=["interngv.gva", "interngv.engine", "interngv.gvb", "interngv.amateur"],
)
OPTIM_WRAPPERS = Registry(
    "optim_wrapper", parent=MMENGINE_OPTIM_WRAPPERS, scope="interngv", locations=["interngv.engine"]
)
STRATEGIES = Registry("strategy", parent=MMENGINE_STRATEGIES, scope="interngv", locations=["interngv.engine"])
TRANSFORMS = Registry("transform", parent=MMENGINE_TRANSFORMS, scope="interngv", locations=["interngv.amateur"])
VISBACKENDS = Registry("vis_backend", parent=MMENGINE_VISBACKENDS, scope="interngv", locations=["interngv.engine"])
WEIGHT_INITIALIZERS = Registry(
    "weight initializer", parent=MMENGINE_WEIGHT_INITIALIZERS, scope="interngv", locations=["interngv.gva"]
)
