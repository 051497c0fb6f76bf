"""Zero-shot classification with prompts (CLIP: Radford et al., ICML 2021, section 3.1.4): no training sample is used.

A class's weights are the mean of the normalised text features of its name in every prompt template, normalised again; a
picture goes to the class with the highest cosine similarity.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from interngv.errors import UserError, did_you_mean
from interngv.gvb.probes.data import METRICS, check_finite, checked
from interngv.gvb.probes.result import ProbeResult, result_of

EncodeText = Callable[[list[str]], Tensor]


def class_weights(encode_text: EncodeText, class_names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """(K, D) weights of unit length, one row a class.

    Args:
        encode_text: features (n, D) of n texts.
        class_names: K different names, in the order of the labels.
        templates: prompts with ``{}`` where the name goes, such as ``'a photo of a {}.'``.

    Raises:
        UserError: no class or template, a class twice, a template without ``{}``, text features of another shape, that
            are not finite, or that cancel out over the templates.
    """
    _check_texts(class_names, templates)
    means = []
    for name in class_names:
        texts = [template.replace("{}", name) for template in templates]
        features = encode_text(texts).detach()
        if features.ndim != 2 or len(features) != len(texts):
            raise UserError(
                f"encode_text gave {tuple(features.shape)} for {len(texts)} texts; expected ({len(texts)}, D)"
            )
        check_finite(f"class {name!r}: template", features)
        means.append(normalize(features.float()).mean(0))
    weights = torch.stack(means)
    if len(zero := (weights.norm(dim=1) == 0).nonzero()):
        raise UserError(f"class {class_names[int(zero[0])]!r}: its text features are zero or cancel out")
    return normalize(weights)


def zero_shot(test: tuple[Tensor, Tensor], weights: Tensor, metric: str = "accuracy") -> ProbeResult:
    """Scores of the classes with the highest cosine similarity.

    Args:
        test: features (N, D) in the space that pictures and texts share, and labels (N,).
        weights: (K, D) of :func:`class_weights`, which need not be of unit length.
        metric: the task's own, ``'accuracy'`` or ``'per_class'``.

    Raises:
        UserError: as for :class:`interngv.gvb.probes.data.ProbeData`; weights of another width.
    """
    start = time.perf_counter()
    if metric not in METRICS:
        raise UserError(f"metric {metric!r} is none of {', '.join(METRICS)}{did_you_mean(str(metric), METRICS)}")
    samples = checked("test", test, len(weights))
    check_finite("class weights: row", weights)
    if weights.ndim != 2 or weights.shape[1] != samples.features.shape[1]:
        raise UserError(
            f"class weights {tuple(weights.shape)} do not fit features that are {samples.features.shape[1]} wide"
        )
    # The length of a picture's features changes no order among the classes.
    predicted = (samples.features @ normalize(weights).to(samples.features).T).argmax(1)
    return result_of(predicted, samples.labels, len(weights), metric, start)


def _check_texts(class_names: Sequence[str], templates: Sequence[str]) -> None:
    if not class_names or not templates:
        raise UserError(f"zero-shot needs class names and templates, got {len(class_names)} and {len(templates)}")
    if twice := [name for name, count in Counter(class_names).items() if count > 1]:
        raise UserError(f"class name {twice[0]!r} stands for more than one class; zero-shot cannot tell them apart")
    if bad := [template for template in templates if "{}" not in template]:
        raise UserError(f"template {bad[0]!r} has no {{}} for the class name; expected such as 'a photo of a {{}}.'")
