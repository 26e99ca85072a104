"""The operators of an ONNX graph, read without ONNX: which graphs a bundle may contain."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from mar_edge.errors import BundleError
from mar_edge.files.graph_files import NoGraphError, read_fields

_ANY_SIZE = frozenset(
    [
        "AffineGrid",
        "Bernoulli",
        "BlackmanWindow",
        "CenterCropPad",
        "Col2Im",
        "ConstantOfShape",
        "ConvTranspose",
        "DFT",
        "Einsum",
        "Expand",
        "EyeLike",
        "GridSample",
        "HammingWindow",
        "HannWindow",
        "MaxUnpool",
        "MelWeightMatrix",
        "Multinomial",
        "OneHot",
        "Pad",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Range",
        "Resize",
        "RoiAlign",
        "STFT",
        "Tile",
        "Upsample",
    ]
)
"""Operators whose output may have any size, whatever the size of the file: a small graph could take all memory."""

_ANY_TIME = frozenset(["If", "Loop", "Scan", "SequenceMap"])
"""Operators that contain graphs, and may run them for ever."""

_DOMAINS = ("", "ai.onnx")

_MODEL_GRAPH, _MODEL_FUNCTION, _GRAPH_NODE, _FUNCTION_NODE, _OPERATOR, _DOMAIN = 7, 25, 1, 7, 4, 7
"""Numbers of fields in ONNX's `onnx.proto3`."""


def check_operators(graph: Path) -> None:
    """Check that a graph has only operators whose memory and time the sizes of its tensors bound.

    A file that is not a graph passes: no engine reads it.

    Raises:
        BundleError: if it has another operator; mar-edge exports none.
    """
    try:
        with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for operator, domain in _operators(content):
                if operator in _ANY_SIZE | _ANY_TIME or domain not in _DOMAINS:
                    cause = (
                        "which may run for ever"
                        if operator in _ANY_TIME
                        else "whose output may have any size"
                        if operator in _ANY_SIZE
                        else f"of the domain '{ascii(domain)[1:-1][:40]}'"
                    )
                    raise BundleError(
                        f"{graph} has the operator {ascii(operator)[1:-1][:40]}, {cause}; graphs of mar-edge do not contain it. "
                        "Export the model again"
                    )
    except (NoGraphError, ValueError):  # an empty file cannot be mapped
        return
    except OSError as error:
        raise BundleError(f"{graph} cannot be read: {error.strerror}") from error


def _operators(content: mmap.mmap) -> Iterator[tuple[str, str]]:
    """Yield operator and domain of every node."""
    for number, first, last in read_fields(content, 0, len(content)):
        node_field = {_MODEL_GRAPH: _GRAPH_NODE, _MODEL_FUNCTION: _FUNCTION_NODE}.get(number)
        for inner, start, end in read_fields(content, first, last) if node_field else ():
            if inner == node_field:
                texts = {key: content[a:b] for key, a, b in read_fields(content, start, end)}
                operator, domain = (texts.get(key, b"").decode("utf-8", "replace") for key in (_OPERATOR, _DOMAIN))
                yield operator, domain
