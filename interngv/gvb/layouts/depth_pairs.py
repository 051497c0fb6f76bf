"""The data set that reads lists of pictures and depth maps; mmsegmentation has none."""

from pathlib import Path

from mmengine.dataset import BaseDataset

from interngv.registry import DATASETS


@DATASETS.register_module()
class DepthPairs(BaseDataset):
    """Pairs of a picture and its depth map: the list file has a line ``<picture><tab><depth map>`` a sample.

    Paths count from ``data_root``. A sample is what mmsegmentation's ``LoadImageFromFile`` and ``LoadDepthAnnotation``
    take: ``img_path``, ``depth_map_path`` and ``seg_fields``, with ``category_id`` -1 as of a scene that is not known.
    """

    def load_data_list(self) -> list[dict]:
        """The samples, in the list's order."""
        lines = Path(self.ann_file).read_text(encoding="utf-8").splitlines()
        root = Path(self.data_root)
        pairs = (line.split("\t") for line in lines)
        return [
            dict(img_path=str(root / image), depth_map_path=str(root / depth), seg_fields=[], category_id=-1)
            for image, depth in pairs
        ]
