"""The network of which there are two, one that learns and one that follows: trunk, neck and projector."""

from torch import Tensor, nn

from interngv.amateur.trunk_outputs import pooled_and_cells


class LocalNetwork(nn.Module):
    """Images (N, C, H, W) to the pooled feature (N, W) and the maps that are compared.

    Args:
        trunk: of any library.
        levels: which of the trunk's outputs are the maps, the finest first; the pooled feature is the mean over its
            last. None takes the cells that the trunk's own pooling sees as the one map, which Transformers have too.
        neck: joins the maps, such as mmdet's FPN; None leaves them as they are.
        projector: of the matching, which calls it itself; it stands here to be copied.
    """

    def __init__(
        self, trunk: nn.Module, levels: tuple[int, ...] | None, neck: nn.Module | None, projector: nn.Module
    ) -> None:
        super().__init__()
        self.trunk, self.levels, self.neck, self.projector = trunk, levels, neck, projector

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Raises ValueError where the trunk gives no such maps."""
        if self.levels is None:
            pooled, cells = pooled_and_cells(self.trunk, images, cells=True)
            assert cells is not None
            maps = (_map_of(cells, *images.shape[-2:]),)
        else:
            outputs = self.trunk(images)
            _check(outputs, self.levels)
            pooled, maps = outputs[-1].mean(dim=(2, 3)), tuple(outputs[level] for level in self.levels)
        return pooled, maps if self.neck is None else tuple(self.neck(maps))


def _map_of(cells: Tensor, height: int, width: int) -> Tensor:
    """(N, C, h, w) of cells (N, h * w, C) row by row, as many across and down as the image's sides say."""
    count = cells.shape[1]
    rows = round((count * height / width) ** 0.5)
    if rows * round(count / rows) != count:
        raise ValueError(f"{count} cells tile no image of {height} x {width} pixels; give views the trunk's own size")
    return cells.transpose(1, 2).unflatten(2, (rows, -1))


def _check(outputs: tuple[Tensor, ...], levels: tuple[int, ...]) -> None:
    if not isinstance(outputs, list | tuple) or any(one.ndim != 4 for one in outputs):
        raise ValueError(f"levels={levels}: the trunk gives no maps; levels=None takes the cells that its pooling sees")
    if not all(-len(outputs) <= level < len(outputs) for level in levels):
        raise ValueError(f"levels={levels}: the trunk gives {len(outputs)} maps; its out_indices say which")
