"""State as JSON and tensors: what goes in comes out, to the bit; what cannot is named."""

import json
import math
import random
import struct
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from tiny_training import same

from interngv.checkpoint.codec import NotStorable, decode, encode
from interngv.checkpoint.tensors import read_tensors, serialize


def through_files(tree: Any, folder: Path) -> Any:
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(encode(tree, "state", tensors), allow_nan=False)
    (folder / "t.safetensors").write_bytes(b"".join(serialize(tensors)))
    return decode(json.loads(text), read_tensors(folder / "t.safetensors")[0])


def through_text(tree: Any, folder: Path) -> Any:
    return decode(json.loads(json.dumps(encode(tree), allow_nan=False)))


WAYS = [through_files, through_text]
NAN_WITH_PAYLOAD = struct.unpack(">d", bytes.fromhex("7ff8000000000abc"))[0]


def history() -> HistoryBuffer:
    buffer = HistoryBuffer([0.5, math.nan], [1, 2], max_length=7)
    buffer.update(3.0)
    return buffer


VALUES = {
    "plain": {"a": [1, 2.5, True, None, "text", -0.0, 10**30], "b": {"c": []}},
    "no numbers": [math.nan, math.inf, -math.inf, NAN_WITH_PAYLOAD, 5e-324],
    "tuples": ((1, (2.0, ())), [()]),
    "keys": {1: "a", "1": "b", (2, None): "c", 0.5: "d", False: "e"},
    "taken key": {"$": "tensor", "name": "x"},
    "texts": ["", '\0\n"\\', "\ud800", "größe 数"],
    "scalars": [np.float32(0.1), np.float64(math.nan), np.int8(-3), np.bool_(True), np.uint64(2**64 - 1), np.str_("ä")],
    "arrays": [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype="<f4").reshape(2, 3)).copy(),
        np.array([1, 2], dtype=">i4"),
        np.array(["a", "bcd"]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.zeros((0, 4), dtype=np.float16),
        np.array(3 + 4j),
        np.longdouble([0.1]),
    ],
    "tensors": [
        torch.randn(3, 4),
        torch.tensor(7.0),
        torch.empty(0, 3),
        torch.randn(4, dtype=torch.bfloat16),
        torch.randn(4, dtype=torch.float16),
        torch.randn(4, dtype=torch.complex128).conj(),
        torch.randn(4).to(torch.float8_e4m3fn),
        torch.tensor([True, False]),
        torch.tensor([2**63 - 1, -(2**63)]),
        torch.tensor([2**64 - 1], dtype=torch.uint64),
        torch.full((2,), math.nan),
    ],
    "memory": [
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randn(8, 1, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d),
        torch.randn(5, 3).t(),
        torch.randn(64, 8, 1, 1).to(memory_format=torch.channels_last),
    ],
    "ordered": OrderedDict(b=1, a=torch.ones(2)),
    "history": {"loss": history(), "none": HistoryBuffer()},
    "random": [random.getstate(), np.random.get_state(), torch.get_rng_state()],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", VALUES)
def test_what_goes_in_comes_out(name: str, way: Any, tmp_path: Path):
    found = way(VALUES[name], tmp_path)
    if name == "tensors":
        assert found[5].tolist() == VALUES[name][5].tolist()  # a conjugate comes back computed
        found[5] = VALUES[name][5]
    assert same(found, VALUES[name])


@pytest.mark.parametrize("way", WAYS)
def test_random_trees_come_back(way: Any, tmp_path: Path):
    chance = random.Random(0)
    leaves = [value for some in VALUES.values() if isinstance(some, list) for value in some]
    leaves = [one for one in leaves if not (torch.is_tensor(one) and one.is_conj())]

    def grow(depth: int) -> Any:
        kind = chance.randrange(5) if depth else 4
        if kind == 4:
            return chance.choice(leaves)
        if kind < 2:
            return [list, tuple][kind](grow(depth - 1) for _ in range(chance.randrange(4)))
        keys = [chance.choice([chance.randrange(9), f"k{chance.randrange(9)}"]) for _ in range(chance.randrange(4))]
        return [dict, OrderedDict][kind - 2]((key, grow(depth - 1)) for key in keys)

    for _ in range(40):
        tree = [grow(4)]
        assert same(way(tree, tmp_path), tree)


