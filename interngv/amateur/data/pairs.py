"""The data set of image-text pairs, for pipelines of mmpretrain and mmcv."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.logging import print_log

from interngv.amateur.data.pair_file import PairFile, PairFileError
from interngv.registry import DATASETS

_LOOKED_AT = 200  # pictures; a look at one takes a network file system a millisecond


@DATASETS.register_module()
class ImageTextPairs(BaseDataset):
    """Pictures with one or several captions each, listed in a :class:`~interngv.amateur.data.PairFile`.

    A sample has ``img_path``, ``captions`` (list of texts), ``gt_label`` where the file has labels, and
    ``sample_idx``: mmpretrain's ``LoadImageFromFile``, ``MultiView`` and ``PackInputs`` and interngv's
    ``EncodeCaption`` do the rest. A source of a ``MetaDataLoader`` names the scope in which the other types of its
    pipeline are looked up: ``dict(type='interngv.ImageTextPairs', _scope_='mmpretrain', ...)``.

    A million pairs of short captions take mmengine's own data sets 115 MiB in the end and 870 MiB meanwhile, for they
    pickle every sample. This one keeps where lines stand in the file: 15 MiB, and 32 MiB meanwhile. Reading a million
    lines takes some eight seconds.

    Args:
        ann_file: the file of pairs, from ``data_root``.
        data_root: the set's folder.
        data_prefix: the folder from which the pictures' paths count, from ``data_root``: a path, or mmengine's
            ``dict(img_path=...)``.
        split: take the pairs of this split or these; None takes all.
        indices: as in mmengine: the first so many, or the numbers of the pairs to take.
        pipeline: transforms.
        test_mode, metainfo, lazy_init, max_refetch: as in mmengine.

    Raises:
        PairFileError: what is wrong with the file; none of the pictures looked at is there (some that are missing are
            a warning, for large sets have such).
    """

    def __init__(
        self,
        ann_file: str = "pairs.jsonl",
        data_root: str = "",
        data_prefix: str | Mapping[str, str] = "",
        split: str | Sequence[str] | None = None,
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[Mapping[str, Any] | Callable] = (),
        test_mode: bool = False,
        metainfo: Mapping[str, Any] | None = None,
        lazy_init: bool = False,
        max_refetch: int = 1000,
    ) -> None:
        self._fully_initialized = False
        self.split = [split] if isinstance(split, str) else split
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=os.fspath(data_root),
            data_prefix={"img_path": data_prefix} if isinstance(data_prefix, str) else dict(data_prefix),
            indices=indices,
            serialize_data=True,  # what mmengine calls the form in which samples are an array
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    def full_init(self) -> None:
        """Read the file and look at some of the pictures; nothing where that is done."""
        if self._fully_initialized:
            return
        self._file = PairFile(self.ann_file)
        self.data_bytes = np.empty(0, np.uint8)
        self.data_address = self._file.spans(self.split)
        if self._indices is not None:
            _, self.data_address = self._get_serialized_subset(self._indices)
        self._fully_initialized = True
        self._check_pictures()

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The sample before the pipeline."""
        index = range(len(self))[idx]
        pair = self._file.pair(*self.data_address[index].tolist())
        path = os.path.join(self.data_prefix["img_path"], pair["image"])
        label = {"gt_label": pair["label"]} if "label" in pair else {}
        return {"img_path": path, "captions": pair["captions"], **label, "sample_idx": index}

    def _get_serialized_subset(self, indices: int | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(indices, int):
            rows = self.data_address[:indices] if indices >= 0 else self.data_address[indices:]
        else:
            rows = self.data_address[np.asarray(indices, np.int64)]
        return self.data_bytes, rows

    def _check_pictures(self) -> None:
        step = -(-len(self) // _LOOKED_AT) or 1
        paths = [self.get_data_info(index)["img_path"] for index in range(0, len(self), step)]
        missing = [path for path in paths if "://" not in path and not os.path.isfile(path)]
        if not missing:
            return
        said = f"{self.ann_file}: of {len(paths)} pictures looked at {len(missing)} are missing, first {missing[0]}"
        if len(missing) == len(paths):
            raise PairFileError(f"{said}; data_prefix is the folder from which their paths count")
        print_log(said, logger="current", level=logging.WARNING)
