"""The files of an ONNX graph: its own, and those beside it that contain its weights.

A graph of more than 1.5 GiB is written with its tensors in a separate file, which it names (`external_data` in ONNX's
`onnx.proto3`). The names are read directly from the file: the runtime has no onnx, and a graph may be large.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from mar_edge.errors import BundleError
from mar_edge.files.checked_file import hash_open

PLAIN_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
"""File names that do not lead out of the graph's folder."""

_ONNX = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""Fields that lead to tensors, by message: number and the message in it."""

_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)
"""Wire types of protobuf."""


def hash_file(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal.

    Raises:
        BundleError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hash_open(file)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def hash_all(own: str, weights: dict[str, str]) -> str:
    """Return one hash for a graph and its weights: that of the graph if it contains them itself.

    Args:
        own: sha256 of the graph's file.
        weights: those of the files beside it, by name.
    """
    if not weights:
        return own
    return hashlib.sha256(json.dumps([own, sorted(weights.items())]).encode()).hexdigest()


def hash_graph(graph: Path) -> str:
    """Return `hash_all` of a graph on disk.

    Raises:
        BundleError: if it or its weights cannot be read, or are not beside it.
    """
    return hash_all(hash_file(graph), {path.name: hash_file(path) for path in weight_files(graph)})


def weight_files(graph: Path) -> list[Path]:
    """Return the files beside a graph that contain its weights; none for most graphs.

    Raises:
        BundleError: if the graph cannot be read, or names a file that is not a regular one beside it.
    """
    found = []
    for name in weight_names(graph):
        path = graph.with_name(name) if re.fullmatch(PLAIN_NAME, name) else None
        if path is None or not path.is_file():
            raise BundleError(
                f"{graph} stores weights in '{name}', which is not a file beside it. Export the model again"
            )
        found.append(path)
    return found


def copy_graph(graph: Path, target: Path) -> None:
    """Copy a graph and its weights; the weights keep their names, by which the graph refers to them.

    Raises:
        BundleError: see `weight_files`.
        OSError: if a file cannot be written.
    """
    for path in weight_files(graph):
        shutil.copyfile(path, target.with_name(path.name))
    shutil.copyfile(graph, target)


def remove_graph(graph: Path) -> None:
    """Remove a graph and its weights.

    Raises:
        BundleError: see `weight_files`.
        OSError: if a file cannot be removed.
    """
    for path in [*weight_files(graph), graph]:
        path.unlink()


def weight_names(graph: Path) -> list[str]:
    """Return the names of all files in which a graph stores its tensors, without checking them.

    A file that is not a graph has none: no engine reads it.

    Raises:
        BundleError: if it cannot be read, or has an encoding that no exporter writes.
    """
    try:
        with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return list(dict.fromkeys(_names(content, 0, len(content), "model")))
    except NoGraphError:
        return []
    except _GroupError as error:
        raise BundleError(f"{graph} does not have the encoding of ONNX graphs. Export the model again") from error
    except OSError as error:
        raise BundleError(f"{graph} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise BundleError(f"{graph} is nested too deeply. Export the model again") from error
    except ValueError:  # an empty file cannot be mapped
        return []


class NoGraphError(Exception):
    """Bytes that are not protobuf; every parser rejects them."""


class _GroupError(Exception):
    """A group, a protobuf encoding older than ONNX; a parser skips it and continues after it."""


def _names(content: mmap.mmap, start: int, end: int, message: str) -> Iterator[str]:
    """Yield the location of every external tensor in a message."""
    for number, first, last in read_fields(content, start, end):
        inner = _ONNX[message].get(number)
        if inner == "entry":
            entry = {key: content[a:b] for key, a, b in read_fields(content, first, last)}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode("utf-8", "replace")
        elif inner is not None:
            yield from _names(content, first, last, inner)


def read_fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of every field of bytes in a message."""
    at = start
    while at < end:
        tag, at = _varint(content, at, end)
        number, wire = (tag & 0xFFFFFFFF) >> 3, tag & 7
        if wire == _VARINT:
            _, at = _varint(content, at, end)
            continue
        if wire == _BYTES:
            size, at = _varint(content, at, end)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise _GroupError if wire in (_GROUP, _GROUP_END) else NoGraphError
        if at + size > end:
            raise NoGraphError
        if wire == _BYTES:
            yield number, at, at + size
        at += size


def _varint(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Return a number of up to ten bytes of seven bits, and where the next one starts."""
    value = 0
    for place in range(10):
        if at + place >= end:
            raise NoGraphError
        byte = content[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            return value, at + place + 1
    raise NoGraphError
