"""Cached features: the numbers, what is computed again and what is not, kills, neighbours, bad pictures."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interngv  # noqa: F401  (repairs torchvision before a host library imports it)
from interngv.errors import UserError
from interngv.gvb import trunks
from interngv.gvb.features import FeatureSet, cache, extract, pictures
from interngv.gvb.trunks import TrunkSpec

PER_CLASS = 4


@pytest.fixture(scope="module")
def few(class_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four real pictures of each of ten classes, as list file and folder: ``images/CLASS/*``, ``meta/train.txt``."""
    root = tmp_path_factory.mktemp("few")
    lines = []
    for label, folder in enumerate(sorted((class_folder / "train").iterdir())):
        (root / "images" / folder.name).mkdir(parents=True)
        for picture in sorted(folder.iterdir())[:PER_CLASS]:
            shutil.copy(picture, root / "images" / folder.name)
            lines.append(f"{folder.name}/{picture.name} {label}\n")
    (root / "meta").mkdir()
    (root / "meta" / "train.txt").write_text("".join(lines))
    return root


@pytest.fixture
def own(few: Path, tmp_path: Path) -> Path:
    """A copy of the pictures that a test may spoil."""
    return Path(shutil.copytree(few, tmp_path / "own"))


@pytest.fixture(scope="module")
def mini() -> TrunkSpec:
    return trunks.resolve("mn-mini", "random")


def listed(root: Path) -> dict:
    return dict(type="CustomDataset", data_root=str(root), ann_file="meta/train.txt", data_prefix="images")


def by_hand(spec: TrunkSpec, path: Path, side: int) -> torch.Tensor:
    """The released transform, stated with OpenCV's decoder and Pillow alone."""
    import cv2
    from PIL import Image

    picture = Image.fromarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
    width, height = picture.size
    scale = side / min(width, height)
    picture = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = (round((length - side) / 2) for length in picture.size)
    pixels = np.asarray(picture.crop((left, top, left + side, top + side)), np.float32)
    normalised = (pixels - np.float32(spec.mean)) / np.float32(spec.std)
    with torch.inference_mode():
        return trunks.pooled(trunks.load(spec), torch.from_numpy(normalised.transpose(2, 0, 1).copy())[None])[0]


@pytest.mark.slow
@pytest.mark.parametrize(("word", "side"), [("mn-mini", None), ("mn-mini", 48), ("timm:tf_efficientnet_lite0", 64)])
def test_features_are_those_of_the_released_transform(word: str, side: int | None, few: Path, tmp_path: Path) -> None:
    spec = trunks.resolve(word, "random")
    found = extract(spec, listed(few), tmp_path, size=side)
    assert found.features.shape == (40, spec.width) and found.features.dtype == torch.float32
    lines = [line.split() for line in (few / "meta/train.txt").read_text().splitlines()]
    assert found.names == tuple(name for name, _ in lines)
    assert found.labels.tolist() == [int(label) for _, label in lines]
    for row in (0, 17, 39):
        expected = by_hand(spec, few / "images" / found.names[row], side or spec.img_size)
        assert torch.allclose(found.features[row], expected, rtol=1e-4, atol=1e-5)


