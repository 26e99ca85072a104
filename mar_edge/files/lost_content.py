"""Recognises files whose content was not on the disk when the power failed."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from mar_edge.files.regular_file import open_regular


def is_blank(file: BinaryIO) -> bool:
    """Return whether a file has only zeros, or nothing; it is read from its start."""
    file.seek(0)
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            return False
    return True


def lost_content(path: Path) -> str | None:
    """Return in words that a file is empty or has only zeros; None for any other.

    Raises:
        OSError: if it cannot be read, or is not a regular file.
    """
    with open(open_regular(path), "rb") as file:
        if not is_blank(file):
            return None
        what = "contains only zeros" if file.tell() else "is empty"
    return f"{what}: its content was lost, as in a power cut"
