"""Opens the source that a user names."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast
from urllib.parse import unquote_to_bytes

import numpy as np

from mar_edge.credentials import address_without_credentials
from mar_edge.errors import SourceError
from mar_edge.runtime.sources.camera import CameraSource
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.device_node import LIST, NODE
from mar_edge.runtime.sources.file import FileSource
from mar_edge.runtime.sources.iterable import Item, IterableSource
from mar_edge.runtime.sources.pipe import EXAMPLE, PipeSource
from mar_edge.runtime.sources.source import Source

MAX_CAMERAS = 1000

_CHOICES = "give a camera number, a video file, '-' for a pipe, or 'demo'"
_CAMERA = re.compile(r"(?:camera\s*[:= ]?\s*)?([+-]?\d+)", re.ASCII | re.IGNORECASE)
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)
_STDIN = ("-", "pipe:", "pipe:0", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
_KINDS = (
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a disk"),
    (stat.S_ISSOCK, "a socket"),
)


def open_source(spec: str | int | Path | Source | Iterable[Item]) -> Source:
    """Return the source that a user named.

    Args:
        spec: a camera's number (`0`, `"0"`, `"camera 0"`) or device (`/dev/video0`), `"demo"` (with options, see
            `DemoSource.parse`), a video file's path or `file://` address, a named pipe, `"-"` for standard input, a
            source object, or an iterable of frames (see `IterableSource`). A file in the working folder takes precedence
            over a camera of that name.

    Raises:
        SourceError: if it cannot be opened as a source.
    """
    if isinstance(spec, (int, np.integer)) and not isinstance(spec, bool):
        return _camera(int(spec))
    if isinstance(spec, str):
        return _typed(spec)
    if isinstance(spec, Path):
        return _local(spec)
    if all(hasattr(spec, name) for name in ("name", "live", "connect")):
        return cast(Source, spec)
    if isinstance(spec, Iterable) and not isinstance(spec, (bytes, bytearray, np.ndarray, Mapping)):
        return IterableSource(spec)
    raise SourceError(
        f"{type(spec).__name__} is not a source; {_CHOICES}, a source object (with name, live and connect), or an iterable "
        "of (frame, time in seconds)"
    )


def clip_file(spec: str | Path) -> Path:
    """Return the file that a user named as a clip; whether it is a video is checked when it is read.

    Raises:
        SourceError: if it names a camera, a pipe, the demo or an address.
    """
    path = Path(spec)
    if _exists(path) and path.is_file():
        return path
    opened = open_source(spec)
    if isinstance(opened, FileSource):
        return opened.path
    live = f"--camera {opened.index}" if isinstance(opened, CameraSource) else f"--source {spec}"
    raise SourceError(f"{opened.name} is not a video file, and clips are read from files. Run: mar-edge run {live}")


def _typed(text: str) -> Source:
    if not _exists(Path(text)):
        text = text.strip()
    if not text or "\0" in text:
        raise SourceError(f"the source is {'empty' if not text else repr(text)}; {_CHOICES}")
    if text == "demo" or text.startswith("demo:"):
        demo = DemoSource.parse(text)
        if Path(text).is_file():
            demo.warnings(f"{text} is the built-in demo; for the file of that name use ./{text}")
        return demo
    if camera := _CAMERA.fullmatch(text):
        return _camera_or_file(text, int(camera[1]))
    return _local(_path(text))


def _path(text: str) -> Path:
    """Return the path that a text is or, as a `file:` address, holds."""
    if _exists(Path(text)):
        return Path(text)
    scheme, colon, rest = text.partition(":")
    if not (colon and scheme.lower() == "file"):
        _refuse_address(text)
        return Path(text)
    if rest.startswith("//"):
        computer, slash, rest = rest[2:].partition("/")
        if computer.lower() not in ("", "localhost"):
            raise SourceError(
                f"{address_without_credentials(text)} names a file on the computer '{computer.rpartition('@')[2]}'; "
                "a file on this computer has three slashes: file:///folder/clip.mp4"
            )
        rest = slash + rest
    return Path(os.fsdecode(unquote_to_bytes(rest)))


def _local(path: Path) -> Source:
    """Return the source behind a path."""
    text = str(path)
    if text in _STDIN:
        return _stdin()
    if not _exists(path):
        _refuse_address(text)  # a path that was one has lost a slash, and keeps its password
    try:
        if node := NODE.fullmatch(os.path.realpath(path)):
            return _camera(int(node[1]), name=None if node[0] == text else text)
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return FileSource(path)  # which reports the error
    if stat.S_ISFIFO(mode):
        return PipeSource(path)
    _refuse_device(text, mode)
    return FileSource(path)


def _refuse_address(text: str) -> None:
    if _ADDRESS.match(text):
        raise SourceError(
            f"{address_without_credentials(text)}: network streams are not supported yet. "
            f"Run: {EXAMPLE.replace('IN', 'ADDRESS')}"
        )


def _stdin() -> Source:
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        raise SourceError(f"stdin is closed; pipe a video into it. Run: {EXAMPLE}") from None
    if stat.S_ISREG(mode):
        return FileSource(Path("/dev/stdin"))
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISDIR(mode):
        raise SourceError(f"nothing is piped into stdin. Run: {EXAMPLE}")
    return PipeSource()


def _camera_or_file(text: str, number: int) -> Source:
    """Return what a number names: the file of that name, otherwise the camera."""
    path = Path(text)
    if not _exists(path):
        if not 0 <= number < MAX_CAMERAS:
            raise SourceError(f"no camera {number} and no file '{text}'; cameras are counted from 0. {LIST}")
        return _camera(number)
    if path.is_dir():
        raise SourceError(f"'{text}' is a folder here: name a video in it, or for the camera use --camera {number}")
    source = _local(path)
    source.warnings(f"'{text}' is read as the file of that name; for the camera use --camera {number}")
    return source


def _camera(number: int, *, name: str | None = None) -> CameraSource:
    if not 0 <= number < MAX_CAMERAS:
        raise SourceError(f"no camera {number}; cameras are counted from 0. {LIST}")
    return CameraSource(number, name=name)


def _refuse_device(name: str, mode: int) -> None:
    for is_kind, kind in _KINDS:
        if is_kind(mode):
            raise SourceError(f"{name} is {kind}, not a video; {_CHOICES}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with characters that are invalid in a path
        return False