def test_the_second_call_reads_no_picture(mini: TrunkSpec, few: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import mmcv

    first = extract(mini, listed(few), tmp_path)
    assert first.images_seen == 40
    monkeypatch.setattr(mmcv, "imfrombytes", lambda *a, **k: pytest.fail("a picture was read"))
    monkeypatch.setattr(cache, "load", lambda *a: pytest.fail("the trunk was built"))
    again = extract(mini, listed(few), tmp_path, batch_size=3, num_workers=2)
    assert again.images_seen == 0 and again.names == first.names and torch.equal(again.features, first.features)
    assert [path.name for path in tmp_path.iterdir()] == [first.path.name]


def test_one_extraction_serves_every_shot(mini: TrunkSpec, own: Path, tmp_path: Path) -> None:
    from interngv.gvb.shots import Shots, select

    whole = extract(mini, listed(own), tmp_path / "cache")
    rows = select(whole.names, whole.labels.numpy(), Shots.parse("50")).tolist()
    lines = (own / "meta/train.txt").read_text().splitlines(keepends=True)
    (own / "meta/train.txt").write_text("".join(lines[row] for row in rows))
    alone = extract(mini, listed(own), tmp_path / "cache")
    half = whole.take(rows)
    assert half.names == alone.names and torch.equal(half.labels, alone.labels) and len(half) == 20
    assert torch.allclose(half.features, alone.features, rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU in sight")
def test_a_gpu_gives_the_same(mini: TrunkSpec, few: Path, tmp_path: Path) -> None:
    here, there = (extract(mini, listed(few), tmp_path / device, device=device) for device in ("cpu", "cuda"))
    assert there.images_seen == 40
    assert (there.features - here.features).abs().max() <= 1e-3 * here.features.abs().max()


def rewrite(root: Path, change: Callable[[list[str]], list[str]]) -> None:
    lines = (root / "meta/train.txt").read_text().splitlines(keepends=True)
    (root / "meta/train.txt").write_text("".join(change(lines)))


CHANGES: dict[str, Callable[[Path], None]] = {
    "one sample less": lambda root: rewrite(root, lambda lines: lines[:-1]),
    "another order": lambda root: rewrite(root, lambda lines: lines[::-1]),
    "another label": lambda root: rewrite(root, lambda lines: [lines[0].rstrip()[:-1] + "7\n", *lines[1:]]),
    "another picture under the name": lambda root: swap(root),
}


def swap(root: Path) -> None:
    one, *others = sorted((root / "images").rglob("*.*"))
    other = next(path for path in others if path.stat().st_size != one.stat().st_size)
    shutil.copy(other, one)


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_other_data_are_another_file(change: str, mini: TrunkSpec, own: Path, tmp_path: Path) -> None:
    before = extract(mini, listed(own), tmp_path / "cache")
    CHANGES[change](own)
    assert extract(mini, listed(own), tmp_path / "cache").path != before.path


@pytest.mark.slow
def test_another_trunk_or_pipeline_is_another_file(mini: TrunkSpec, few: Path, tmp_path: Path) -> None:
    specs = [
        mini,
        trunks.resolve("mn-mini", "random:1"),
        replace(mini, mean=(0.0, 0.0, 0.0)),
        replace(mini, to_rgb=False),
    ]
    state = trunks.load(mini).state_dict()
    torch.save(state, tmp_path / "saved.pth")
    specs.append(trunks.resolve("mn-mini", str(tmp_path / "saved.pth")))
    state["stem.conv.weight"][0, 0, 0, 0] += 1e-3
    torch.save(state, tmp_path / "changed.pth")
    specs.append(trunks.resolve("mn-mini", str(tmp_path / "changed.pth")))
    found = [extract(spec, listed(few), tmp_path / "cache") for spec in specs]
    found.append(extract(mini, listed(few), tmp_path / "cache", size=40))
    assert len({one.path for one in found}) == len(found) and {one.images_seen for one in found} == {40}
    assert torch.equal(found[0].features, found[4].features)  # the same weights, saved and read


# Interrupted, in parallel, damaged


def test_an_interrupted_pass_goes_on_where_it_was(mini: TrunkSpec, few: Path, tmp_path: Path, monkeypatch: Any) -> None:
    whole = extract(mini, listed(few), tmp_path / "whole", batch_size=4, chunk=10)
    write, written = cache._write, []

    def stops(path: Path, *rest: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, *rest)

    monkeypatch.setattr(cache, "_write", stops)
    with pytest.raises(KeyboardInterrupt):
        extract(mini, listed(few), tmp_path / "cut", batch_size=4, chunk=10)
    monkeypatch.setattr(cache, "_write", write)
    rest = extract(mini, listed(few), tmp_path / "cut", batch_size=4, chunk=10)
    assert rest.images_seen == 20
    assert rest.path.read_bytes() == whole.path.read_bytes()
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [rest.path.name]


def _extract(root: Path, folder: Path, results: Any = None, pause: float = 0.0) -> None:
    """In a process of its own; ``pause`` slows every chunk down."""
    torch.set_num_threads(1)
    write = cache._write

    def slow(*parts: Any) -> None:
        write(*parts)
        time.sleep(pause)

    cache._write = slow
    found = extract(trunks.resolve("mn-mini", "random"), listed(root), folder, batch_size=4, chunk=4)
    if results is not None:
        results.put(found.images_seen)


@pytest.mark.slow
def test_two_processes_compute_once(few: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    both = [context.Process(target=_extract, args=(few, tmp_path, results, 0.05)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert sorted(results.get(timeout=5) for _ in both) == [0, 40]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_a_killed_process_leaves_its_chunks(mini: TrunkSpec, few: Path, tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_extract, args=(few, tmp_path / "cut", None, 0.5))
    process.start()
    end = time.monotonic() + 100
    while not list((tmp_path / "cut").glob(".*.parts/*.safetensors")) and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    found = extract(mini, listed(few), tmp_path / "cut", batch_size=4, chunk=4)
    whole = extract(mini, listed(few), tmp_path / "whole", batch_size=4, chunk=4)
    assert 0 < found.images_seen < 40
    assert found.path.read_bytes() == whole.path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("place", [200, -200, None])
def test_a_damaged_file_is_no_result(place: int | None, mini: TrunkSpec, few: Path, tmp_path: Path) -> None:
    path = extract(mini, listed(few), tmp_path).path
    content = bytearray(path.read_bytes())
    if place is None:
        content = content[: len(content) // 2]
    else:
        content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"features .* are (damaged|not as they were|of another).*remove it"):
        extract(mini, listed(few), tmp_path)


# Bad input


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_picture_is_named(workers: int, mini: TrunkSpec, own: Path, tmp_path: Path) -> None:
    spoiled = sorted((own / "images").rglob("*.*"))[20]
    spoiled.write_bytes(b"no picture")
    with pytest.raises(UserError) as caught:
        extract(mini, listed(own), tmp_path / "cache", num_workers=workers, batch_size=8)
    assert str(spoiled) in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_a_missing_picture_is_named(mini: TrunkSpec, own: Path, tmp_path: Path) -> None:
    missing = sorted((own / "images").rglob("*.*"))[3]
    missing.unlink()
    with pytest.raises(UserError, match=f"{missing.name} cannot be read: No such file"):
        extract(mini, listed(own), tmp_path / "cache")


def test_missing_data_and_an_empty_list_are_named(mini: TrunkSpec, own: Path, tmp_path: Path) -> None:
    (own / "meta/train.txt").write_text("")
    with pytest.raises(UserError, match="has no samples"):
        extract(mini, listed(own), tmp_path / "cache")
    with pytest.raises(UserError, match=r"nowhere"):
        extract(mini, listed(tmp_path / "nowhere"), tmp_path / "cache")


def test_features_that_are_not_finite_are_refused(mini: TrunkSpec, few: Path, tmp_path: Path) -> None:
    state = trunks.load(mini).state_dict()
    state["head.norm.weight"][:] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    spec = trunks.resolve("mn-mini", str(tmp_path / "nan.pth"))
    with pytest.raises(UserError, match="not finite for 40"):
        extract(spec, listed(few), tmp_path / "cache")


# Data sets of other forms


@pytest.fixture
def in_memory(few: Path, monkeypatch: Any) -> type:
    """A data set that holds its pictures as RGB arrays, as mmpretrain's CIFAR does."""
    from mmpretrain.datasets import BaseDataset
    from mmpretrain.registry import DATASETS
    from PIL import Image

    class Held(BaseDataset):
        def load_data_list(self) -> list[dict]:
            files = [line.split() for line in (few / "meta/train.txt").read_text().splitlines()]
            images = [np.asarray(Image.open(few / "images" / name).convert("RGB")) for name, _ in files]
            return [dict(img=image, gt_label=int(label)) for image, (_, label) in zip(images, files, strict=True)]

    monkeypatch.setitem(DATASETS._module_dict, "Held", Held)
    return Held


def test_pictures_in_memory_give_the_same(in_memory: type, mini: TrunkSpec, few: Path, tmp_path: Path) -> None:
    held = extract(mini, dict(type="Held", ann_file=""), tmp_path)
    read = extract(mini, listed(few), tmp_path)
    assert held.names[:2] == ("00000000", "00000001") and torch.equal(held.labels, read.labels)
    # two JPEG decoders may differ by a grey level
    assert (held.features - read.features).abs().mean() <= 0.02 * read.features.abs().mean()


def test_joined_sets_keep_their_names_apart(mini: TrunkSpec, few: Path, own: Path, tmp_path: Path) -> None:
    joined = extract(mini, dict(type="ConcatDataset", datasets=[listed(few), listed(own)]), tmp_path / "cache")
    assert len(joined) == len(set(joined.names)) == 80
    assert torch.allclose(joined.features[:40], joined.features[40:], rtol=1e-4, atol=1e-6)


def test_a_sample_of_several_labels_is_refused(in_memory: type) -> None:
    data = pictures.build(dict(type="Held", ann_file=""), 32)
    for label in ([1, 2], None, 1.5):
        with pytest.raises(UserError, match="expected one class number"):
            pictures._label(label, "x")
    assert len(pictures.samples(data)[0]) == 40


def test_take_keeps_rows_together() -> None:
    given = FeatureSet(torch.arange(6.0).reshape(3, 2), torch.tensor([5, 6, 7]), ("a", "b", "c"), Path("x"))
    taken = given.take([2, 0])
    assert taken.names == ("c", "a") and taken.labels.tolist() == [7, 5] and taken.features.tolist() == [[4, 5], [0, 1]]
