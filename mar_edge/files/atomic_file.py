"""A file that is there whole, or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from mar_edge.errors import OutputError


def write_whole(path: Path, *parts: bytes, advice: str = "Make room, or choose another folder") -> None:
    """Write a file that is there whole, or not at all; one that was there before is replaced, or kept.

    Args:
        path: the file; its folder is made.
        parts: what it holds, one after the other.
        advice: what to do if it cannot be written.

    Raises:
        OutputError: if it cannot be written.
    """
    # not by tempfile, whose files nobody else may read
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            for part in parts:
                file.write(part)
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. {advice}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
