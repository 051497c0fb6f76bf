"""What a checkpoint comes from: hashes that follow the content and nothing else, and the tree over two hand-offs."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from interngv import cli
from interngv.checkpoint import directory
from interngv.engine import lineage
from interngv.engine.fingerprint import config_sha256, samples_sha256
from interngv.engine.multi_task import MetaDataLoader
from interngv.errors import UserError
from interngv.gvd import layouts

pytestmark = pytest.mark.slow


def pictures(**kwargs) -> BaseDataset:
    return DATASETS.build(dict(type="mmpretrain.CustomDataset", pipeline=[], **kwargs))


def folder_set(root: Path, **kwargs) -> BaseDataset:
    return pictures(data_root=str(root), data_prefix="train", **kwargs)


def listed_set(root: Path, lines: list[str], name: str = "list.txt", **kwargs) -> BaseDataset:
    (root / name).write_text("\n".join(lines) + "\n")
    return folder_set(root, ann_file=name, **kwargs)


@pytest.fixture
def digits(digits_folder: Path, tmp_path: Path) -> Path:
    """Two classes of real digits in a folder of this test's own."""
    for label in "01":
        shutil.copytree(digits_folder / "train" / label, tmp_path / "digits" / "train" / label)
    return tmp_path / "digits"


@pytest.fixture
def lines(digits: Path) -> list[str]:
    return [f"{path.relative_to(digits / 'train')} {path.parent.name}" for path in sorted(digits.rglob("*.png"))]


# Data


def test_a_folder_of_classes_is_known_by_names_and_labels_wherever_it_lies(digits: Path, tmp_path: Path):
    first = samples_sha256(folder_set(digits))
    shutil.copytree(digits, tmp_path / "elsewhere")
    assert samples_sha256(folder_set(tmp_path / "elsewhere")) == first
    assert samples_sha256(folder_set(tmp_path / "elsewhere", serialize_data=False)) == first
    picture = next((tmp_path / "elsewhere" / "train" / "1").iterdir())
    picture.rename(picture.with_name("other.png"))
    assert samples_sha256(folder_set(tmp_path / "elsewhere")) != first
    picture.with_name("other.png").rename(picture)
    assert samples_sha256(folder_set(tmp_path / "elsewhere")) == first
    shutil.move(picture, tmp_path / "elsewhere" / "train" / "0")
    assert samples_sha256(folder_set(tmp_path / "elsewhere")) != first


def test_the_order_of_samples_does_not_count(digits: Path):
    turned = folder_set(digits, serialize_data=False)
    turned.data_list.reverse()
    assert turned.get_data_info(0)["gt_label"] == 1
    assert samples_sha256(turned) == samples_sha256(folder_set(digits))


def test_without_a_root_two_splits_of_equal_names_differ(digits: Path):
    shutil.copytree(digits / "train", digits / "val")
    train, val = (pictures(data_prefix=str(digits / split)) for split in ("train", "val"))
    assert samples_sha256(train) != samples_sha256(val)
    assert samples_sha256(train) == samples_sha256(folder_set(digits))


def test_a_list_is_known_by_its_bytes(digits: Path, lines: list[str], tmp_path: Path):
    first = samples_sha256(listed_set(digits, lines))
    assert samples_sha256(listed_set(digits, lines, "another_name.txt")) == first
    shutil.copytree(digits, tmp_path / "elsewhere")
    assert samples_sha256(listed_set(tmp_path / "elsewhere", lines)) == first
    assert samples_sha256(listed_set(digits, [*lines[:-1], lines[-1][:-1] + "0"])) != first


def test_a_part_of_a_list_is_not_the_list(digits: Path, lines: list[str]):
    whole, halves = listed_set(digits, lines), [listed_set(digits, lines) for _ in range(3)]
    for half, indices in zip(halves, (range(0, 100, 2), range(1, 100, 2), range(1, 100, 2)), strict=True):
        half.get_subset_(list(indices))
    hashes = [samples_sha256(one) for one in (whole, *halves)]
    assert hashes[2] == hashes[3]
    assert len(set(hashes)) == 3


def test_a_wrapper_is_known_by_what_it_holds(digits: Path, lines: list[str]):
    one, other = folder_set(digits), listed_set(digits, lines[:50])
    inner = dict(type="mmpretrain.CustomDataset", pipeline=[], data_root=str(digits), data_prefix="train")
    wrapped = [
        ConcatDataset([one, other], ignore_keys="classes"),
        ConcatDataset([other, other]),
        *(torch.utils.data.Subset(one, range(n, n + 50)) for n in range(2)),
        RepeatDataset(one, 2),
        RepeatDataset(one, 3),
        *(DATASETS.build(dict(type="mmpretrain.KFoldDataset", dataset=inner, fold=n, num_splits=3)) for n in range(3)),
    ]
    hashes = [samples_sha256(one), *map(samples_sha256, wrapped)]
    assert None not in hashes
    assert len(set(hashes)) == len(hashes)
    assert samples_sha256(ConcatDataset([folder_set(digits), other], ignore_keys="classes")) == hashes[1]


