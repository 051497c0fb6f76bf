"""Safetensors files: written in one pass over the tensors, read in the order in which they were written.

The library's own writer needs all tensors on the CPU at once, refuses tied ones and gives no checksum on the way.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interngv.checkpoint.codec import DTYPES, NotStorable, as_bytes, require_plain

_NOTES = "interngv"  # the key of our own notes among a file's texts


def serialize(tensors: Mapping[str, Tensor], notes: Mapping[str, Any] | None = None) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a safetensors file, a tensor at a time: one that is on a GPU is copied when its turn comes.

    The same tensor under several names (tied weights) is stored once; the other names stand in the notes.

    Args:
        tensors: of any strides, stored row-major.
        notes: JSON-able, stored beside; :func:`read_tensors` gives them back.

    Raises:
        NotStorable: names a tensor that is not plain or of a kind of numbers that safetensors has no word for.
    """
    first: dict[tuple, str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        require_plain(tensor, name)
        if tensor.dtype not in DTYPES:
            raise NotStorable(f"{name} holds {tensor.dtype}, which a safetensors file cannot")
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and first.setdefault(place, name) != name:
            aliases[name] = first[place]
    stored = {name: tensor for name, tensor in tensors.items() if name not in aliases}
    # Wide numbers first keeps every tensor at a multiple of its width.
    in_file = sorted(stored, key=lambda name: -stored[name].element_size())
    spans, end = {}, 0
    for name in in_file:
        begin, end = end, end + stored[name].numel() * stored[name].element_size()
        spans[name] = [begin, end]
    texts = {"format": "pt", _NOTES: json.dumps({"aliases": aliases, "order": list(tensors)} | dict(notes or {}))}
    header: dict[str, Any] = {"__metadata__": texts}
    for name, tensor in stored.items():
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": spans[name]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in in_file:
        if stored[name].numel():
            yield as_bytes(stored[name]).numpy().data


def read_tensors(path: str | Path, map_location: Any = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the notes of a safetensors file; one that another program wrote has no notes.

    Raises:
        Exception: of any kind, where the file is damaged.
    """
    from safetensors.torch import load_file

    found = load_file(path, device=str(torch.device(map_location or "cpu")))
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    notes = json.loads(header.get("__metadata__", {}).get(_NOTES, "{}"))
    aliases = notes.pop("aliases", {})
    order = notes.pop("order", list(found))
    return {name: found[aliases.get(name, name)] for name in order}, notes
