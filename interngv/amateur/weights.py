"""Public image-text weights into our towers: CLIP's, open_clip's and DeCLIP's files, with a report.

``open_clip`` is the layout of OpenAI's CLIP and of those of open_clip's models that have the same towers: the image
tower below ``visual.``, the text tower's tensors bare or below ``text.``, ``logit_scale`` and, where the loss is a
sigmoid, ``logit_bias``. Known: tested against the installed library. A file does not say with which activation it was
trained; OpenAI's and DeCLIP's want ``quick_gelu``, most of open_clip's ``gelu``.

``declip`` is the layout of the release with DeCLIP (arXiv 2110.05208), of which no file was at hand:

* recalled from the released code, not checked: the towers are ``visual`` and ``encode_text``, copies of CLIP's, with
  CLIP's names inside; beside them stand ``logit_scale``, SimSiam's ``projector`` and ``predictor``, a predictor of
  words and banks of features;
* inferred: names begin with ``module.``, the entry is ``state_dict`` or ``model``, the text projection may be a linear
  layer with a bias where CLIP has a matrix, ``logit_scale`` may have the shape (1,).

Nothing rests on this silently: a tensor of a tower that finds no place is an error.
"""

import re
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from interngv.amateur.image_tower import ImageTower
from interngv.amateur.text_transformer import TextTransformer
from interngv.amateur.trunk_outputs import timm_or_self
from interngv.checkpoint import read_checkpoint, state_dict_of
from interngv.errors import UserError, did_you_mean
from interngv.gva import TimmTrunk
from interngv.gva.timm_trunk import by_timm
from interngv.load_report import LoadReport, StateDict, WeightsError, compare, listed

LAYOUTS = {"open_clip": "text.", "declip": "encode_text."}  # what may stand before the text tower's names
_TEXT = (
    "token_embedding",
    "positional_embedding",
    "transformer",
    "ln_final",
    "text_projection",
    "text_projection_bias",
)
_PROJECTION = re.compile(r"head\.(?:proj\.)?(weight|bias)")  # timm's names of CLIP's two forms
_MAY_LACK = ("image.token_projection.", "text.token_projection.", "logit_bias")


def load_public(model: nn.Module, path: str | Path, layout: str = "auto") -> LoadReport:
    """Fill an image-text model from a public file and print one line; the model is untouched where it raises.

    Args:
        model: has ``image`` (:class:`ImageTower` on a trunk of timm's), ``text`` (:class:`TextTransformer`),
            ``logit_scale`` (the log of the multiplier) and possibly ``logit_bias``; what else it has is left alone.
        path: a ``.pt``, ``.pth`` or ``.safetensors`` file.
        layout: ``'open_clip'``, ``'declip'``, or ``'auto'``, which tells them by their names.

    Returns:
        What was loaded, stayed new (token projections) and was not used (DeCLIP's projector, bank ...).

    Raises:
        UserError: the file cannot be read safely; an unknown layout; WeightsError, naming the tensors, where a tensor
            of the towers is not in the file or one of the file's towers has no place.
    """
    state = state_dict_of(read_checkpoint(path))
    given = public_tensors(model, _as_clip(state, layout))
    wanted = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(("image.", "text.")) or name in ("logit_scale", "logit_bias")
    }
    report = compare(wanted, given)
    _check(report, path)
    model.load_state_dict({name: given[name] for name in report.loaded}, strict=False)
    print_log(f"public weights {path}: {report}", logger="current")
    return report


def public_tensors(model: nn.Module, state: StateDict) -> dict[str, Tensor]:
    """A state dict with CLIP's names under the model's; what belongs to no tower keeps its name."""
    image, text = model.get_submodule("image"), model.get_submodule("text")
    assert isinstance(image, ImageTower) and isinstance(text, TextTransformer)
    given: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.partition(".")[0] in _TEXT:
            given[f"text.{name}"] = value
        elif not name.startswith("visual."):
            given[name] = value.reshape(()) if name.startswith("logit_") and value.numel() == 1 else value
    given |= _image_tensors(image, {name: value for name, value in state.items() if name.startswith("visual.")})
    if (table := given.get("text.token_embedding.weight")) is not None:
        given["text.token_embedding.weight"] = _with_own_rows(table, text)
    return given


def _as_clip(state: StateDict, layout: str) -> dict[str, Tensor]:
    """Names as in CLIP's file, whatever stands before them; a projection by a linear layer becomes a matrix."""
    state = {name.removeprefix("module."): value for name, value in state.items()}
    start = LAYOUTS[_layout(state) if layout == "auto" else _known(layout)]
    found = {name.removeprefix(start): value for name, value in state.items()}
    if (matrix := found.pop("text_projection.weight", None)) is not None:
        found["text_projection"] = matrix.T
    if (bias := found.pop("text_projection.bias", None)) is not None:
        found["text_projection_bias"] = bias
    return found


def _known(layout: str) -> str:
    if layout not in LAYOUTS:
        valid = ("auto", *LAYOUTS)
        raise UserError(f"layout {layout!r} is none of {', '.join(valid)}{did_you_mean(str(layout), valid)}")
    return layout


def _layout(state: StateDict) -> str:
    if any(name.startswith("visual.") for name in state):
        if any(name.startswith("encode_text.") for name in state):
            return "declip"
        if any(name.removeprefix("text.").startswith("token_embedding.") for name in state):
            return "open_clip"
    raise WeightsError(f"no image-text weights of a known layout ({', '.join(LAYOUTS)}){listed(state)}")


def _image_tensors(image: ImageTower, visual: StateDict) -> dict[str, Tensor]:
    trunk = image.trunk
    if not isinstance(trunk, TimmTrunk):
        raise WeightsError(
            f"public image-text weights fill trunks of timm, not {type(trunk).__name__}: give the tower "
            "dict(type='interngv.TimmTrunk', model_name='resnet50_clip'), or another of timm's *_clip*"
        )
    given: dict[str, Tensor] = {}
    for name, value in by_timm(visual, timm_or_self(trunk)).items():
        projection = _PROJECTION.fullmatch(name)
        given[f"image.projection.{projection[1]}" if projection else f"image.trunk.timm_model.{name}"] = value
    # timm gives CLIP's matrix a bias of zeros, which a projection without one needs not.
    bias = given.get("image.projection.bias")
    if bias is not None and image.projection.bias is None and not bias.any():
        del given["image.projection.bias"]
    return given


def _with_own_rows(table: Tensor, text: TextTransformer) -> Tensor:
    """The file's table of words; ids behind its last, the end, such as a mask word, keep the model's rows."""
    own = text.token_embedding.weight.detach()
    if table.shape[1:] != own.shape[1:] or not len(table) < len(own):
        return table
    if text.end_id != len(table) - 1:
        raise WeightsError(
            f"the file's vocabulary has {len(table)} words and ends with the end of a caption, the model's has "
            f"{len(own)} and its end is {text.end_id}: these are different vocabularies"
        )
    print_log(f"public weights: words {len(table)} to {len(own) - 1} are not in the file and stay", logger="current")
    return torch.cat([table.to(own), own[len(table) :]])


def _check(report: LoadReport, path: str | Path) -> None:
    lacking = [name for name in report.lacking if not name.startswith(_MAY_LACK)]
    lost = [name for name in report.dropped if name.startswith(("image.", "text."))]
    if lacking:
        raise WeightsError(f"public weights {path} do not fit: {report}")
    if lost:
        raise WeightsError(
            f"public weights {path}: {len(lost)} tensors of its towers have no place in the model{listed(lost)}; "
            "the trunk, the number of layers or projection_bias is another"
        )
