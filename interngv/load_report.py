"""What a load of weights does to a model: one report for a run's checkpoints, released files and stage hand-offs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from interngv.errors import UserError

StateDict = Mapping[str, Tensor]
_MOST_NAMES = 8  # names shown in a message before "..."


class WeightsError(UserError):
    """Weights that do not fit the model; the message names the tensors."""


@dataclass(frozen=True)
class LoadReport:
    """Names of tensors by what a load does to them, in the model's order (``dropped``: in the file's).

    ``by_order`` are the loaded ones that only the order of registration told from others of the same shape.
    """

    loaded: tuple[str, ...]
    new: tuple[str, ...]  # wanted by the model, not in the file
    dropped: tuple[str, ...]  # in the file, not in the model
    reshaped: Mapping[str, str] = field(default_factory=dict)  # in both, with these different shapes: not loaded
    by_order: tuple[str, ...] = ()

    @property
    def lacking(self) -> tuple[str, ...]:
        """Tensors of the model that the file does not fill."""
        return (*self.reshaped, *self.new)

    @property
    def coverage(self) -> float:
        """Share of the model's tensors that come from the file; counters of batches do not count."""
        loaded = sum(not is_counter(name) for name in self.loaded)
        return loaded / max(1, loaded + len(self.lacking))

    def require(self, coverage: float, what: str) -> None:
        """Raises WeightsError, naming the tensors, where less than ``coverage`` of the model comes from ``what``."""
        if self.coverage < coverage:
            raise WeightsError(f"{what} does not fit: {self}; at least {coverage:.1%} must load")

    def __str__(self) -> str:
        notes = [f"{self.coverage:.1%}"] if self.lacking else []
        notes += [f"{len(self.by_order)} told apart by their order only"] if self.by_order else []
        parts = [f"{len(self.loaded)} tensors loaded" + (f" ({', '.join(notes)})" if notes else "")]
        parts += (
            [f"{len(self.reshaped)} of another shape{listed(map(': '.join, self.reshaped.items()))}"]
            if self.reshaped
            else []
        )
        parts += [f"{len(self.new)} new{listed(self.new)}", f"{len(self.dropped)} dropped{listed(self.dropped)}"]
        return ", ".join(parts)


def compare(
    wanted: StateDict, given: StateDict, pairs: Mapping[str, str] | None = None, by_order: Iterable[str] = ()
) -> LoadReport:
    """Report on filling ``wanted`` from ``given`` (either may stand on the meta device).

    Args:
        pairs: ``{wanted name: given name}``; equal names of equal shapes where left out.
        by_order: the wanted names that only their order told apart.
    """
    if pairs is None:
        pairs = same_names(wanted, given)
    used = set(pairs.values())
    # Counters of batches may be absent: old files lack them and nothing reads them.
    left = [name for name in wanted if name not in pairs and not is_counter(name)]
    reshaped = {
        name: f"{_shape(given[name])} for {_shape(wanted[name])}" for name in left if name in given and name not in used
    }
    return LoadReport(
        loaded=tuple(pairs),
        new=tuple(name for name in left if name not in reshaped),
        dropped=tuple(name for name in given if name not in used and name not in reshaped),
        reshaped=reshaped,
        by_order=tuple(by_order),
    )


def same_names(wanted: StateDict, given: StateDict) -> dict[str, str]:
    """``{name: name}`` of the tensors that both have in the same shape."""
    return {name: name for name in wanted if name in given and given[name].shape == wanted[name].shape}


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "scalar"


def is_counter(name: str) -> bool:
    """Whether a tensor is a batch norm's count of batches."""
    return name.rpartition(".")[2] == "num_batches_tracked"


def listed(names: Iterable[str]) -> str:
    """`` (a, b, ...)``: the first names, empty where there are none."""
    names = list(names)
    shown = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    return f" ({shown})" if names else ""
