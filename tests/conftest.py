"""Fixtures for all tests: real pictures, from the shared folder where it is, else from installed libraries."""

import gc
import os

# On every machine the tests compare the CPU's numbers and fork: CUDA is hidden before anything asks for it. Those
# marked ``gpu`` run a second time in tests/test_gpu.py, which lets its process see what was hidden here.
if "INTERNGV_TEST_GPU" not in os.environ:
    os.environ.setdefault("INTERNGV_HIDDEN_GPUS", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import utils as config_files
from mmengine.registry import DefaultScope

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def what_stays_is_not_searched() -> None:
    """Objects of imports and earlier modules leave the garbage collector, which every data set of mmengine calls."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def host_indices_are_read_once() -> Iterator[None]:
    """mmengine parses the whole model index of a host for every base config ``host::file``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_files, "load", cache(config_files.load))
        yield


@pytest.fixture(autouse=True)
def no_scope_is_left_behind() -> Iterator[None]:
    """mmengine's default scope outlives the run that set it: the next test would look its names up in that host."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope="session")
def shared_data() -> Path | None:
    """Folder of small real data sets (``INTERNGV_TEST_DATA``, else ``../shared/data``), or None where it is absent."""
    folder = Path(os.environ.get("INTERNGV_TEST_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scikit-learn's scanned digits as 32 x 32 grey PNG: ``{train,val}/{0..9}/*.png``, 1,438 and 359 pictures."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("digits")
    images, labels = load_digits(return_X_y=True)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / ("val" if index % 5 == 4 else "train") / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        grey = np.clip(image.reshape(8, 8) * 16, 0, 255).astype(np.uint8)
        Image.fromarray(grey).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{index:04d}.png")
    return root


@pytest.fixture(scope="session")
def class_folder(shared_data: Path | None, request: pytest.FixtureRequest) -> Path:
    """Ten classes of real 32 x 32 pictures, ``{train,val}/CLASS/*``: photographs where shared, else digits."""
    photographs = shared_data / "cifar10_mini" if shared_data else None
    return photographs if photographs and photographs.is_dir() else request.getfixturevalue("digits_folder")