class InMemory(BaseDataset):
    def __init__(self, images: np.ndarray) -> None:
        self.images = images
        super().__init__(pipeline=[])

    def load_data_list(self) -> list[dict]:
        return [dict(img=image, gt_label=index % 10) for index, image in enumerate(self.images)]


def test_pictures_in_memory_are_known_by_their_pixels():
    from sklearn.datasets import load_digits

    images = load_digits().images.astype(np.uint8)
    first = samples_sha256(InMemory(images))
    assert samples_sha256(InMemory(images.copy())) == first
    images[700, 3, 3] ^= 1
    assert samples_sha256(InMemory(images)) != first


def test_beyond_the_bound_spread_samples_stand_for_all(digits: Path, monkeypatch: pytest.MonkeyPatch):
    dataset, asked = folder_set(digits), []
    read = dataset.get_data_info
    monkeypatch.setattr(dataset, "get_data_info", lambda index: asked.append(index) or read(index))
    monkeypatch.setattr("interngv.engine.fingerprint._MOST_SAMPLES", 100)
    assert samples_sha256(dataset) == samples_sha256(folder_set(digits))
    assert 50 < len(asked) <= 100
    assert asked[-1] > 0.95 * len(dataset)


def test_a_set_without_a_list_has_no_hash():
    tensors = torch.utils.data.TensorDataset(torch.zeros(3))
    assert samples_sha256(tensors) is None
    assert samples_sha256(torch.utils.data.ConcatDataset([InMemory(np.zeros((2, 4, 4))), tensors])) is None


# Config


def test_a_configs_hash_follows_its_settings_only():
    one = dict(model=dict(type="A", sizes=(1, 2)), lr=0.1, work_dir="x", launcher="none")
    other = dict(lr=0.1, work_dir="y", resume=True, model=dict(sizes=[1, 2], type="A"))
    assert config_sha256(Config(one)) == config_sha256(Config(other))
    assert config_sha256(Config(one | dict(lr=0.2))) != config_sha256(Config(one))


def test_an_objects_place_in_memory_does_not_count():
    kept = [Config(dict(names=np.array([object(), "a"]), path=Path("x"), other=object())) for _ in range(2)]
    assert config_sha256(kept[0]) == config_sha256(kept[1])
    assert config_sha256(kept[0]) != config_sha256(Config(dict(kept[0]) | dict(path=Path("y"))))


def test_a_configs_hash_is_the_same_in_another_process(tmp_path: Path):
    path = tmp_path / "c.py"
    path.write_text("import torch\nopt = dict(type=torch.optim.SGD, names={'b', 'a', 'c'})\ndel torch\n")
    code = (
        "import sys; from interngv.engine.fingerprint import config_sha256; from mmengine.config import Config;"
        "print(config_sha256(Config.fromfile(sys.argv[1], lazy_import=False)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, path],
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == config_sha256(Config.fromfile(path, lazy_import=False))


# Lineage


def checkpoint(folder: Path, value: float, found: dict | None) -> Path:
    """A checkpoint folder with one tensor and this lineage."""
    directory.write(folder, dict(state_dict={"a": torch.full((2,), value)}, meta=dict(iter=1, lineage=found)))
    return folder


@pytest.fixture
def third(digits: Path, lines: list[str], tmp_path: Path) -> Path:
    """The third of three stages, which starts from the second and from weights of another project."""
    found: dict = {}
    parents: list[dict] = []
    for number, dataset in enumerate((folder_set(digits), listed_set(digits, lines[:9]), folder_set(digits))):
        cfg = Config(dict(lr=number, licences=dict(train=f"licence {number}")))
        found = lineage.of_run(cfg, {"train": dataset}, parents)
        path = checkpoint(tmp_path / f"stage_{number}" / "iter_1", number, found)
        parents = [lineage.origin(path)]
        if number == 1:
            torch.save({"x": torch.zeros(1)}, tmp_path / "foreign.pth")
            parents.append(lineage.origin(tmp_path / "foreign.pth", licence="MIT"))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_checkpoint_tells_of_all_before_it(third: Path, tmp_path: Path):
    found = json.loads((third / "meta.json").read_text())["lineage"]
    second, foreign = found["parents"]
    (first,) = second["lineage"]["parents"]
    assert second["sha256"] == sha256(tmp_path / "stage_1/iter_1/weights.safetensors")
    assert first["sha256"] == sha256(tmp_path / "stage_0/iter_1/weights.safetensors")
    assert foreign == dict(sha256=sha256(tmp_path / "foreign.pth"), path=foreign["path"], licence="MIT", lineage=None)
    assert first["lineage"]["data"] == found["data"] != second["lineage"]["data"]
    assert len({one["config_sha256"] for one in (first["lineage"], second["lineage"], found)}) == 3
    assert str(tmp_path) not in json.dumps(found)


def test_data_sets_go_by_split_and_source(digits: Path):
    part = folder_set(digits)
    sources = {name: dict(dataset=RepeatDataset(part, times), batch_size=2) for name, times in (("a", 1), ("b", 2))}
    plain = DataLoader(part)
    found = lineage.datasets_of({"train": MetaDataLoader(sources), "val": {"a": plain, "b": plain}, "test": plain})
    assert list(found) == ["train/a", "train/b", "val/a", "val/b", "test"]
    assert [len(dataset) // len(part) for dataset in found.values()] == [1, 2, 1, 1, 1]


def test_the_code_is_named_by_its_commit():
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        pytest.skip("no checkout")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True).stdout
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=root).returncode == 1
    code = lineage.of_run(Config({}), {})["code"]
    assert (code["commit"], code["dirty"]) == (head.strip(), changed)


