"""Parts of file names that are made from foreign text: names of streams, labels of models."""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[^\w.+=@-]+")
"""All but letters and digits of every script, and a few signs that no shell and no file system reads as its own."""


def name_part(text: str, *, most_bytes: int = 60) -> str:
    """Return a text as a part of a file name: without separators, spaces and control characters, and not hidden.

    Different texts may become the same part.

    Args:
        text: any text.
        most_bytes: its longest length in UTF-8.
    """
    safe = _UNSAFE.sub("_", text.encode("utf-8", "replace").decode())
    safe = safe.encode()[:most_bytes].decode(errors="ignore").strip("._-")
    return safe or "unnamed"
