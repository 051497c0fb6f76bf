"""State as JSON and tensors: what optimizers, schedulers, logs and random generators keep, without pickle.

Plain values stand in the JSON as they are. All others are an object with the key ``"$"``, which names their kind: a
tuple, a dict with other keys than text, a number that JSON has no word for, an array, a tensor. What arrays and tensors
hold goes to a dict of named tensors, which a safetensors file takes, or into the JSON itself as base64.
"""

import base64
import math
import struct
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from interngv.errors import UserError

TAG = "$"
# Kinds of numbers that safetensors has a word for; tensors of another kind go as bytes.
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
_ARRAY_KINDS = "biufcSUmM"  # numpy's; no objects, no records


class NotStorable(UserError):
    """A value that a checkpoint cannot hold; the message says where in the state it stands."""


def encode(value: Any, path: str = "state", tensors: dict[str, Tensor] | None = None) -> Any:
    """Turn a tree of state into what ``json.dumps`` takes; :func:`decode` gives it back bit for bit.

    Dicts, lists, tuples, text, numbers, None, numpy's arrays and scalars, tensors and mmengine's ``HistoryBuffer`` are
    taken. Subclasses of dict come back as dict, an ``OrderedDict`` as such with its ``_metadata`` (a ``state_dict``'s
    versions of modules); tensors come back detached.

    Args:
        path: what the tree is called in messages and in the tensors' names.
        tensors: takes the arrays and tensors, named by their path; they go into the JSON where it is left out.

    Raises:
        NotStorable: names the path of the first value of another type.
    """
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {TAG: "float", "bits": struct.pack(">d", value).hex()}
    if kind in (list, tuple):
        items = [encode(one, f"{path}[{index}]", tensors) for index, one in enumerate(value)]
        return items if kind is list else {TAG: "tuple", "items": items}
    if isinstance(value, OrderedDict):
        entries = encode(dict(value), path, tensors)
        metadata = getattr(value, "_metadata", None)
        return {TAG: "ordered", "entries": entries, "metadata": encode(metadata, f"{path}._metadata", tensors)}
    if isinstance(value, dict):
        return _encode_dict(value, path, tensors)
    if isinstance(value, HistoryBuffer):
        log, count = (encode(part, f"{path}.{i}", tensors) for i, part in enumerate(value.data))
        return {TAG: "history", "max_length": value.max_length, "log": log, "count": count}
    if isinstance(value, np.generic) and value.dtype.kind in _ARRAY_KINDS:
        return {TAG: "scalar", "dtype": value.dtype.str, "bits": value.tobytes().hex()}
    if kind is np.ndarray and value.dtype.kind in _ARRAY_KINDS:
        return _encode_array(value, path, tensors)
    if isinstance(value, Tensor):
        return _encode_tensor(value, path, tensors)
    raise NotStorable(f"{path} is a {kind.__module__}.{kind.__qualname__}, which a checkpoint cannot hold")


def decode(value: Any, tensors: Mapping[str, Tensor] | None = None) -> Any:
    """Turn what ``json.loads`` gave back into the tree that :func:`encode` took.

    Raises:
        Exception: of any kind, where it is not what :func:`encode` gave.
    """
    if isinstance(value, list):
        return [decode(one, tensors) for one in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: decode(one, tensors) for key, one in value.items()}
    kind = value[TAG]
    if kind == "float":
        return struct.unpack(">d", bytes.fromhex(value["bits"]))[0]
    if kind == "tuple":
        return tuple(decode(one, tensors) for one in value["items"])
    if kind == "dict":
        return {decode(key, tensors): decode(one, tensors) for key, one in value["items"]}
    if kind == "ordered":
        ordered: Any = OrderedDict(decode(value["entries"], tensors))
        if value["metadata"] is not None:
            ordered._metadata = decode(value["metadata"], tensors)
        return ordered
    if kind == "history":
        history = HistoryBuffer(max_length=value["max_length"])
        history._log_history, history._count_history = (decode(value[key], tensors) for key in ("log", "count"))
        return history
    if kind == "scalar":
        return np.frombuffer(bytes.fromhex(value["bits"]), _array_dtype(value["dtype"]))[0]
    if kind == "array":
        data = _stored(value, tensors).numpy().tobytes()
        return np.frombuffer(data, _array_dtype(value["dtype"])).reshape(value["shape"]).copy()
    if kind == "tensor":
        return _decode_tensor(value, tensors)
    raise ValueError(f"unknown kind {kind!r}")


