"""Data folders for the host projects: real sets where the shared folder has them, else digits pasted in photographs."""

import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.config.utils import MODULE2PACKAGE

sys.path.insert(0, str(Path(__file__).parent))
import pasted_digits

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
Classes = dict[str, tuple[str, ...]]  # of each set, where they differ from the config's


@pytest.fixture(autouse=True)
def host_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The forks' distribution names for mmengine, as host_tool.py gives them; as many threads as before after it."""
    monkeypatch.setitem(MODULE2PACKAGE, "mmseg", "mmseg")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _cells(source: Path, target: Path) -> None:
    """BCCD with the first 40 of its 159 photographs for val, so that judging three times stays short."""
    (target / "annotations").mkdir(parents=True)
    (target / "images").symlink_to(source / "images")
    for split, count in (("train", 205), ("val", 40)):
        data = json.loads((source / "annotations" / f"{split}.json").read_text())
        data["images"] = data["images"][:count]
        kept = {image["id"] for image in data["images"]}
        data["annotations"] = [box for box in data["annotations"] if box["image_id"] in kept]
        (target / "annotations" / f"{split}.json").write_text(json.dumps(data))


@pytest.fixture(scope="session")
def data_folders(
    shared_data: Path | None, class_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Classes]:
    """A folder that holds ``data/`` as the projects' README files describe it, and the classes that differ."""
    root = tmp_path_factory.mktemp("host_projects")
    data = root / "data"
    data.mkdir()
    (data / "cifar10_mini").symlink_to(class_folder)
    have = {name: shared_data is not None and (shared_data / name).is_dir() for name in ("bccd", "people_seg")}
    made = None if all(have.values()) else pasted_digits.write(data / "pasted_digits")
    if have["bccd"]:
        _cells(shared_data / "bccd", data / "bccd")
    else:
        (data / "bccd").symlink_to(made)
    (data / "people_seg").symlink_to(shared_data / "people_seg" if have["people_seg"] else made)
    name = "person" if have["people_seg"] else "digit"
    tool = runpy.run_path(str(PROJECTS / "mmdet_detectors" / "people_instances.py"))
    tool["main"](str(data / "people_seg"), str(data / "people_instances"), name)
    classes: Classes = {} if have["bccd"] else {"faster-rcnn": tuple(map(str, pasted_digits.DIGITS))}
    if not have["people_seg"]:
        classes |= {"mask-rcnn": ("digit",), "upernet": ("background", "digit")}
    return root, classes


@pytest.fixture
def in_data_folder(data_folders: tuple[Path, Classes], monkeypatch: pytest.MonkeyPatch) -> Classes:
    """Works in the folder that holds ``data/``; gives the classes that differ from the configs'."""
    monkeypatch.chdir(data_folders[0])
    return data_folders[1]