def test_weights_that_a_model_asks_for_are_parents(tmp_path: Path):
    path = checkpoint(tmp_path / "up" / "iter_1", 1, None)
    init = dict(type="interngv.PretrainedTrunk", checkpoint=str(path))
    url = "https://nowhere.invalid/r50.pth"
    model = dict(backbone=dict(init_cfg=init), heads=[dict(init_cfg=[dict(type="Pretrained", checkpoint=url)])])
    parents = lineage.of_run(Config(dict(model=model)), {})["parents"]
    assert [one["sha256"] for one in parents] == [sha256(path / "weights.safetensors"), None]
    assert parents[1]["path"] == url


def test_the_licence_of_an_open_pack_is_known(digits: Path):
    (digits / layouts.STAMP).write_text("digits-8x8 0123 layout 1\n")
    cfg = Config(dict(licences=dict(extra="CC0")))
    found = lineage.of_run(cfg, {"train": ConcatDataset([folder_set(digits), folder_set(digits)])})
    assert found["licences"] == dict(train="BSD-3-Clause", extra="CC0")
    with pytest.raises(UserError, match="licences=.*expected a dict"):
        lineage.of_run(Config(dict(licences=["MIT"])), {})


# The command


def command(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["lineage", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_command_prints_the_tree(third: Path, tmp_path: Path):
    status, text = command(third)
    assert status == 0
    starts = [line for line in text.splitlines() if " weights " in line]
    assert [len(line) - len(line.lstrip()) for line in starts] == [0, 2, 4, 2]
    for line, folder in zip(starts, ("stage_2", "stage_1", "stage_0"), strict=False):
        assert f"{folder}/iter_1" in line
        assert sha256(tmp_path / folder / "iter_1/weights.safetensors")[:12] in line
    assert all(f"licences train  licence {number}" in text for number in range(3))
    assert text.rstrip().splitlines()[-1].strip().startswith("no lineage")
    status, text = command(third, "--json")
    assert status == 0
    assert json.loads(text)["lineage"] == json.loads((third / "meta.json").read_text())["lineage"]
    assert command(third / "weights.safetensors")[1] == command(third)[1].replace(
        "stage_2/iter_1 ", "iter_1/weights.safetensors "
    )


def test_the_command_says_that_a_file_has_none(tmp_path: Path):
    torch.save({}, tmp_path / "old.pth")
    status, text = command(tmp_path / "old.pth")
    assert status == 0
    assert "old.pth" in text and "no lineage" in text


def test_the_command_refuses_what_is_no_checkpoint(tmp_path: Path):
    assert command(tmp_path / "absent")[0] == 2
    assert command(tmp_path)[0] == 2
    for text in ("no json", "[1]", '{"lineage": [1]}', "[" * 100_000):
        (tmp_path / "meta.json").write_text(text)
        status, output = command(tmp_path)
        assert status == 2, text
        assert "meta.json" in output and "Traceback" not in output


def test_a_hostile_lineage_prints_as_text(tmp_path: Path):
    found: dict = dict(config="\x1b[2Jgone\n", data=["x"], code=3, parents=[1, dict(path="deep")], created=float("nan"))
    for _ in range(50):
        found = dict(found, parents=[dict(sha256=5, path="p", lineage=found)])
    status, text = command(checkpoint(tmp_path / "iter_1", 0, found))
    assert status == 0
    assert "?[2Jgone?" in text and "\x1b" not in text
    assert "from deep" in text
