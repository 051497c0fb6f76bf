"""What a user may write at ``--trunk``, and what it becomes.

* a trunk of the suite's config: ``trunks=dict(NAME=dict(backbone=dict(...), mean=[...], std=[...], ...))``
* an arch of :data:`interngv.gva.ARCHS`: ``mn-b4``
* a row of ``facts/baselines.yml``: ``efficientnet-lite0``, ``swav``
* ``timm:NAME``: any timm model
* a config of interngv, such as a stage's: its model's trunk, by default with the last weights of its own work dir
* ``mmpretrain:CONFIG``, ``mmdet:CONFIG``, ``mmseg:CONFIG``: the backbone of a config that the library ships
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import ConfigDict

from interngv.compat import HOSTS, spec
from interngv.engine import handoff
from interngv.engine.checkpoints.latest import latest_checkpoint
from interngv.engine.config import load_config
from interngv.errors import ConfigError, UserError, did_you_mean, nearest
from interngv.gva import ARCHS, timm_trunk
from interngv.gva.archs import parse_arch
from interngv.gvb.trunks import measure
from interngv.gvb.trunks.spec import TrunkSpec
from interngv.gvd import open_data

# Of the released GV-B configs (and of torchvision): ImageNet's.
IMAGENET: dict[str, Any] = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), to_rgb=True)
RANDOM = "random"
_LIBRARIES = ("mmpretrain", "mmdet", "mmseg")
_KEYS = ("backbone", "mean", "std", "to_rgb", "img_size", "out_indices", "rewrites", "by_order", "checkpoint", "pack")
_IMAGE_TEXT = "image_text"
_FACTS = ("title", "weights", "licence", "source", "confidence")


def resolve(word: str, checkpoint: str | None = None, trunks: Mapping[str, Any] | None = None) -> TrunkSpec:
    """The trunk that a user names, with its outputs measured; its weights are looked for, not read.

    Args:
        word: see the module's docstring.
        checkpoint: file or folder of its weights; ``'random:SEED'`` for an untrained trunk, ``'random'`` for one that
            every try draws anew. Needed for all but those whose row names a pack of open data, which is then fetched,
            with a line that says so.
        trunks: of the suite's config.

    Raises:
        UserError: an unknown name (the nearest is named), no weights given (the message says where they are), or a
            backbone that gives no feature.
    """
    row = _row(word, trunks or {})
    backbone, side = row["backbone"], row.get("img_size", 224)
    path, seed = _weights(word, checkpoint or row.get("checkpoint"), row)
    width, pooling = measure.pooled_width(word, backbone, side)
    maps = measure.dense_maps(backbone, side, row.get("out_indices"))
    normalisation = IMAGENET | {key: row[key] for key in IMAGENET if key in row}
    return TrunkSpec(
        name=word,
        backbone=backbone,
        width=width,
        pooling=pooling,
        img_size=side,
        mean=tuple(map(float, normalisation["mean"])),
        std=tuple(map(float, normalisation["std"])),
        to_rgb=bool(normalisation["to_rgb"]),
        **maps._asdict(),
        checkpoint=path,
        seed=seed,
        rewrites=tuple((pattern, text) for pattern, text in row.get("rewrites") or ()),
        by_order=bool(row.get("by_order")),
        image_text=row.get(_IMAGE_TEXT),
        source=row.get("weights"),
        licence=row.get("licence"),
    )


@cache
def baselines() -> dict[str, dict[str, Any]]:
    """The rows of ``facts/baselines.yml`` by name."""
    text = resources.files("interngv.gvb").joinpath("facts/baselines.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def known(trunks: Iterable[str] = ()) -> list[str]:
    """The names that need no prefix: the suite's own, archs, baselines."""
    return [*trunks, *ARCHS, *baselines()]


def _row(word: str, trunks: Mapping[str, Any]) -> dict[str, Any]:
    library, colon, name = word.partition(":")
    if word in trunks:
        return _checked(word, trunks[word])
    if word in ARCHS:
        levels = len(ARCHS[word].level_stages)  # the projected map comes behind them, for classification
        backbone = dict(type="interngv.MetaNet", arch=word)
        return dict(backbone=backbone, img_size=ARCHS[word].img_size, out_indices=tuple(range(levels)))
    if word in baselines():
        return baselines()[word]
    if colon and library == "timm":
        return _timm(name)
    if colon and library in _LIBRARIES:
        return _of_library(library, name)
    if word.endswith(".py") or "/" in word:
        return _of_config(word)
    hint = did_you_mean(library, ("timm", *_LIBRARIES)) if colon else did_you_mean(word, known(trunks))
    raise UserError(
        f"unknown trunk '{word}'{hint}; known: {', '.join(known(trunks))}, timm:NAME, mmpretrain:CONFIG, a config"
    )


def _checked(word: str, row: Any) -> dict[str, Any]:
    if not isinstance(row, Mapping) or not isinstance(row.get("backbone"), Mapping):
        raise ConfigError(f"trunks.{word}: expected dict(backbone=dict(type=...), ...)")
    valid = (*_KEYS, *_FACTS)
    for key in row:
        if key not in valid:
            raise ConfigError(f"trunks.{word}.{key}: unknown key{did_you_mean(key, valid)}; valid: {', '.join(valid)}")
    plain = row.to_dict() if isinstance(row, ConfigDict) else dict(row)
    return plain | dict(backbone=dict(plain["backbone"]))


