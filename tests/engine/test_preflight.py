"""The look at a config's data, and the naming of bad pictures: what is at fault is named, what is not is left alone."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.dataset import Compose

from interngv.engine.dry_run import _dataset
from interngv.engine.pictures import NamingCompose, UnreadablePicture
from interngv.engine.preflight import check_data, check_sizes
from interngv.errors import UserError

# Data folders


def config(**dataset: object) -> Config:
    return Config(dict(default_scope="mmpretrain", train_dataloader=dict(dataset=dataset)))


@pytest.mark.parametrize("kind", ["CIFAR10", "CIFAR100", "FashionMNIST", "mmpretrain.MNIST"])
def test_data_that_download_themselves_may_be_missing(kind: str):
    pytest.importorskip("mmpretrain.datasets")
    check_data(config(type=kind, data_root="none"), ("train_dataloader",))
    wrapped = config(type="RepeatDataset", times=2, dataset=dict(type=kind, data_root="none"))
    check_data(wrapped, ("train_dataloader",))
    with pytest.raises(UserError, match="none does not exist"):
        check_data(config(type=kind, data_root="none", download=False), ("train_dataloader",))


def test_a_dry_run_downloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cifar = pytest.importorskip("mmpretrain.datasets.cifar")
    monkeypatch.setattr(cifar, "download_and_extract_archive", lambda *_, **__: pytest.fail("downloads"))
    cfg = config(type="mmpretrain.CIFAR10", data_root=str(tmp_path / "none"))
    assert _dataset(cfg, cfg.train_dataloader) is None
    assert not (tmp_path / "none").exists()


def test_other_storages_are_not_looked_for():
    for key in ("backend_args", "file_client_args"):
        check_data(config(type="X", data_root="none", **{key: dict(backend="petrel")}), ("train_dataloader",))
    for local in (None, dict(backend="local"), dict(backend="disk")):
        with pytest.raises(UserError, match="none does not exist"):
            check_data(config(type="X", data_root="none", backend_args=local), ("train_dataloader",))


def test_several_loaders_are_all_looked_at(tmp_path: Path):
    (tmp_path / "file").touch()
    resize = dict(type="Resize", scale=0)
    first = dict(dataset=dict(type="X", data_root=str(tmp_path)))
    second = dict(dataset=dict(type="X", data_root="none", pipeline=[resize]))
    cfg = Config(dict(val_dataloader=[first, second]))
    with pytest.raises(UserError, match=r"val_dataloader\[1\]\.dataset\.data_root: .*none does not exist"):
        check_data(cfg, ("val_dataloader",))
    with pytest.raises(UserError, match=r"val_dataloader\[1\]\.dataset\.pipeline\[0\]"):
        check_sizes(cfg, ("val_dataloader",))


# Pictures


class Step:
    """A transform that gives a fixed result or raises."""

    def __init__(self, result: object = None, **arguments: object) -> None:
        self.result = result
        self.__dict__.update(arguments)

    def __call__(self, data: dict) -> object:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Wrapper(Step):
    """A transform around others."""


@pytest.fixture
def files(class_folder: Path, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    (tmp_path / "depth.npy").write_bytes(b"numbers")
    good = next(file for file in (class_folder / "val").rglob("*.*") if file.is_file())
    names = {name: str(tmp_path / name) for name in ("bad.png", "depth.npy", "none.png")}
    return names | {"good": str(good)}


def run(sample: dict, result: object, *others: Step, **arguments: object) -> object:
    return NamingCompose(Compose([*others, Step(result, **arguments)]))(sample)


@pytest.mark.parametrize("result", [None, ValueError("unrelated"), FileNotFoundError("none.pkl")], ids=repr)
def test_pictures_without_fault_change_nothing(result: object, files: dict):
    through = Step({"passes": 1})
    innocent = [
        dict(img_path=files["good"]),
        dict(img_path=[files["good"], files["good"]]),
        dict(img_path=files["good"], depth_map_path=files["depth.npy"]),
        dict(img_path="s3://bucket/none.png"),
        dict(img_path=None),
    ]
    cases = [(sample, [], {}) for sample in innocent]
    lmdb = dict(backend="lmdb", db_path="x")
    for lost in (files["none.png"], "baboon", [files["bad.png"]]):
        cases.append((dict(img_path=lost), [], dict(backend_args=lmdb)))
        inside = Wrapper({}, transforms=Compose([Step({}, file_client_args=lmdb)]))
        cases.append((dict(img_path=lost), [through, inside], {}))
    for sample, others, arguments in cases:
        if result is None:
            assert run(sample, None, *others, **arguments) is None
        else:
            with pytest.raises(type(result)) as caught:
                run(sample, result, *others, **arguments)
            assert caught.value is result


@pytest.mark.parametrize("result", [None, AttributeError("shape")], ids=repr)
@pytest.mark.parametrize("name", ["bad.png", "none.png"])
def test_the_picture_at_fault_is_named(result: object, name: str, files: dict):
    for sample in (dict(img_path=files[name]), dict(img_path=[files["good"], files[name]])):
        with pytest.raises(UnreadablePicture, match=name):
            run(sample, result)


def test_label_maps_are_named_where_they_are_opened(files: dict):
    sample = dict(img_path=files["good"], seg_map_path=files["none.png"])
    assert run(sample, None) is None
    with pytest.raises(UnreadablePicture, match="none.png does not exist"):
        run(sample, FileNotFoundError(files["none.png"]))
    with pytest.raises(UnreadablePicture, match="bad.png cannot be decoded"):
        run(sample | dict(seg_map_path=files["bad.png"]), AttributeError("squeeze"))


def test_pictures_that_may_be_empty_are_passed_over(files: dict):
    assert run(dict(img_path=files["bad.png"]), None, ignore_empty=True) is None
