"""Writes a file atomically: complete, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mar_edge.errors import OutputError
from mar_edge.files.ownership import FileKind, check_replaceable, is_stream


def write_output(
    path: Path,
    *parts: bytes,
    kind: FileKind,
    force: bool = False,
    advice: str = "Make room, or choose a file you can write to",
) -> None:
    """Write an output file that the user named; see `check_replaceable` for what it may replace.

    Args:
        path: the file; its folder is created. The target of a link is replaced, and the link stays.
        parts: its content, in order.
        kind: its kind.
        force: replace a file of another kind.
        advice: what to do if it cannot be written.

    Raises:
        OutputError: if something else exists there, or it cannot be written.
    """
    check_replaceable(path, kind, force=force)
    try:
        if is_stream(path):
            with path.open("wb") as stream:
                stream.writelines(parts)
        else:
            _replace(Path(os.path.realpath(path)), parts)
    except OSError as error:
        raise OutputError(f"cannot write the {kind.name} {path}: {error.strerror}. {advice}") from error


def write_whole(path: Path, *parts: bytes, advice: str = "Make room, or choose another folder") -> None:
    """Write a file of mar-edge atomically; an existing one is replaced, or kept on an error.

    Args:
        path: the file; its folder is created.
        parts: its content, in order.
        advice: what to do if it cannot be written.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        _replace(path, parts)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. {advice}") from error


def _replace(path: Path, parts: Sequence[bytes]) -> None:
    # not with tempfile, whose files are not readable by others
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("xb") as file:
            file.writelines(parts)
        os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
