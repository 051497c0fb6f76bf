"""Probes: what a frozen trunk's features tell about the classes, from cached features alone (GV-B's protocols b to d).

One forward pass of the trunk gives features; a probe takes them as plain tensors, on CPU or GPU, and returns a
:class:`ProbeResult`. All but zero-shot choose their hyper-parameters in one way, never on the test set
(:mod:`interngv.gvb.probes.selection`).

    data = ProbeData(train=Samples(features, labels), test=Samples(features, labels), num_classes=10)
    result = sgd_grid(data)  # or logistic, ridge, knn
"""

from interngv.gvb.probes.closed_form import ridge
from interngv.gvb.probes.data import ProbeData, Samples
from interngv.gvb.probes.logistic_sweep import logistic
from interngv.gvb.probes.neighbours import knn
from interngv.gvb.probes.prompts import class_weights, zero_shot
from interngv.gvb.probes.result import ProbeResult
from interngv.gvb.probes.sgd import RELEASED, Schedule, sgd_grid

__all__ = [
    "RELEASED",
    "ProbeData",
    "ProbeResult",
    "Samples",
    "Schedule",
    "class_weights",
    "knn",
    "logistic",
    "ridge",
    "sgd_grid",
    "zero_shot",
]
