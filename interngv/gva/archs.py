"""The table of MetaNet's named sizes; a user's own size is a dict of the same form.

Every row cites its source: "release" is gv-benchmark's ``MetaNet(mtb_type=...)``, "UniNet" is Sense-X/UniNet's
``uninet.py`` (arXiv 2207.05420), "inferred" is not stated by the authors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from interngv.errors import did_you_mean

OPERATORS = ("mbconv", "fused_mbconv", "sa", "xca", "mixer")
DSMS = ("in_block", "l", "lg", "g")


def _choice(what: str, value: str, valid: Sequence[str]) -> None:
    if value not in valid:
        raise ValueError(f"unknown {what} {value!r}{did_you_mean(str(value), valid)} valid: {', '.join(valid)}")


def _positive(what: str, value: Any, kind: type = Integral) -> None:
    valid = isinstance(value, kind) and not isinstance(value, bool)
    if not valid or not 0 < float(value) < float("inf"):
        raise ValueError(f"{what} must be a positive {'integer' if kind is Integral else 'number'}, got {value!r}")


@dataclass(frozen=True)
class Stage:
    """One row of a stage table.

    ``operator`` is one of :data:`OPERATORS`, ``dsm`` what stands before the stage: ``in_block`` (the first block
    changes stride and width, as in the release), or a down-sampling module ``l``, ``lg``, ``g``.
    """

    operator: str
    repeats: int
    channels: int
    expansion: float
    stride: int = 1
    dsm: str = "in_block"

    def __post_init__(self) -> None:
        _choice("operator", self.operator, OPERATORS)
        _choice("dsm", self.dsm, DSMS)
        for name in ("repeats", "channels"):
            _positive(f"{name} of a stage", getattr(self, name))
        _positive("expansion of a stage", self.expansion, Real)
        if self.stride not in (1, 2):
            raise ValueError(f"stride of a stage must be 1 or 2, got {self.stride!r}")


@dataclass(frozen=True)
class Arch:
    """A whole size: stages, width of the stem, of an attention head, of the projected feature; native input size."""

    stages: tuple[Stage, ...]
    stem_channels: int
    head_dim: int
    feature_dim: int = 1280
    img_size: int = 224
    source: str = "a user's own stage table"

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a stage table needs at least one stage")
        for name in ("stem_channels", "head_dim", "feature_dim", "img_size"):
            _positive(f"{name} of a stage table", getattr(self, name))

    @property
    def level_stages(self) -> tuple[int, ...]:
        """Index of the last stage of each resolution below the stem's: the stages that give the feature levels."""
        ends = [i for i, nxt in enumerate(self.stages[1:]) if nxt.stride == 2] + [len(self.stages) - 1]
        return tuple(i for i in ends if any(stage.stride == 2 for stage in self.stages[: i + 1]))


def _known_fields(what: str, cls: type, row: Mapping[str, Any]) -> None:
    valid = [f.name for f in fields(cls)]
    for key in row:
        if key not in valid:
            raise ValueError(f"unknown key {key!r} in {what}{did_you_mean(key, valid)} valid: {', '.join(valid)}")
    needed = [f.name for f in fields(cls) if f.default is f.default_factory and f.name not in row]
    if needed:
        raise ValueError(f"{what} lacks {', '.join(needed)}")


def parse_arch(arch: "str | Mapping[str, Any] | Arch") -> Arch:
    """Looks a name up in :data:`ARCHS`, or reads a stage table given as a dict (``stages`` is a list of dicts).

    Raises ValueError that names the wrong entry, with the nearest valid one for a name.
    """
    if isinstance(arch, Arch):
        return arch
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f"unknown arch {arch!r}{did_you_mean(arch, ARCHS)} valid: {', '.join(ARCHS)}")
        return ARCHS[arch]
    if not isinstance(arch, Mapping):
        raise ValueError(f"arch must be a name or a stage table (dict), got {type(arch).__name__}")
    _known_fields("the stage table", Arch, arch)
    rows = arch["stages"]
    if not isinstance(rows, Sequence) or not all(isinstance(row, Stage | Mapping) for row in rows):
        raise ValueError(f"stages of a stage table must be a list of dicts, got {rows!r}")
    for number, row in enumerate(rows):
        if not isinstance(row, Stage):
            _known_fields(f"stage {number} of the stage table", Stage, row)
    stages = tuple(row if isinstance(row, Stage) else Stage(**row) for row in rows)
    return Arch(**{**arch, "stages": stages})


def _arch(
    operators: Sequence[str],
    repeats: Sequence[int],
    channels: Sequence[int],
    dsms: Sequence[str] = ("in_block",) * 6,
    expansions: Sequence[float] = (1, 4, 6, 3, 2, 5),
    strides: Sequence[int] = (1, 2, 2, 2, 1, 2),
    **rest: Any,
) -> Arch:
    rows = zip(operators, repeats, channels, expansions, strides, dsms, strict=True)
    return Arch(stages=tuple(Stage(*row) for row in rows), **rest)


_HYBRID = ("mbconv",) * 4 + ("sa",) * 2


def _uninet(repeats: Sequence[int], channels: Sequence[int], img_size: int) -> Arch:
    return _arch(
        _HYBRID,
        repeats,
        channels,
        dsms=("in_block", "l", "l", "l", "lg", "lg"),
        stem_channels=32,
        head_dim=32,
        img_size=img_size,
        source="UniNet: uninet.py; resolutions of B5 and B6 by figure",
    )


ARCHS: dict[str, Arch] = {
    "mn-mini": _arch(
        _HYBRID,
        (1, 1, 2, 2, 2, 2),
        (16, 24, 40, 64, 64, 128),
        stem_channels=16,
        head_dim=32,
        img_size=32,
        source="interngv's own small twin of mn-b4: sizes only",
    ),
    "mn-b1": _arch(
        _HYBRID,
        (1, 2, 4, 4, 4, 8),
        (24, 48, 80, 128, 128, 256),
        stem_channels=32,
        head_dim=32,
        source="inferred: UniNet-B1's widths with in-block down-sampling; the paper's layout is not published",
    ),
    "mn-b4": _arch(
        _HYBRID,
        (2, 3, 6, 6, 6, 12),
        (32, 64, 128, 192, 192, 384),
        stem_channels=32,
        head_dim=48,
        source="release, mtb_type=4",
    ),
    "mn-b15": _arch(
        ("fused_mbconv",) * 2 + ("mbconv",) * 2 + ("xca",) * 2,
        (4, 6, 12, 12, 12, 24),
        (128, 256, 512, 768, 768, 1536),
        stem_channels=96,
        head_dim=64,
        source="release, mtb_type=15",
    ),
    "uninet-b0": _uninet((1, 2, 4, 4, 4, 8), (24, 48, 80, 128, 128, 256), 160),
    "uninet-b1": _uninet((1, 2, 4, 4, 4, 8), (24, 48, 80, 128, 128, 256), 224),
    "uninet-b2": _uninet((2, 3, 6, 6, 6, 12), (24, 48, 80, 128, 128, 256), 256),
    "uninet-b3": _uninet((2, 3, 7, 7, 7, 14), (24, 56, 96, 160, 160, 288), 288),
    "uninet-b4": _uninet((2, 4, 9, 9, 9, 18), (32, 64, 112, 192, 192, 352), 320),
    "uninet-b5": _uninet((3, 5, 10, 10, 10, 20), (32, 64, 112, 224, 224, 448), 384),
    "uninet-b6": _uninet((4, 6, 12, 12, 12, 24), (48, 96, 160, 256, 256, 512), 448),
}
