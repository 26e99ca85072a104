"""Files with a password or a signing key, which must not stand in an address or on a command line."""

from __future__ import annotations

from pathlib import Path

from mar_edge.errors import OutputError
from mar_edge.files.regular_file import read_limited

_LIMIT_BYTES = 64 << 10


def read_secret(path: Path, noun: str) -> bytes:
    """Return the content of a file with a secret, without the line break at its end.

    Args:
        path: the file.
        noun: what it contains, for messages.

    Raises:
        OutputError: if it cannot be read, or is empty.
    """
    try:
        secret = read_limited(path, _LIMIT_BYTES).rstrip(b"\r\n")
    except OSError as error:
        raise OutputError(f"cannot read the {noun} in {path}: {error.strerror}. Name a file you can read") from error
    if not secret:
        raise OutputError(f"the file {path} is empty; it must contain the {noun}")
    return secret
