"""The cache folder of this device: measurements, TensorRT engines, calibration statistics."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from mar_edge.errors import OutputError
from mar_edge.files.private_folder import make_private, why_untrusted

VARIABLE = "MAR_EDGE_CACHE"


def folder(kind: str) -> Path:
    """Return a folder of the cache, and create it if it does not exist; only this user can enter what is created.

    Args:
        kind: its purpose, such as `measurements`.

    Returns:
        `$MAR_EDGE_CACHE/kind`; without that variable `$XDG_CACHE_HOME/mar-edge/kind` or `~/.cache/mar-edge/kind`.

    Raises:
        OutputError: if it cannot be created or written to, or other users can write to it; the message names the variable.
    """
    root = _root()
    path = root / kind
    for place in (root, path):
        try:
            make_private(place)
        except OSError as error:
            raise OutputError(
                f"cannot write the cache {path}: {error.strerror}. Set {VARIABLE} to a folder you can write to"
            ) from error
        _check(place)
    if not os.access(path, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write the cache {path}: not permitted. Set {VARIABLE} to a folder you can write to")
    return path


def location(kind: str) -> Path:
    """Return the path of a folder of the cache, to read from it; it need not exist or be writable.

    Raises:
        OutputError: if there is no home folder and neither variable is set, or other users can write to the cache.
    """
    root = _root()
    for place in (root, root / kind):
        _check(place)
    return root / kind


def _check(path: Path) -> None:
    """Check that other users have not written to a folder: an engine in it is code that runs here."""
    try:
        problem = why_untrusted(path)
    except OSError:  # there is none, or it cannot be reached, which using it reports
        return
    if problem is None:
        return
    if problem.startswith("can be"):
        advice = f"If you trust its content run: chmod go-w {shlex.quote(str(path))}. Otherwise set {VARIABLE} to another folder"
    else:
        advice = f"Set {VARIABLE} to a folder of your own"
    raise OutputError(f"the cache {path} {problem}. Engines in it are code, so it is not used. {advice}")


def _root() -> Path:
    if chosen := os.environ.get(VARIABLE):
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:  # ~ of a user that does not exist
            raise OutputError(f"there is no home folder for {VARIABLE}={chosen}. Set it to an absolute path") from error
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():  # the XDG specification requires that a relative path is ignored
        return base / "mar-edge"
    try:
        return Path.home() / ".cache" / "mar-edge"
    except RuntimeError as error:  # a container's user without a home
        raise OutputError(f"there is no folder for the cache. Set {VARIABLE} to one you can write to") from error
