"""The marks in MP4 files that mar-edge writes: by them it knows which ones it may replace or remove."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mar_edge.errors import OutputError
from mar_edge.files.json_text import parse_json
from mar_edge.files.ownership import FLAG_OR_ARGUMENT, FileKind, check_replaceable, is_stream

RECORDING_SCHEMA = "mar-edge/video/1"
CLIP_SCHEMA = "mar-edge/clip/1"
LABELLED_SCHEMA = "mar-edge/labelled-clip/1"

_MOST_HEADER_BYTES = 1 << 20
_COMMENT = b"\xa9cmt"
_FRAGMENTS = {b"moof", b"mdat", b"mfra"}
_BOX = struct.Struct(">I4s")  # ISO/IEC 14496-12, 4.2: size and type


def read_notes(file: BinaryIO, schema: str) -> Mapping[str, Any] | None:
    """Return the notes of a video of ours; None for any other file.

    The comment alone is no sign, as other programs copy it into the videos that they make of ours. They write others
    boxes, too: ours are a header and then fragments, the last of which may be cut off, or zeros after a power cut.

    Args:
        file: read from its start.
        schema: its kind.
    """
    boxes = _boxes(file)
    if [next(boxes, (b"",))[0]] != [b"ftyp"]:
        return None
    kind, body_bytes = next(boxes, (b"", 0))
    if kind != b"moov" or body_bytes > _MOST_HEADER_BYTES:
        return None
    notes = _comment(file.read(body_bytes))
    if not isinstance(notes, dict) or notes.get("schema") != schema:
        return None
    return notes if all(kind in _FRAGMENTS for kind, _ in boxes) else None


def check_video_path(path: Path, schema: str, *, force: bool = False) -> None:
    """Check that a video may be written to a path.

    Raises:
        OutputError: if something else exists there.
    """
    check_replaceable(path, KINDS[schema], force=force)
    if is_stream(path):
        raise OutputError(f"{path} is a pipe or a device, and a video needs a file. Choose a file")


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the type of each box at the top of a file and the size of its body, at which the file then stands."""
    at, end = 0, file.seek(0, os.SEEK_END)
    while at < end:
        file.seek(at)
        head = file.read(_BOX.size)
        if not head.strip(b"\0") or len(head) < _BOX.size:  # the tail after a power cut or a kill
            return
        size, kind = _BOX.unpack(head)
        header = _BOX.size
        if size == 1:
            size, header = int.from_bytes(file.read(8), "big"), 16
        if size < header:
            yield b"", 0
            return
        yield kind, size - header
        at += size


def _comment(header: bytes) -> Any:
    """Return the comment in a header as JSON; None if it is something else.

    It is a box `data` within one called `_COMMENT`: size, type, 4 bytes of format, 4 of language, the text.
    """
    at = header.find(_COMMENT)
    start = at + len(_COMMENT)
    if at < 0 or header[start + 4 : start + 8] != b"data":
        return None
    size = int.from_bytes(header[start : start + 4], "big")
    try:
        return parse_json(header[start + 16 : start + size])
    except ValueError:
        return None


def _kind(name: str, schema: str) -> FileKind:
    return FileKind(name, lambda file: read_notes(file, schema) is not None, FLAG_OR_ARGUMENT)


KINDS: dict[str, FileKind] = {
    RECORDING_SCHEMA: _kind("recorded video", RECORDING_SCHEMA),
    CLIP_SCHEMA: _kind("clip of an event", CLIP_SCHEMA),
    LABELLED_SCHEMA: _kind("labelled clip", LABELLED_SCHEMA),
}
