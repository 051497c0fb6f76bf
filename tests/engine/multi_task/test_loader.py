"""The loader over several data sets: order, resume, randomness, unreadable samples, dead workers."""

import json
import os
import random
import signal
import sys
import time
import traceback
import tracemalloc
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from interngv.engine.multi_task import MetaBatch, MetaDataLoader
from interngv.engine.multi_task.order import samples
from interngv.errors import UserError

THREE = {"a": (100, 4, 1.0), "b": (37, 8, 0.5), "c": (3, 2, 0.25)}


class Numbers(Dataset):
    """Samples that tell their index and draw from each global generator, as random transforms do."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < self.n:
            raise IndexError(index)
        return dict(index=index, drawn=(random.random(), float(np.random.rand()), float(torch.rand(()))))


def loader(sources: dict[str, tuple[int, int, float]] | None = None, **kwargs: Any) -> MetaDataLoader:
    """A loader of :class:`Numbers`: samples, batch size and weight by name."""
    cfg = {
        name: dict(dataset=dict(type=Numbers, n=n), batch_size=size, weight=weight)
        for name, (n, size, weight) in (sources or THREE).items()
    }
    return MetaDataLoader(cfg, **kwargs)


def take(source: MetaDataLoader, number: int) -> list[MetaBatch]:
    return list(islice(source, number))


def drawn(batches: list[MetaBatch], name: str) -> list[int]:
    return [index for batch in batches if name in batch.parts for index in batch.parts[name].ids]


def through_json(state: dict) -> dict:
    return json.loads(json.dumps(state))


def global_states() -> tuple:
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        np.random.get_state()[2:],
        torch.get_rng_state().tolist(),
    )


@pytest.mark.parametrize("schedule", ["interleave", "joint", "rank"])
def test_the_order_is_the_same_for_any_number_of_workers_and_after_a_resume_at_any_step(schedule: str) -> None:
    sources = {name: (n, size, 1.0) for name, (n, size, _) in THREE.items()} if schedule == "joint" else THREE
    options = dict(schedule=schedule, seed=5) | (dict(world_size=5, rank=3) if schedule == "rank" else {})
    straight = take(loader(sources, **options), 40)
    assert [batch.step for batch in straight] == list(range(40))
    assert take(loader(sources, num_workers=2, **options), 40) == straight
    half = loader(sources, **options)
    states = [half.state_dict()]
    for _ in islice(half, 30):
        states.append(half.state_dict())
    for step, state in enumerate(states):
        again = loader(sources, **options)
        again.load_state_dict(through_json(state))
        assert again.state_dict() == state
        assert take(again, 10) == straight[step : step + 10]


def test_the_order_depends_on_the_seed_and_not_on_the_place_of_a_source_in_the_config() -> None:
    straight = take(loader(seed=0), 60)
    assert drawn(take(loader(seed=1), 60), "a") != drawn(straight, "a")
    turned = take(loader(dict(reversed(THREE.items())), seed=0), 60)
    assert [batch.parts for batch in turned] == [batch.parts for batch in straight]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_state_is_that_of_the_batches_handed_out_not_of_those_read_ahead(workers: int) -> None:
    straight = take(loader(), 20)
    ahead = loader(num_workers=workers)
    batches = iter(ahead)
    for step in range(7):
        assert next(batches) == straight[step]
        assert ahead.state_dict()["step"] == step + 1
    again = loader()
    again.load_state_dict(ahead.state_dict())
    assert take(again, 13) == straight[7:]


def test_persistent_workers_go_on_where_a_loaded_state_stands() -> None:
    straight = take(loader(), 20)
    one = loader(num_workers=1, persistent_workers=True, prefetch_factor=3)
    take(one, 5)
    state = one.state_dict()
    take(one, 5)
    one.load_state_dict(state)
    assert take(one, 15) == straight[5:]


@pytest.mark.parametrize("schedule", ["interleave", "joint"])
def test_two_ranks_share_the_order_of_one_with_double_batches(schedule: str) -> None:
    ranks = [loader({"a": (50, 3, 1.0), "b": (11, 2, 1.0)}, schedule=schedule, rank=r, world_size=2) for r in (0, 1)]
    one = loader({"a": (50, 6, 1.0), "b": (11, 4, 1.0)}, schedule=schedule)
    for first, second, whole in zip(*(take(each, 40) for each in (*ranks, one)), strict=True):
        assert first.parts.keys() == second.parts.keys() == whole.parts.keys()
        for name, part in whole.parts.items():
            assert first.parts[name].ids + second.parts[name].ids == part.ids
    assert ranks[0].state_dict() == ranks[1].state_dict()
    positions = [[source["consumed"] for source in each.state_dict()["sources"].values()] for each in (ranks[0], one)]
    assert positions[0] == positions[1]


def test_ranks_split_among_sources_draw_each_sample_once_an_epoch() -> None:
    sources = {"a": (60, 2, 3.0), "b": (7, 3, 1.0)}
    loaders = [loader(sources, schedule="rank", rank=r, world_size=4) for r in range(4)]
    ranks = [take(one, 28) for one in loaders]
    assert [set().union(*(batch.parts for batch in one)) for one in ranks] == [{"a"}, {"a"}, {"a"}, {"b"}]
    for name, passes, width in (("a", 2, 3), ("b", 12, 1)):
        own = [one for one in ranks if name in one[0].parts]
        assert len(own) == width
        stream = [index for step in range(28) for index in drawn([one[step] for one in own], name)]
        n = sources[name][0]
        assert all(sorted(stream[e * n : e * n + n]) == list(range(n)) for e in range(passes))
        assert loaders[0].state_dict()["sources"][name]["consumed"] == len(stream)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3)])
@pytest.mark.parametrize("schedule", ["interleave", "joint"])
def test_a_resume_with_another_world_size_and_batch_size_keeps_each_epoch_whole(
    before: int, after: int, schedule: str
) -> None:
    def run(world: int, size: int, steps: int, state: dict | None) -> tuple[list[list[MetaBatch]], dict]:
        ranks = [
            loader({"a": (97, size, 1.0), "b": (10, 3, 1.0)}, schedule=schedule, rank=r, world_size=world)
            for r in range(world)
        ]
        for one in ranks:
            one.load_state_dict(state) if state else None
        return [take(one, steps) for one in ranks], ranks[0].state_dict()

    streams: dict[str, list[int]] = {"a": [], "b": []}
    state = None
    for world, size, steps in ((before, 4, 13), (after, 5, 11), (before, 4, 60)):
        batches, state = run(world, size, steps, state)
        for step in zip(*batches, strict=True):
            for name, stream in streams.items():
                stream += drawn(list(step), name)
    assert state["step"] == 84
    for name, n in (("a", 97), ("b", 10)):
        stream = streams[name]
        assert state["sources"][name]["consumed"] == len(stream) >= 2 * n
        for epoch in range(len(stream) // n):
            assert sorted(stream[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_changed_weights_and_schedule_go_on_behind_the_last_consumed_sample() -> None:
    sources = {"a": (40, 4, 1.0), "b": (40, 4, 1.0)}
    first = loader(sources)
    batches = take(first, 12)
    state = first.state_dict()
    for changed in (
        loader({"a": (40, 4, 9.0), "b": (40, 4, 1.0)}),
        loader(sources, schedule="joint"),
        loader(sources | {"c": (5, 2, 1.0)}),
    ):
        changed.load_state_dict(state)
        all_batches = batches + take(changed, 40)
        for name in changed.sources:
            stream = drawn(all_batches, name)
            _, expected = samples(np.arange(len(stream)), len(changed.sources[name]), 0, name)
            assert stream == expected.tolist() != []


def test_shares_follow_size_and_weight() -> None:
    sources = {"a": (400, 1, 1.0), "b": (100, 1, 2.0)}
    one = loader(sources, weighting=dict(type="size", power=0.5))
    names = Counter(name for batch in take(one, 300) for name in batch.parts)
    assert names == {"a": 150, "b": 150}


def test_a_short_source_neither_ends_nor_stalls_a_long_one() -> None:
    both = loader({"short": (3, 8, 1.0), "long": (10_000, 8, 1.0)})
    batches = take(both, 400)
    assert all(part.size == 8 == len(part.ids) for batch in batches for part in batch.parts.values())
    assert sorted(Counter(drawn(batches, "short")).values()) == [533, 533, 534]
    assert len(set(drawn(batches, "long"))) == 1600
    assert both.state_dict()["sources"]["short"]["consumed"] == 1600


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_random_states_stay_bitwise_as_they_are(workers: int) -> None:
    before = global_states()
    one = loader(num_workers=workers)
    batches = iter(one)
    for _ in range(10):
        next(batches)
    one.load_state_dict(one.state_dict())
    take(one, 3)
    assert global_states() == before
    torch.rand(1)
    assert global_states() != before


def test_the_global_random_states_are_put_back_after_an_error() -> None:
    before = global_states()
    with pytest.raises(UserError):
        take(MetaDataLoader(dict(a=dict(dataset=Faulty(3, {0, 1, 2}), batch_size=2))), 1)
    assert global_states() == before


def test_transforms_draw_by_seed_source_and_batch_and_by_nothing_else() -> None:
    def draws(batches: list[MetaBatch], name: str, n: int) -> dict:
        found, position = {}, 0
        for batch in batches:
            if name in batch.parts:
                data = batch.parts[name].data
                for index, *values in zip(data["index"], *data["drawn"], strict=True):
                    found[position // n, index] = tuple(values)
                    position += 1
        return found

    alone = draws(take(loader({"a": (10, 3, 1.0)}), 20), "a", 10)
    assert len(alone) == 60 == len(set(alone.values()))
    beside = draws(take(loader({"b": (7, 2, 3.0), "a": (10, 3, 1.0)}, num_workers=2), 80), "a", 10)
    assert beside == alone
    other = draws(take(loader({"a": (10, 3, 1.0)}, seed=1), 20), "a", 10)
    assert not set(other.values()) & set(alone.values())


def test_a_resume_costs_the_same_at_any_step() -> None:
    def work(step: int) -> tuple[int, int]:
        """Calls of functions, and peak memory, from loading the state to the first batch."""
        one = loader({"a": (1000, 8, 1.0), "b": (1000, 8, 0.3)})
        sources = {name: dict(size=1000, consumed=step * 4, seen=0, unreadable=0) for name in "ab"}
        state = dict(step=step, seed=0, sources=sources)
        calls = 0

        def count(frame: Any, event: str, argument: Any) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        tracemalloc.start()
        sys.setprofile(count)
        try:
            one.load_state_dict(state)
            next(iter(one))
        finally:
            sys.setprofile(None)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return calls, peak

    work(10)
    early, late = work(10), work(10**6)
    assert late[0] < 1.2 * early[0] + 50
    assert late[1] < 1.2 * early[1] + 50_000


class Faulty(Numbers):
    """Some samples raise an error, or are None."""

    def __init__(self, n: int, bad: set[int], error: Exception | None = None) -> None:
        super().__init__(n)
        self.bad, self.error = bad, error

    def __getitem__(self, index: int) -> Any:
        if index in self.bad and self.error:
            raise self.error
        return None if index in self.bad else super().__getitem__(index)


@pytest.mark.parametrize("error", [None, FileNotFoundError(2, "No such file", "x.jpg"), OSError("truncated")])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_sample_is_replaced_by_another_of_its_source_and_counted(
    error: Exception | None, workers: int
) -> None:
    sources = dict(
        a=dict(dataset=Faulty(50, {7, 8}, error), batch_size=5), b=dict(dataset=Numbers(50), batch_size=5, weight=0.5)
    )
    one = MetaDataLoader(sources, max_unreadable=0.1, num_workers=workers)
    batches = take(one, 60)
    assert all(len(part.ids) == part.size == 5 for batch in batches for part in batch.parts.values())
    parts = [batch.parts["a"] for batch in batches if "a" in batch.parts]
    assert all(part.data["index"] == part.ids for part in parts)
    messages = [message for part in parts for message in part.unreadable]
    assert {message.split(":")[0] for message in messages} == {"sample 7", "sample 8"}
    ids = Counter(drawn(batches, "a"))
    assert sorted(ids) == [index for index in range(50) if index not in (7, 8)]
    assert sum(ids.values()) == 200
    state = one.state_dict()["sources"]
    assert state["a"] == dict(size=50, consumed=200, seen=200 + len(messages), unreadable=len(messages))
    assert (state["b"]["seen"], state["b"]["unreadable"]) == (100, 0)
    assert not any(message for batch in batches if "b" in batch.parts for message in batch.parts["b"].unreadable)
    assert batches == take(MetaDataLoader(sources, max_unreadable=0.1), 60)


def test_the_run_stops_above_the_rate_of_unreadable_samples_that_was_set() -> None:
    faulty = Faulty(1000, set(range(0, 1000, 10)), OSError("broken"))
    one = MetaDataLoader(dict(fine=dict(dataset=Numbers(9), batch_size=4), photos=dict(dataset=faulty, batch_size=4)))
    seen = 0
    with pytest.raises(UserError, match=r"source 'photos': \d+ of 1\d\d samples \(\d.*max_unreadable is 1.0%.*broken"):
        for batch in one:
            seen += batch.parts["photos"].size if "photos" in batch.parts else 0
    assert 80 <= seen <= 104
    take(MetaDataLoader(dict(photos=dict(dataset=faulty, batch_size=4)), max_unreadable=0.3), 300)


@pytest.mark.parametrize("n", [1, 3, 10_000])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_source_without_any_readable_sample_stops_at_once(n: int, workers: int) -> None:
    tried = {1: "1", 3: "3"}.get(n, "10[01]")
    words = f"source 'a': {tried} of {tried} samples .* cannot be read.*/mnt/x"
    faulty = Faulty(n, set(range(n)), PermissionError(13, "Permission denied", "/mnt/x"))
    one = MetaDataLoader(dict(a=dict(dataset=faulty, batch_size=64)), num_workers=workers, max_unreadable=1.0)
    with pytest.raises(UserError, match=words):
        next(iter(one))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("error", [KeyError("img"), TypeError("no"), ValueError("bad"), RuntimeError("odd")])
def test_a_fault_of_the_program_is_no_unreadable_sample(error: Exception, workers: int) -> None:
    one = MetaDataLoader(dict(photos=dict(dataset=Faulty(3, {2}, error), batch_size=3)), num_workers=workers)
    with pytest.raises(type(error)) as caught:
        next(iter(one))
    words = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    traceback.clear_frames(caught.tb)  # torch's frames refer to the error: they would keep the worker for seconds
    assert "while reading sample 2 of source 'photos'" in words


def test_an_error_of_the_collate_function_names_source_and_samples() -> None:
    def collate(samples: list, width: int) -> None:
        raise ValueError(f"not {width} wide")

    one = MetaDataLoader(
        dict(a=dict(dataset=Numbers(2), batch_size=2, collate_fn=dict(type=collate, width=7))), num_workers=0
    )
    with pytest.raises(ValueError, match="not 7 wide") as caught:
        next(iter(one))
    assert caught.value.__notes__[0] in (
        "while collating samples [0, 1] of source 'a'",
        "while collating samples [1, 0] of source 'a'",
    )


class Deadly(Numbers):
    """Kills the process that reads one of its samples."""

    def __getitem__(self, index: int) -> dict:
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


class Processes(Numbers):
    """Samples that tell which process reads them."""

    def __getitem__(self, index: int) -> int:
        return os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_ends_in_an_error_that_names_source_and_sample(workers: int) -> None:
    sources = dict(fine=dict(dataset=Numbers(50), batch_size=2), photos=dict(dataset=Deadly(6), batch_size=2))
    one = MetaDataLoader(sources, num_workers=workers)
    began = time.monotonic()
    with pytest.raises(UserError, match="worker process .* (killed|exited).*reading sample 5 of source 'photos'"):
        take(one, 50)
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_a_worker_killed_while_the_main_process_trains_is_named_too() -> None:
    one = MetaDataLoader(dict(a=dict(dataset=Processes(9), batch_size=1)), num_workers=1)
    batches = iter(one)
    pid = next(batches).parts["a"].data[0]
    time.sleep(1)  # until it has read all that it reads ahead
    words = f"worker process {pid} .*killed.*reading nothing; the sources are a"
    with pytest.raises(UserError, match=words), one.naming_dead_workers():
        os.kill(pid, signal.SIGKILL)
        for _ in range(300):
            time.sleep(0.1)


def test_other_runtime_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="CUDA out of memory"), loader().naming_dead_workers():
        raise RuntimeError("CUDA out of memory")


PIPELINE = [dict(type="LoadImageFromFile"), dict(type="RandomFlip", prob=0.5), dict(type="PackInputs")]


def digits(folder: Path, **kwargs: Any) -> dict:
    return dict(
        type="mmpretrain.CustomDataset", data_root=str(folder), data_prefix="train", pipeline=PIPELINE, **kwargs
    )


@pytest.mark.parametrize("collate", ["pseudo_collate", "default_collate"])
def test_batches_of_a_host_are_those_of_its_own_data_set_and_collate(digits_folder: Path, collate: str) -> None:
    from mmengine.registry import FUNCTIONS
    from mmpretrain.datasets import CustomDataset

    host = CustomDataset(
        data_root=str(digits_folder),
        data_prefix="train",
        pipeline=[PIPELINE[0] | {"type": "mmpretrain.LoadImageFromFile"}, dict(type="mmpretrain.PackInputs")],
    )
    cfg = dict(digits=dict(dataset=digits(digits_folder), batch_size=6, collate_fn=dict(type=collate)))
    part = take(MetaDataLoader(cfg), 1)[0].parts["digits"]
    plain = FUNCTIONS.get(collate)([host[index] for index in part.ids])
    assert len(part.data["inputs"]) == 6
    assert torch.is_tensor(part.data["inputs"]) == (collate == "default_collate")
    for image, sample, original, label in zip(
        part.data["inputs"], part.data["data_samples"], plain["inputs"], plain["data_samples"], strict=True
    ):
        assert torch.equal(image, original.flip(-1) if sample.flip else original)
        assert (sample.gt_label, sample.img_path) == (label.gt_label, label.img_path)


def test_hosts_side_by_side_with_workers(digits_folder: Path, shared_data: Path | None) -> None:
    if shared_data is None:
        pytest.skip("no shared data")
    raccoon = shared_data / "raccoon"
    boxes = dict(
        type="mmdet.CocoDataset",
        data_root=str(raccoon),
        ann_file="annotations/train.json",
        data_prefix=dict(img="images/"),
        metainfo=dict(classes=("raccoon",)),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="RandomResize", scale=[(64, 64), (96, 96)], keep_ratio=True),
            dict(type="PackDetInputs"),
        ],
    )
    cfg = dict(
        digits=dict(dataset=digits(digits_folder), batch_size=4, task="classify"),
        raccoons=dict(dataset=boxes, batch_size=2),
    )
    here, there = (take(MetaDataLoader(cfg, schedule="joint", num_workers=n), 3) for n in (0, 2))
    for first, second in zip(here, there, strict=True):
        assert [part.task for part in first.parts.values()] == ["classify", "raccoons"]
        for name in cfg:
            assert first.parts[name].ids == second.parts[name].ids
            pairs = zip(first.parts[name].data["inputs"], second.parts[name].data["inputs"], strict=True)
            assert all(torch.equal(one, other) for one, other in pairs)
        sample = first.parts["raccoons"].data["data_samples"][0]
        assert sample.gt_instances.bboxes.tensor.shape == (len(sample.gt_instances.labels), 4)


@pytest.fixture
def spoilt_folder(class_folder: Path, tmp_path: Path) -> Path:
    """Twenty real pictures, of which one is cut short, one empty, one text and one gone."""
    import shutil

    pictures = [sorted(folder.iterdir())[:10] for folder in sorted((class_folder / "train").iterdir())[:2]]
    for picture in [file for folder in pictures for file in folder]:
        target = tmp_path / "train" / picture.parent.name / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1])
def test_spoilt_pictures_of_a_real_data_set_are_replaced_and_named(spoilt_folder: Path, workers: int) -> None:
    one = MetaDataLoader(
        dict(photos=dict(dataset=digits(spoilt_folder), batch_size=5)), num_workers=workers, max_unreadable=0.5
    )
    files = sorted((spoilt_folder / "train").rglob("*.*"))
    assert len(files) == 20
    files[1].write_bytes(files[1].read_bytes()[: files[1].stat().st_size // 8])
    files[8].write_bytes(b"")
    files[13].write_text("no picture")
    files[19].unlink()
    parts = [batch.parts["photos"] for batch in take(one, 16)]
    spoilt = [str(files[number]) for number in (1, 8, 13, 19)]
    assert all(len(part.ids) == len(part.data["inputs"]) == 5 for part in parts)
    read = {sample.img_path for part in parts for sample in part.data["data_samples"]}
    assert read == {str(file) for file in files} - set(spoilt)
    messages = {message for part in parts for message in part.unreadable}
    assert all(sum(path in message for message in messages) == 1 for path in spoilt)
    assert len(messages) == 4
    with pytest.raises(UserError, match=f"source 'photos'.*picture .*{spoilt_folder.name}"):
        take(
            MetaDataLoader(dict(photos=dict(dataset=digits(spoilt_folder / "."), batch_size=5)), num_workers=workers),
            40,
        )


def test_what_hooks_read_of_a_loader(digits_folder: Path) -> None:
    cfg = dict(
        digits=dict(dataset=digits(digits_folder), batch_size=4),
        numbers=dict(dataset=Numbers(5), batch_size=2, task="count"),
    )
    both = MetaDataLoader(cfg)
    assert both.tasks == {"digits": "digits", "numbers": "count"}
    assert len(both.sources["digits"]) == len(list((digits_folder / "train").rglob("*.png")))
    assert both.dataset.metainfo["digits"]["classes"] == tuple("0123456789")
    only = MetaDataLoader({"digits": cfg["digits"]})
    assert only.dataset.metainfo == only.sources["digits"].metainfo


def source(**kwargs: Any) -> dict:
    return dict(a=dict(dataset=dict(type=Numbers, n=5), batch_size=2) | kwargs)


@pytest.mark.parametrize(
    ("sources", "options", "words"),
    [
        ({}, {}, "needs sources="),
        (source(batchsize=2), {}, "source 'a' does not take 'batchsize'; did you mean 'batch_size'"),
        (dict(a=dict(batch_size=2)), {}, "source 'a' lacks dataset"),
        (source(batch_size=0), {}, "source 'a': batch_size .* got 0"),
        (source(batch_size=2.0), {}, "source 'a': batch_size .* got 2.0"),
        (source(weight=-1), {}, "source 'a': weight .* got -1"),
        (source(weight=float("nan")), {}, "source 'a': weight .* got nan"),
        (source(weight=0), {}, "weight 0: a"),
        (source(dataset=dict(type=Numbers, n=0)), {}, "source 'a': its data set has no sample"),
        (source(collate_fn=dict(type="pseudo_colate")), {}, "source 'a': .* did you mean 'pseudo_collate'"),
        (source(), dict(schedule="joined"), "did you mean 'joint'"),
        (source(weight=2), dict(schedule="joint"), "no effect"),
        (source(), dict(schedule="joint", weighting="size"), "no effect"),
        (source(), dict(weighting="sizes"), "did you mean 'size'"),
        (source(), dict(max_unreadable=2), "from 0 to 1, got 2"),
        (source(), dict(prefetch_factor=2), "prefetch_factor"),
        (source() | dict(b=source()["a"]), dict(schedule="rank", world_size=1, rank=0), "at least 2, this run has 1"),
    ],
)
def test_wrong_values_say_what_is_expected(sources: dict, options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        MetaDataLoader(sources, **options)
    assert "\n" not in str(caught.value)


def test_a_state_of_other_sources_is_refused_by_name(caplog: pytest.LogCaptureFixture) -> None:
    one = loader({"photos": (20, 2, 1.0), "b": (10, 2, 1.0)})
    take(one, 10)
    state = one.state_dict()
    with pytest.raises(UserError, match="10 samples of source 'photos', which .* lacks; did you mean 'photo'"):
        loader({"photo": (20, 2, 1.0), "b": (10, 2, 1.0)}).load_state_dict(state)
    with pytest.raises(UserError, match="source 'photos' had 20 samples and now has 21"):
        loader({"photos": (21, 2, 1.0), "b": (10, 2, 1.0)}).load_state_dict(state)
    with pytest.raises(UserError, match="seed 0, this run 1"):
        loader({"photos": (20, 2, 1.0), "b": (10, 2, 1.0)}, seed=1).load_state_dict(state)
    without = loader({"photos": (20, 2, 0.0), "b": (10, 2, 1.0)})
    without.load_state_dict(state)
    assert not drawn(take(without, 20), "photos")
    assert without.state_dict()["sources"]["photos"] == state["sources"]["photos"]
