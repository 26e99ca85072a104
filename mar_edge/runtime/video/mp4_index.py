"""Counts the samples that an MP4 or MOV announces, before FFmpeg allocates memory for each of them.

A header of a few bytes can announce billions: all of one size (ISO/IEC 14496-12, 8.7.3.2), without fields of their own
(8.8.8), or repeated by edit lists (8.6.6).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator

MAX_SAMPLES = 5_000_000
"""Samples of a file, of all streams: 40 hours at 30 frames per second. FFmpeg takes about 40 bytes for each."""

_HEADERS = (
    b"moov", b"moof", b"free", b"skip", b"hoov", b"trak", b"mdia", b"minf", b"stbl", b"traf", b"udta", b"meta", b"mvex", b"edts",
)  # fmt: skip
"""Boxes at the top of a file in which FFmpeg looks for tables."""

_HEADER_BYTES = 1 << 28
_TABLES = re.compile(rb"stsz|trun|elst")
_PER_SAMPLE = 0xF00  # flags of a `trun` whose samples have fields


def why_too_many(handle: int) -> str | None:
    """Return why a file announces too many samples, to follow its name in a sentence; None if it does not.

    Args:
        handle: descriptor of any file; its position stays.
    """
    samples = edits = 0
    for header in _headers(handle):
        if b"cmov" in header:
            return "has a compressed header, which is not supported. Convert it: ffmpeg -i IN -c copy OUT.mp4"
        for track in header.split(b"trak"):
            counts = {kind: sum(_counts(track, kind)) for kind in (b"stsz", b"trun", b"elst")}
            samples += counts[b"trun"] + (0 if _is_raw_sound(track) else counts[b"stsz"])
            edits = max(edits, counts[b"elst"])
        announced = samples * max(1, edits - 1)  # one is normal, and an empty one before it
        if announced > MAX_SAMPLES:
            return f"announces {announced} samples; up to {MAX_SAMPLES} are supported. Cut it into shorter files"
    return None


def _headers(handle: int) -> Iterator[bytes]:
    """Give the boxes at the top of a file that may hold tables."""
    end = os.fstat(handle).st_size
    at = 0
    while at + 8 <= end:
        start = os.pread(handle, 16, at)
        size, kind = struct.unpack_from(">I4s", start)
        if size == 1 and len(start) == 16:
            (size,) = struct.unpack_from(">Q", start, 8)
        if size == 0:
            size = end - at
        if size < 8 or not kind.isalnum():
            return
        if kind in _HEADERS:
            yield os.pread(handle, min(size, end - at, _HEADER_BYTES), at)
        at += size


def _counts(track: bytes, kind: bytes) -> Iterator[int]:
    """Give the number of entries of every table of a kind, without those that have to be in the file."""
    for found in _TABLES.finditer(track):
        if found[0] != kind or found.start() < 4:
            continue
        (size,) = struct.unpack_from(">I", track, found.start() - 4)
        flags, first, second = struct.unpack(">3I", track[found.end() : found.end() + 12].ljust(12, b"\0"))
        if kind == b"stsz":
            fits = size >= 20
            count = second if first else min(second, max(0, size - 20) // 4)
        elif kind == b"trun":
            fits = size >= 16
            count = min(first, size // 4) if flags & _PER_SAMPLE else first
        else:
            fits = size >= 16
            count = min(first, size // 12)
        if fits:
            yield count


def _is_raw_sound(track: bytes) -> bool:
    """Return whether FFmpeg reads a track in chunks of samples: sound in which every sample lasts one tick."""
    handlers = re.findall(rb"hdlr.{8}(vide|soun|.{4})", track, re.DOTALL)
    times = re.findall(rb"stts.{4}(.{4})(.{4})(.{4})", track, re.DOTALL)
    even = all(struct.unpack(">3I", b"".join(time))[::2] == (1, 1) for time in times)
    return b"soun" in handlers and b"vide" not in handlers and even
