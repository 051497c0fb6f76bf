"""Seven unmodified host models, as configs without a backbone, each with a batch of two labelled real photographs."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import set_random_seed
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

import interngv  # noqa: F401  (registers the trunk)

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
HEIGHT, WIDTH = 64, 96
TRUNK = dict(type="interngv.MetaNet", arch="mn-mini")
CHANNELS = [24, 40, 64, 128]  # of its levels 0..3
COLOURS = dict(mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4])
Batch = dict[str, list]


@dataclass(frozen=True)
class Host:
    """A host's model: ``config()`` has no backbone; it takes the trunk's ``levels``; ``label(i)`` is a sample's."""

    scope: str
    levels: tuple[int, ...]
    config: Callable[[], ConfigDict]
    label: Callable[[int], BaseDataElement]

    def task(self) -> ConfigDict:
        return ConfigDict({**self.config(), "backbone": dict(out_indices=self.levels)})

    def plain(self, seed: int | None = None, trunk: dict[str, Any] = TRUNK) -> nn.Module:
        """The plain host model, built as the host's own tools build it; initialised where a seed is given."""
        config = ConfigDict({**self.config(), "backbone": {**trunk, "out_indices": self.levels}})
        config.type = config.type.removeprefix(f"{self.scope}.")
        if seed is not None:
            set_random_seed(seed)
        with DefaultScope.overwrite_default_scope(self.scope):
            model = MODELS.build(config)
            if seed is not None:
                model.init_weights()
        return model

    def batch(self) -> Batch:
        return dict(inputs=[photograph(i) for i in range(2)], data_samples=[self.label(i) for i in range(2)])


@cache
def _photographs() -> list[np.ndarray]:
    return load_sample_images().images


def photograph(index: int) -> Tensor:
    """A part of one of two real photographs, uint8 (3, HEIGHT, WIDTH)."""
    return torch.from_numpy(_photographs()[index][200 : 200 + HEIGHT, 300 : 300 + WIDTH].transpose(2, 0, 1).copy())


def classifier(classes: int) -> ConfigDict:
    return ConfigDict(
        type="mmpretrain.ImageClassifier",
        data_preprocessor=dict(num_classes=classes, to_rgb=True, **COLOURS),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=classes, in_channels=1280, loss=dict(type="CrossEntropyLoss")),
    )


def depth_estimator() -> ConfigDict:
    return ConfigDict(
        type="mmseg.DepthEstimator",
        data_preprocessor=dict(type="SegDataPreProcessor", size=(HEIGHT, WIDTH), pad_val=0, seg_pad_val=0, **COLOURS),
        neck=dict(type="FPN", in_channels=CHANNELS, out_channels=32, num_outs=4),
        decode_head=dict(
            type="VPDDepthHead",
            in_channels=[32] * 4,
            embed_dim=8,
            feature_dim=64,
            num_deconv_filters=(16, 16, 16),
        ),
        test_cfg=dict(mode="whole"),
    )


@cache
def _model_of(file: str) -> ConfigDict:
    if "::" in file:
        return get_config(file).model
    with patch.dict(MODULE2PACKAGE, mmseg="mmseg"):  # the fork's distribution name
        return Config.fromfile(PROJECTS / file).model


def read(file: str) -> ConfigDict:
    """A copy of the model of a project's or (``host::file``) a host's config, without its backbone."""
    model = deepcopy(_model_of(file))
    del model.backbone
    return model


def retinanet() -> ConfigDict:
    model = read("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py")
    model.type = "mmdet.RetinaNet"
    model.neck.update(in_channels=CHANNELS, out_channels=32)
    model.bbox_head.update(num_classes=3, in_channels=32, feat_channels=32, stacked_convs=1)
    return model


def upernet() -> ConfigDict:
    model = read("mmseg_upernet/upernet_mn-mini_150i_people-seg.py")
    model.data_preprocessor.size = (HEIGHT, WIDTH)
    return model


def _class(index: int) -> BaseDataElement:
    from mmpretrain.structures import DataSample

    return DataSample().set_gt_label(index + 1)


def _objects(index: int) -> BaseDataElement:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    boxes = torch.tensor([[8.0, 10, 50, 44], [40, 20, 90, 60]])[: index + 1]
    masks = np.zeros((len(boxes), HEIGHT, WIDTH), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = 1
    size = (HEIGHT, WIDTH)
    sample = DetDataSample(metainfo=dict(img_id=index, img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)))
    sample.gt_instances = InstanceData(
        bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long), masks=BitmapMasks(masks, HEIGHT, WIDTH)
    )
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    return sample


def _pixels(name: str, value: Callable[[Tensor], Tensor]) -> Callable[[int], BaseDataElement]:
    def label(index: int) -> BaseDataElement:
        from mmseg.structures import SegDataSample

        size = (HEIGHT, WIDTH)
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
        sample.set_data({name: PixelData(data=value(photograph(index)[:1]))})
        return sample

    return label


_segments = _pixels("gt_sem_seg", lambda grey: (grey > 128).long())
_depths = _pixels("gt_depth_map", lambda grey: 1 + grey / 64)
PYRAMID = (0, 1, 2, 3)
HOSTS = {
    "pets": Host("mmpretrain", (4,), lambda: classifier(10), _class),
    "foods": Host("mmpretrain", (4,), lambda: classifier(5), _class),
    "boxes": Host("mmdet", PYRAMID, lambda: read("mmdet_detectors/faster-rcnn_mn-mini_fpn_4e_bccd.py"), _objects),
    "masks": Host("mmdet", PYRAMID, lambda: read("mmdet_detectors/mask-rcnn_mn-mini_fpn_4e_people.py"), _objects),
    "dense_boxes": Host("mmdet", PYRAMID, retinanet, _objects),
    "segments": Host("mmseg", PYRAMID, upernet, _segments),
    "depths": Host("mmseg", PYRAMID, depth_estimator, _depths),
}
