"""The marks in files that mar-edge writes: how each is written and recognised."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

from mar_edge.files.ownership import FLAG_OR_ARGUMENT, FileKind

FIRST_LINE_BYTES = 1 << 20
"""Maximum length of our first lines, so that a file without line ends is not read completely."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = struct.calcsize(">I4sIIBBBBBI")  # of the IHDR chunk, which is always the first
_PNG_TEXT = b"Software\0mar-edge/picture/1"


def lines_kind(name: str, schema: str, first_key: str) -> FileKind:
    """Return the kind of files with one JSON object a line, whose first line names the schema.

    Args:
        name: see `FileKind`.
        schema: its id.
        first_key: of every line. A file with any other line, for instance one edited by a user, is not ours.
    """
    start = b'{"%s": ' % first_key.encode()

    def marked(file: BinaryIO) -> bool:
        try:
            first = json.loads(file.readline(FIRST_LINE_BYTES))
        except (ValueError, RecursionError):
            return False
        if not isinstance(first, dict) or next(iter(first), None) != first_key or first.get("schema") != schema:
            return False
        for line in file:
            if not line.endswith(b"\n"):  # the last one, whose writer was killed, or is writing the rest now
                return line.startswith(start) or start.startswith(line)
            if not line.startswith(start):
                return False
        return True

    return FileKind(name, marked, FLAG_OR_ARGUMENT)


def mark_record(record: Mapping[str, Any], schema: str) -> dict[str, Any]:
    """Return a first line: the record with the schema as its second key."""
    (first, value), *rest = record.items()
    return {first: value, "schema": schema, **dict(rest)}


def mark_png(data: bytes) -> bytes:
    """Return a PNG with our mark, a tEXt chunk (PNG specification, 11.3.3) after its header."""
    body = b"tEXt" + _PNG_TEXT
    chunk = struct.pack(">I", len(_PNG_TEXT)) + body + struct.pack(">I", zlib.crc32(body))
    end = len(_PNG) + _PNG_HEADER
    return data[:end] + chunk + data[end:]


def _is_our_picture(file: BinaryIO) -> bool:
    start = file.read(len(_PNG))
    file.seek(_PNG_HEADER, 1)
    return start == _PNG and file.read(4 + 4 + len(_PNG_TEXT))[4:] == b"tEXt" + _PNG_TEXT


PICTURE = FileKind("picture", _is_our_picture)
"""PNG files that `mark_png` made."""
