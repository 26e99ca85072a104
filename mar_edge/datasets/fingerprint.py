"""Identifies videos by their content, independent of path and name."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mar_edge.files.regular_file import open_regular

TRAINING_VIDEOS = "training_videos"
"""Key of a model's provenance: the videos that it was trained on, as `Fingerprints.text`."""

END_BYTES = 1 << 16
"""Bytes at both ends of a file that are hashed with its size: training sets may have hundreds of gigabytes."""

DIGEST_BYTES = 6
"""Two different videos of 10,000 have the same fingerprint once in five million sets."""

MOST = 10_000
"""Maximum number of stored videos; of larger sets they are spread evenly over the list."""


class Fingerprints:
    """A set of videos identified by their content.

    Args:
        digests: of `fingerprint`.
    """

    def __init__(self, digests: Iterable[bytes]) -> None:
        self._digests = frozenset(digests)

    @classmethod
    def of(cls, files: Sequence[Path]) -> Fingerprints:
        """Return those of files, at most `MOST`; unreadable files are left out."""
        chosen = files[:: -(-len(files) // MOST)] if files else files
        return cls(digest for file in chosen if (digest := fingerprint(file)) is not None)

    @classmethod
    def from_text(cls, text: object) -> Fingerprints:
        """Parse the value of `text`; empty if it is not such a text."""
        try:
            raw = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
        except binascii.Error:
            raw = b""
        return cls(raw[place : place + DIGEST_BYTES] for place in range(0, len(raw), DIGEST_BYTES))

    @property
    def text(self) -> str:
        """All of them in ASCII, 8 characters per video."""
        return base64.b64encode(b"".join(sorted(self._digests))).decode()

    def __len__(self) -> int:
        """Number of videos."""
        return len(self._digests)

    def count(self, files: Iterable[Path]) -> int:
        """Return how many of the files are in the set."""
        return sum(fingerprint(file) in self._digests for file in files) if self._digests else 0


def fingerprint(file: Path) -> bytes | None:
    """Return `DIGEST_BYTES` of a hash of a file's content; None if it cannot be read."""
    try:
        with open(open_regular(file), "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            digest = hashlib.sha256(f"{size} ".encode() + opened.read(END_BYTES))
            if size > END_BYTES:
                opened.seek(max(END_BYTES, size - END_BYTES))
                digest.update(opened.read(END_BYTES))
    except OSError:
        return None
    return digest.digest()[:DIGEST_BYTES]
