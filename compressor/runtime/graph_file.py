"""Look through an ONNX file before any library loads it, whatever it says of itself. No dependencies.

ONNX Runtime believes a graph: it allocates what a tensor declares and opens the files that it names. So the
file is read here first, in the wire format of protocol buffers with the field numbers of `onnx.proto`
(https://protobuf.dev/programming-guides/encoding/). Only the parts that hold tensors or name files are
entered; weights are skipped by their length, so that the time is that of the nodes: some tens of
milliseconds for a large model.

What this does not do: a graph is a program, and one that was made to use much memory or time when it is *run*
passes. Open graphs of those you trust; the hashes of bundle.json show that a file is whole, not who made it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["model", "graph", "node", "attribute", "function", "tensor"]
Bytes = mmap.mmap | bytes

_INSIDE: dict[Kind, dict[int, Kind]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "function": {7: "node", 11: "attribute"},
}
# Nothing that this project writes; a sparse tensor of a few bytes becomes a dense one of any size.
_REFUSED: dict[Kind, dict[int, str]] = {
    "model": {20: "training instructions"},
    "graph": {15: "a sparse tensor"},
    "attribute": {22: "a sparse tensor", 23: "a sparse tensor"},
}
_OP_TYPE = 4
_READS_FILES = b"EPContext"  # a node of ONNX Runtime that opens whatever file it names
_MOST_FIELDS = 2_000_000
_TOO_MANY = f"has more than {_MOST_FIELDS} parts"
_MOST_DIMENSIONS = 64
_LONGEST_ENTRY = 1 << 16  # bytes of a key and a value

_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128}
_BITS |= {16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}
_STRING = 8
_TYPED_DATA = (4, 5, 7, 10, 11)  # float_data, int32_data, int64_data, double_data, uint64_data
_PER_BYTE = 4  # elements that a byte of those can hold at most, at two bits each

_VARINT, _EIGHT, _BLOCK, _FOUR = 0, 1, 2, 5
_FIXED = {_EIGHT: 8, _FOUR: 4}


def check_graph(path: Path, beside: Mapping[str, int]) -> None:
    """Raise `ValueError`, with half a sentence about the file, for a graph that must not be loaded.

    `beside`: size in bytes of every file that the graph may take weights from, by the location that it gives.
    Refused are files that are cut off or no graph, tensors larger than the bytes there are for them, weights
    in any other file, and whatever hides its size or opens files: sparse tensors, saved contexts of
    accelerators.
    """
    if path.stat().st_size == 0:
        raise ValueError("is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _check(data, beside)


def _check(data: Bytes, beside: Mapping[str, int]) -> None:
    pending: list[tuple[Kind, int, int]] = [("model", 0, len(data))]
    count, graphs = 0, 0
    while pending:
        kind, start, end = pending.pop()
        if kind == "tensor":
            count += _check_tensor(data, start, end, beside)
            continue
        graphs += kind == "graph"
        inside, refused = _INSIDE[kind], _REFUSED.get(kind, {})
        for number, wire, value, stop in _fields(data, start, end):
            count += 1
            if count > _MOST_FIELDS:
                raise ValueError(_TOO_MANY)
            if number in refused:
                raise ValueError(f"holds {refused[number]}, which no exported graph does")
            if number in inside:
                if wire != _BLOCK:
                    raise ValueError("is no ONNX graph")
                pending.append((inside[number], value, stop))
            elif kind == "node" and number == _OP_TYPE and data[value:stop] == _READS_FILES:
                raise ValueError("holds a node that opens other files (EPContext)")
    if not graphs:
        raise ValueError("is no ONNX graph")


def _fields(data: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, and either the value of a varint or where the content begins; and where it ends."""
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at, end)
            yield number, wire, value, at
            continue
        if wire == _BLOCK:
            length, at = _varint(data, at, end)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise ValueError("is no ONNX graph")
        if number == 0 or length > end - at:
            raise ValueError("is cut off or no ONNX graph: it declares more bytes than there are")
        yield number, wire, at, at + length
        at += length