def test_gaps_in_memory_are_left_out_and_gradients_too(tmp_path: Path):
    rows = torch.randn(6, 4)
    tree = [rows[::2], rows[:, 1], torch.ones(1).expand(3), torch.nn.Parameter(rows)]
    for one, before in zip(through_files(tree, tmp_path), tree, strict=True):
        assert torch.equal(one, before) and one.is_contiguous() and not one.requires_grad
        assert one.untyped_storage().nbytes() == one.numel() * 4


def test_a_state_dict_keeps_the_versions_of_its_modules(tmp_path: Path):
    state = torch.nn.BatchNorm2d(3).state_dict()
    assert through_files(state, tmp_path)._metadata == state._metadata != {}


def test_tensors_of_one_memory_are_stored_once(tmp_path: Path):
    big = torch.randn(1000)
    found = through_files({"a": big, "b": [big], "c": big.view(10, 100)}, tmp_path)
    assert (tmp_path / "t.safetensors").stat().st_size < 2 * 4000 + 1000
    assert torch.equal(found["b"][0], big) and torch.equal(found["c"].flatten(), big)
    found["a"].zero_()
    assert torch.equal(found["b"][0], big)  # apart again: states are changed in place


def test_the_file_is_read_by_the_library(tmp_path: Path):
    from safetensors import safe_open
    from safetensors.torch import load_file

    tensors = {"b": torch.arange(3), "a": torch.randn(2, 2).half(), "flag": torch.tensor(True), "n": torch.tensor(2.0)}
    (tmp_path / "t.safetensors").write_bytes(b"".join(serialize(tensors)))
    found = load_file(tmp_path / "t.safetensors")
    assert same({name: found[name] for name in tensors}, tensors)
    assert list(read_tensors(tmp_path / "t.safetensors")[0]) == list(tensors)
    with safe_open(tmp_path / "t.safetensors", "pt") as file:
        assert file.metadata()["format"] == "pt"


class Odd:
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {2: Odd()}]}, r"state\['a'\]\[1\]\[2\] is a .*Odd"),
        ({"f": print}, r"state\['f'\] is a builtins.builtin_function"),
        ([{1, 2}], r"state\[0\] is a builtins.set"),
        ({"o": np.array([None])}, r"state\['o'\] is a numpy.ndarray"),
        ({"s": torch.eye(2).to_sparse()}, r"state\['s'\] is a sparse"),
        ({"m": torch.empty(2, device="meta")}, r"state\['m'\] is a sparse, quantised or meta"),
        ({"l": torch.nn.Linear(1, 1)}, r"state\['l'\] is a torch.nn"),
        ({"t": torch.Size([1])}, r"state\['t'\] is a torch.Size"),
        ({"b": b"x"}, r"state\['b'\] is a builtins.bytes"),
    ],
)
def test_what_cannot_be_stored_is_named(value: Any, message: str):
    with pytest.raises(NotStorable, match=message):
        encode(value, "state", {})


def test_dicts_of_other_kinds_come_back_as_dicts():
    assert same(decode(encode(defaultdict(list, a=[1]))), {"a": [1]})


@pytest.mark.parametrize(
    "text",
    [
        '{"$": "eval", "items": []}',
        '{"$": "array", "dtype": "O", "shape": [1], "data": "AAAAAAAAAAA="}',
        '{"$": "array", "dtype": "<f4", "shape": [9], "data": "AAAA"}',
        '{"$": "tensor", "dtype": "load", "shape": [1], "data": "AAAA"}',
        '{"$": "tensor", "dtype": "float32", "shape": [1], "stride": [-1], "data": "AAAAAA=="}',
        '{"$": "tensor", "dtype": "float32", "shape": [2], "stride": [4000000], "data": "AAAAAAAAAAA="}',
        '{"$": "tensor", "shape": [2, 2], "stride": [1, 900], "name": "t"}',
        '{"$": "tensor", "name": "unknown"}',
        '{"$": "scalar", "dtype": "O", "bits": "0000000000000000"}',
        '{"$": "float", "bits": "00"}',
        '{"$": "dict", "items": [[[], 1]]}',
        '{"$": "history"}',
    ],
)
def test_forged_state_is_refused_and_touches_no_other_memory(text: str):
    with pytest.raises((ValueError, KeyError, TypeError, RuntimeError, struct.error)):
        decode(json.loads(text), {"t": torch.ones(2, 2)})