def _timm(name: str) -> dict[str, Any]:
    """A row from timm's own table: input size, normalisation, where its weights are."""
    timm_trunk.check_name(name)
    facts = timm_trunk.library().get_pretrained_cfg(name)
    row: dict[str, Any] = dict(backbone=dict(type="interngv.TimmTrunk", model_name=name))
    if facts is None:
        return row
    page = f"https://huggingface.co/{facts.hf_hub_id}" if facts.hf_hub_id else facts.url
    return row | dict(
        img_size=facts.input_size[-1],
        mean=tuple(255 * value for value in facts.mean),
        std=tuple(255 * value for value in facts.std),
        weights=page,
        licence=facts.license,
    )


def _of_config(word: str) -> dict[str, Any]:
    """The trunk of a config's model: of a stage, of an image-text model, or of a host's."""
    cfg = load_config(word)
    model = ConfigDict(cfg.get("model") or {}).to_dict()
    image = model.get("image") or {}
    backbone = model.get("trunk") or model.get("backbone") or image.get("trunk")
    if not isinstance(backbone, Mapping):
        raise UserError(f"trunk {word}: the config's model has no trunk, backbone or image tower")
    last = latest_checkpoint(handoff.work_dir(cfg))
    weights = dict(checkpoint=str(last)) if last else {}
    given = model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    scope = cfg.get("default_scope")
    row = dict(backbone=_without_weights(backbone, scope), **_normalisation(given), **weights)
    if backbone.get("type") == "interngv.MetaNet":  # the projected map behind the last level is for classification
        row["out_indices"] = tuple(range(len(parse_arch(backbone.get("arch", "mn-b4")).level_stages)))
    return row | ({_IMAGE_TEXT: _without_weights(model, scope)} if image and model.get("text") else {})


def _without_weights(backbone: Mapping[str, Any], scope: str | None) -> dict[str, Any]:
    """Weights come from --checkpoint; these keys would fetch some."""
    plain = {key: value for key, value in backbone.items() if key not in ("init_cfg", "pretrained")}
    return plain | ({"_scope_": scope} if scope else {})


def _normalisation(given: Mapping[str, Any]) -> dict[str, Any]:
    to_rgb = bool(given.get("to_rgb", given.get("bgr_to_rgb", False)))
    return dict(mean=given["mean"], std=given["std"], to_rgb=to_rgb) if given.get("mean") else {}


def _of_library(library: str, name: str) -> dict[str, Any]:
    """The backbone of a config that a host library ships, with the config's own normalisation."""
    cfg = load_config(f"{library}::{_shipped(library, name)}")
    model = cfg.get("model") or {}
    if not isinstance(model.get("backbone"), Mapping):
        raise UserError(f"trunk {library}:{name}: the config's model has no backbone")
    backbone = ConfigDict(model["backbone"]).to_dict()
    given = model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    size = backbone.get("img_size", 224)
    side = size if isinstance(size, int) else size[-1]
    return dict(backbone=_without_weights(backbone, library), img_size=side, **_normalisation(given))


def _shipped(library: str, name: str) -> str:
    """Path of a shipped config below the library's configs, found by its file's name."""
    found = spec(library)
    if found is None:
        raise UserError(f"trunk {library}:{name} needs {library}: pip install {HOSTS[library][0]}")
    root = Path(found.origin or "").parent / ".mim" / "configs"
    files = {path.stem: path for path in sorted(root.rglob("*.py")) if "_base_" not in path.parts}
    if Path(name).is_file():
        raise UserError(f"trunk {library}:{name} is a file; shipped configs stand here, your own trunk in the suite")
    stem = Path(name).stem if name.endswith(".py") else Path(name).name
    if stem not in files:
        close = nearest(stem, files, count=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"{library} ships no config '{stem}'{hint}")
    return files[stem].relative_to(root).as_posix()


def _weights(word: str, given: str | None, row: Mapping[str, Any]) -> tuple[Path | None, int | None]:
    """The checkpoint's path, or the seed of a random trunk; neither where each try has a seed of its own."""
    if given is None and row.get("pack"):
        folder = open_data.fetch(row["pack"])
        return next(path for path in sorted(folder.iterdir()) if path.name != open_data.FACTS), None
    if given is None:
        where = f" ({row['weights']})" if row.get("weights") else ""
        raise UserError(f"trunk {word} needs its weights{where}: give --checkpoint FILE, or --checkpoint {RANDOM}")
    kind, _, number = given.partition(":")
    if kind == RANDOM:
        if number and not number.isdecimal():
            raise UserError(f"--checkpoint {given}: expected {RANDOM} or {RANDOM}:SEED, a whole number")
        return None, int(number) if number else None
    path = Path(given).expanduser()
    if not path.exists():
        near = [RANDOM, *(one.name for one in path.parent.iterdir())] if path.parent.is_dir() else [RANDOM]
        raise UserError(f"checkpoint {path} does not exist{did_you_mean(path.name, near)}")
    return path, None