def _varint(data: Bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("is cut off or no ONNX graph: it ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("is no ONNX graph")


@dataclass
class _Tensor:
    """What a tensor says of itself, and how many bytes it has."""

    name: str = ""
    type: int = 0
    dimensions: list[int] = field(default_factory=list)
    raw: int | None = None
    typed: int = 0
    strings: int = 0
    external: bool = False
    places: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"the tensor '{self.name}'" if self.name else "a tensor"


def _check_tensor(data: Bytes, start: int, end: int, beside: Mapping[str, int]) -> int:
    """How many fields it has."""
    tensor, count = _Tensor(), 0
    for number, wire, value, stop in _fields(data, start, end):
        count += 1
        if count > _MOST_FIELDS:
            raise ValueError(_TOO_MANY)
        if number == 1:
            tensor.dimensions += [value] if wire == _VARINT else _packed(data, value, stop)
            if len(tensor.dimensions) > _MOST_DIMENSIONS:
                raise ValueError(f"has a tensor of more than {_MOST_DIMENSIONS} dimensions")
        elif number == 2 and wire == _VARINT:
            tensor.type = value
        elif number == 8 and wire == _BLOCK:
            tensor.name = bytes(data[value : min(stop, value + 80)]).decode(errors="replace")
        elif number == 9 and wire == _BLOCK:
            tensor.raw = stop - value
        elif number == 6:
            tensor.strings += 1
        elif number in _TYPED_DATA:
            tensor.typed += 1 if wire == _VARINT else stop - value
        elif number == 13 and wire == _BLOCK:
            key, told = _entry(data, value, stop)
            if key in tensor.places:
                raise ValueError(f"names two places for {tensor.title}")
            tensor.places[key] = told
        elif number == 14:
            tensor.external = value == 1
    _check_size(tensor, beside)
    return count


def _packed(data: Bytes, at: int, end: int) -> list[int]:
    found: list[int] = []
    while at < end and len(found) <= _MOST_DIMENSIONS:
        value, at = _varint(data, at, end)
        found.append(value)
    return found


def _entry(data: Bytes, start: int, end: int) -> tuple[str, str]:
    """A pair of strings."""
    if end - start > _LONGEST_ENTRY:
        raise ValueError("names a place that is too long to be one")
    parts = {1: "", 2: ""}
    for number, wire, value, stop in _fields(data, start, end):
        if number in parts and wire == _BLOCK:
            parts[number] = bytes(data[value:stop]).decode(errors="replace")
    return parts[1], parts[2]


def _check_size(tensor: _Tensor, beside: Mapping[str, int]) -> None:
    elements = 1
    for dimension in tensor.dimensions:
        if dimension >= 2**48:  # a negative one is 2^64 less its size
            raise ValueError(f"declares {tensor.title} with an impossible dimension")
        elements *= dimension
    if tensor.type != _STRING and tensor.type not in _BITS:
        raise ValueError(f"declares {tensor.title} of an unknown type ({tensor.type})")
    if tensor.external or tensor.places:
        _check_place(tensor, elements, beside)
    elif tensor.type == _STRING:
        if elements != tensor.strings:
            raise ValueError(f"declares {tensor.title} with {elements} strings and holds {tensor.strings}")
    elif tensor.raw is not None:
        if _bytes(tensor, elements) != tensor.raw:
            raise ValueError(
                f"declares {tensor.title} of {_bytes(tensor, elements)} bytes and holds {tensor.raw}"
            )
    elif elements > _PER_BYTE * tensor.typed:
        raise ValueError(f"declares {tensor.title} with {elements} elements and holds {tensor.typed} bytes")


def _check_place(tensor: _Tensor, elements: int, beside: Mapping[str, int]) -> None:
    """Weights in another file: one that belongs to the bundle, at bytes that it has."""
    location = tensor.places.get("location", "")
    if location not in beside:
        raise ValueError(
            f"takes {tensor.title} from {location!r:.120}, which is not its weights file in the bundle"
        )
    size = beside[location]
    offset, length = (_number(tensor, key) for key in ("offset", "length"))
    wanted = 0 if tensor.type == _STRING else _bytes(tensor, elements)
    start = offset or 0
    if tensor.type == _STRING or start + wanted > size or length not in (None, wanted):
        raise ValueError(
            f"declares {tensor.title} of {wanted} bytes at {start} of {location!r:.120}, which has {size}"
        )


def _number(tensor: _Tensor, key: str) -> int | None:
    text = tensor.places.get(key)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise ValueError(f"gives {tensor.title} the {key} {text!r:.40}")
    return int(text)


def _bytes(tensor: _Tensor, elements: int) -> int:
    return (elements * _BITS[tensor.type] + 7) // 8
