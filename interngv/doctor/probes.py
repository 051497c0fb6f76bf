"""What ``interngv doctor`` really tries, each in a process of its own: ``python -m interngv.doctor.probes NAME``.

A probe builds a small model from a host library's own parts, runs it on the CPU and prints one line about what came
out; it raises where something does not work. The trunk's probe alone uses a model of interngv.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SIDE = 64
META = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), (SIDE, SIDE))
BACKBONE = dict(type="ResNet", depth=18, out_indices=(0, 1, 2, 3))


def trunk() -> str:
    """Forward and backward through the smallest MetaNet."""
    from interngv.gva import MetaNet

    features = MetaNet(arch="mn-mini", out_indices=(0, 1, 2, 3))(torch.rand(1, 3, SIDE, SIDE))
    sum(feature.mean() for feature in features).backward()
    return f"mn-mini gives {len(features)} maps, the last {_shape(features[-1])}"


def classify() -> str:
    """A loss and a prediction of mmpretrain's ImageClassifier."""
    from mmpretrain.registry import MODELS
    from mmpretrain.structures import DataSample
    from mmpretrain.utils import register_all_modules

    register_all_modules()
    head = dict(type="LinearClsHead", num_classes=3, in_channels=512)
    backbone = dict(type="ResNet", depth=18)
    model = MODELS.build(
        dict(type="ImageClassifier", backbone=backbone, neck=dict(type="GlobalAveragePooling"), head=head)
    )
    pictures, samples = torch.rand(2, 3, SIDE, SIDE), [DataSample().set_gt_label(label) for label in (0, 2)]
    loss = _backward(model(pictures, samples, mode="loss"))
    scores = model.eval()(pictures, mode="predict")[0].pred_score
    return f"ImageClassifier: loss {loss:.2f}, {len(scores)} scores"


def detect() -> str:
    """A loss and a prediction of mmdet's Faster R-CNN, which needs mmcv's operators."""
    import mmdet
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.utils import register_all_modules
    from mmengine.config import Config
    from mmengine.structures import InstanceData

    register_all_modules()
    base = Path(mmdet.__file__).parent / ".mim/configs/_base_/models/faster-rcnn_r50_fpn.py"
    config = Config.fromfile(base).model
    config.backbone.update(depth=18, init_cfg=None)
    config.neck.in_channels = [64, 128, 256, 512]
    model = MODELS.build(config)
    sample = DetDataSample(
        metainfo=dict(META, scale_factor=(1, 1)),
        gt_instances=InstanceData(bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]]), labels=torch.tensor([1])),
    )
    pictures = torch.rand(1, 3, SIDE, SIDE)
    loss = _backward(model(pictures, [sample], mode="loss"))
    with torch.no_grad():
        found = model.eval()(pictures, [sample], mode="predict")[0].pred_instances
    return f"FasterRCNN: loss {loss:.2f}, {len(found)} boxes"


def segment() -> str:
    """A loss and a prediction of mmseg's EncoderDecoder."""
    from mmengine.structures import PixelData

    head = dict(type="FCNHead", in_channels=512, in_index=3, channels=16, num_convs=1, num_classes=3)
    labels = PixelData(data=torch.randint(0, 3, (1, SIDE, SIDE)))
    loss, predicted = _run_mmseg("EncoderDecoder", head, gt_sem_seg=labels)
    return f"EncoderDecoder: loss {loss:.2f}, map {_shape(predicted.pred_sem_seg.data)}"


def depth() -> str:
    """A loss and a prediction of mmseg's DepthEstimator."""
    from mmengine.structures import PixelData

    head = dict(
        type="VPDDepthHead",
        in_channels=[64, 128, 768],
        embed_dim=16,
        feature_dim=128,
        num_deconv_layers=3,
        num_deconv_filters=(16, 16, 16),
    )
    truth = PixelData(data=torch.rand(1, SIDE, SIDE) + 0.5)
    loss, predicted = _run_mmseg("DepthEstimator", head, gt_depth_map=truth)
    return f"DepthEstimator: loss {loss:.2f}, map {_shape(predicted.pred_depth_map.data)}"


def two_processes() -> str:
    """Two spawned gloo ranks sum a tensor."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_rank, args=(str(Path(folder) / "meeting"),), nprocs=2)
    return "gloo: two ranks agree on a sum"


def gpu() -> str:
    """A matrix product on the first GPU equals the CPU's; mmcv's nms runs there where mmcv has operators."""
    from interngv import compat

    a = torch.rand(64, 64)
    torch.testing.assert_close((a.cuda() @ a.cuda()).cpu(), a @ a, rtol=1e-2, atol=1e-2)
    if compat.has_operators():
        from mmcv.ops import nms

        nms(torch.tensor([[0.0, 0.0, 4.0, 4.0]]).cuda(), torch.tensor([0.5]).cuda(), 0.5)
    return f"{torch.cuda.get_device_name(0)}, {torch.cuda.device_count()} in all"


def _run_mmseg(kind: str, head: dict, **truth: object) -> tuple[float, Any]:
    from mmengine.config import ConfigDict
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample
    from mmseg.utils import register_all_modules

    register_all_modules()
    test_cfg = ConfigDict(mode="whole")
    model = MODELS.build(dict(type=kind, backbone=dict(BACKBONE), decode_head=head, test_cfg=test_cfg))
    sample = SegDataSample(metainfo=META)
    for name, data in truth.items():
        setattr(sample, name, data)
    pictures = torch.rand(2, 3, SIDE, SIDE)
    loss = _backward(model(pictures, [sample, sample.clone()], mode="loss"))
    with torch.no_grad():
        return loss, model.eval()(pictures, [sample, sample.clone()], mode="predict")[0]


def _backward(losses: dict) -> float:
    values = [value for name, group in losses.items() if "loss" in name for value in _flat(group)]
    total = torch.stack([value.mean() for value in values]).sum()
    total.backward()
    if not torch.isfinite(total):
        raise ArithmeticError(f"the loss is {total.item()}")
    return total.item()


def _flat(group: Any) -> list[torch.Tensor]:
    return list(group) if isinstance(group, list | tuple) else [group]


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def _rank(rank: int, meeting: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    value = torch.tensor([rank + 1.0])
    torch.distributed.all_reduce(value)
    torch.distributed.destroy_process_group()
    if value.item() != 3.0:
        raise ArithmeticError(f"rank {rank} sums 1 and 2 to {value.item()}")


PROBES: dict[str, Callable[[], str]] = {
    probe.__name__: probe for probe in (trunk, classify, detect, segment, depth, two_processes, gpu)
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    print(PROBES[sys.argv[1]]())