def as_bytes(tensor: Tensor) -> Tensor:
    """The numbers of a tensor in row-major order as one row of bytes on the CPU; shares memory where it can."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return plain.reshape(-1).view(torch.uint8)


def require_plain(tensor: Tensor, path: str) -> None:
    """See that a tensor is one block of numbers in memory.

    Raises:
        NotStorable: it is sparse, quantised, on the meta device or of a subclass that computes its numbers.
    """
    if type(tensor) not in (Tensor, torch.nn.Parameter, torch.nn.Buffer):
        raise NotStorable(f"{path} is a tensor of the kind {type(tensor).__qualname__}, which a checkpoint cannot hold")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise NotStorable(f"{path} is a sparse, quantised or meta tensor, which a checkpoint cannot hold")


def _encode_dict(value: Mapping, path: str, tensors: dict[str, Tensor] | None) -> Any:
    entries = [(key, encode(one, f"{path}[{key!r}]", tensors)) for key, one in value.items()]
    if all(type(key) is str for key, _ in entries) and TAG not in value:
        return dict(entries)
    return {TAG: "dict", "items": [[encode(key, f"{path}: key {key!r}"), one] for key, one in entries]}


def _encode_array(array: np.ndarray, path: str, tensors: dict[str, Tensor] | None) -> dict:
    data = torch.frombuffer(bytearray(array.tobytes()), dtype=torch.uint8) if array.size else torch.empty(0).byte()
    return {TAG: "array", "dtype": array.dtype.str, "shape": list(array.shape)} | _store(data, path, tensors)


def _encode_tensor(tensor: Tensor, path: str, tensors: dict[str, Tensor] | None) -> dict:
    require_plain(tensor, path)
    found: dict[str, Any] = {TAG: "tensor", "shape": list(tensor.shape)}
    # Tensors without gaps keep their order in memory (channels last): an optimizer's state has that of its parameter.
    kept, usual = torch.empty_like(tensor, device="meta"), torch.empty(tensor.shape, device="meta")
    if kept.stride() == tensor.stride() != usual.stride():
        found["stride"] = list(tensor.stride())
    if tensors is not None and tensor.dtype in DTYPES:
        tensors[path] = tensor.detach()
        return found | {"name": path}
    return found | {"dtype": str(tensor.dtype).removeprefix("torch.")} | _store(as_bytes(tensor), path, tensors)


def _store(data: Tensor, path: str, tensors: dict[str, Tensor] | None) -> dict:
    if tensors is None:
        return {"data": base64.b64encode(data.numpy().data).decode()}
    tensors[path] = data
    return {"name": path}


def _stored(value: Mapping, tensors: Mapping[str, Tensor] | None) -> Tensor:
    if "name" in value:
        return (tensors or {})[value["name"]]
    data = bytearray(base64.b64decode(value["data"], validate=True))
    return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def _decode_tensor(value: Mapping, tensors: Mapping[str, Tensor] | None) -> Tensor:
    stored = _stored(value, tensors)
    if "dtype" in value:
        dtype = getattr(torch, value["dtype"])
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"unknown kind of number {value['dtype']!r}")
        stored = stored.clone().view(dtype)  # a copy starts where numbers of any size may
    stored = stored.reshape(value["shape"])
    if "stride" not in value:
        return stored.clone()  # the file may be mapped, and removed while the state lives
    ordered = torch.empty(stored.numel(), dtype=stored.dtype, device=stored.device)
    return ordered.as_strided(value["shape"], value["stride"]).copy_(stored)


def _array_dtype(name: str) -> np.dtype:
    dtype = np.dtype(name)
    if dtype.kind not in _ARRAY_KINDS:
        raise ValueError(f"unknown kind of number {name!r}")
    return dtype
