"""Damages videos in the ways in which they get damaged, and reads them in a process that may crash."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

BLOCK = 4096
"""Bytes that a disk loses at once."""


def cut(data: bytes, rng: Random) -> bytes:
    """End a file early, as when power or space runs out."""
    return data[: rng.randrange(len(data))]


def flip_bits(data: bytes, rng: Random) -> bytes:
    """Flip single bits anywhere, from one to one in a thousand."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 10, len(data) // 1000 + 1))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zero_blocks(data: bytes, rng: Random) -> bytes:
    """Fill some blocks with zeros, as a disk does that lost them, or a download that missed them."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        start = rng.randrange(len(data)) // BLOCK * BLOCK
        end = min(start + BLOCK, len(data))
        changed[start:end] = bytes(end - start)
    return bytes(changed)


def wrong_header(data: bytes, rng: Random) -> bytes:
    """Replace some of the first bytes by those of something else."""
    other = rng.choice((
        rng.randbytes(rng.choice((4, 12, 64, 512))),
        b"RIFF\xff\xff\xff\x7fAVI LIST", b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\0\x18ftypisom\0\0\x02\0", b"\x47" + bytes(187), b"\xff\xd8\xff\xe0JFIF", b"FLV\x01\x05\0\0\0\x09", b"%PDF-1.7\n",
    ))  # fmt: skip
    start = 0 if rng.random() < 0.7 else rng.randrange(min(200, len(data)))
    return data[:start] + other + data[start + len(other) :]


KINDS: dict[str, Callable[[bytes, Random], bytes]] = {
    "cut": cut,
    "bit flips": flip_bits,
    "zeroed blocks": zero_blocks,
    "wrong header": wrong_header,
}


def damaged(files: list[Path], number: int) -> tuple[str, Path, bytes]:
    """Return the kind of damage, the file, and its damaged content; the number decides everything."""
    kind = list(KINDS)[number % len(KINDS)]
    file = files[number // len(KINDS) % len(files)]
    return kind, file, KINDS[kind](file.read_bytes(), Random(f"{kind} {number}"))


def read(path: Path) -> dict[str, object]:
    """Read a file as a stream does; return how many frames it gave, its warnings, and the SourceError that ended it."""
    from mar_edge.errors import SourceError
    from mar_edge.runtime.sources.open import open_source
    from mar_edge.runtime.sources.source import Reading

    source = open_source(path)
    frames = 0
    error = code = None
    try:
        with Reading(source) as reading:
            for frame in reading:
                if frames % 3 == 0:
                    assert frame.picture.shape == (frame.size_px[1], frame.size_px[0], 3)
                    assert frame.picture.dtype == np.uint8
                frames += not frame.held
    except SourceError as raised:
        error, code = str(raised), raised.code
    return {"frames": frames, "warnings": source.warnings.take(), "error": error, "code": code}


def main() -> None:
    """Read so many damaged files; print a line of JSON for each: `damage.py COUNT FOLDER FILE...`."""
    count, folder, files = int(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]]
    whole = {file.name: read(file)["frames"] for file in files}
    print(json.dumps({"whole": whole}), flush=True)
    for number in range(count):
        kind, file, data = damaged(files, number)
        path = folder / f"{number}{file.suffix}"
        path.write_bytes(data)
        began_s = time.monotonic()
        found = read(path)
        path.unlink()
        taken_s = time.monotonic() - began_s
        print(json.dumps({"number": number, "kind": kind, "file": file.name, "seconds": taken_s, **found}), flush=True)


if __name__ == "__main__":
    main()
