"""Opens the source that a user names."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast
from urllib.parse import unquote_to_bytes

import numpy as np

from mar_edge.counting import counted
from mar_edge.credentials import address_without_credentials
from mar_edge.errors import SourceError
from mar_edge.runtime.sources.address import check_options, did_you_mean, invalid, parse_rate, split_options
from mar_edge.runtime.sources.camera import CameraSource
from mar_edge.runtime.sources.camera_settings import CameraSettings
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.device_node import LIST, NODE
from mar_edge.runtime.sources.file import FileSource
from mar_edge.runtime.sources.gstreamer.source import GstreamerSource
from mar_edge.runtime.sources.iterable import Item, IterableSource
from mar_edge.runtime.sources.pipe import EXAMPLE, PipeSource
from mar_edge.runtime.sources.raw import RawSource
from mar_edge.runtime.sources.realtime import RealtimeSource
from mar_edge.runtime.sources.recordings.file_list import FileListSource, expand, natural_order
from mar_edge.runtime.sources.recordings.images import ImagesSource, is_named_picture, pictures_in
from mar_edge.runtime.sources.recordings.rosbag import RosbagSource, is_bag
from mar_edge.runtime.sources.source import Source
from mar_edge.runtime.video.listing import is_named_video

MAX_CAMERAS = 1000

_CHOICES = (
    "give a camera number, a video file, a pattern, a folder of pictures, a ROS bag, an address (rtsp, rtsps, http, https, "
    "csi, gst), '-' for a pipe, or 'demo'"
)
_CAMERA = re.compile(r"(?:camera\s*[:= ]?\s*)?([+-]?\d+)", re.ASCII | re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)
_CSI = re.compile(r"(?://)?(\d{1,3})", re.ASCII)
_NETWORK = ("rtsp", "rtsps", "http", "https")
_STDIN = ("-", "pipe:", "pipe:0", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
_KINDS = (
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a disk"),
    (stat.S_ISSOCK, "a socket"),
)


def open_source(
    spec: str | int | Path | Source | Iterable[Item], *, realtime: bool = False, stdin_format: str | None = None
) -> Source:
    """Return the source that a user named.

    Args:
        spec: a camera's number (`0`, `"0"`, `"camera:0?size=1280x720"`) or device (`/dev/video0`), `"demo"` (with options,
            see `DemoSource.parse`), the path or `file://` address of a video, a pattern of videos or pictures
            (`"clips/*.mp4"`), a folder of pictures (`"frames?fps=30"`), a ROS bag (`"drive.mcap?topic=/camera"`), an
            address of the network (`rtsp://`, `rtsps://`, `http://`, `https://`), `"csi://0"`, `"gst:PIPELINE"`, a named
            pipe, `"-"` for standard input, a source object, or an iterable of frames (see `IterableSource`). Something
            in the working folder takes precedence over a camera, a pattern or options of that name.
        realtime: play a recording as if it were live.
        stdin_format: of uncompressed frames on standard input, as `"rgb24:640x480:30"`; None for a video.

    Raises:
        SourceError: if it cannot be opened as a source.
        MissingExtraError: if a CSI camera is named, and GStreamer is not installed.
    """
    source = _open(spec) if stdin_format is None else _raw_stdin(spec, stdin_format)
    return RealtimeSource(source) if realtime and not source.live else source


def _open(spec: str | int | Path | Source | Iterable[Item]) -> Source:
    if isinstance(spec, (int, np.integer)) and not isinstance(spec, bool):
        return _camera(int(spec))
    if isinstance(spec, str):
        return _typed(spec)
    if isinstance(spec, Path):
        return _local(spec)
    if hasattr(spec, "connect"):
        if missing := [name for name in ("name", "live", "dropped", "warnings") if not hasattr(spec, name)]:
            raise SourceError(f"{type(spec).__name__} is a source without {', '.join(missing)}; see mar_edge.Source")
        return cast(Source, spec)
    if isinstance(spec, Iterable) and not isinstance(spec, (bytes, bytearray, np.ndarray, Mapping)):
        return IterableSource(spec)
    raise SourceError(
        f"{type(spec).__name__} is not a source; {_CHOICES}, a source object (see mar_edge.Source), or an iterable "
        "of (frame, time in seconds)"
    )


def clip_file(spec: str | Path) -> Path:
    """Return the file that a user named as a clip; whether it is a video is checked when it is read.

    Raises:
        SourceError: if it names a camera, a pipe, the demo or an address.
    """
    path = Path(spec)
    if _exists(path) and (path.is_file() or path.is_dir()):
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
    if _exists(Path(text)):
        return _local(Path(text))
    if scheme := _SCHEME.match(text):
        if factory := _FACTORIES.get(scheme[1].lower()):
            return factory(text)
        _refuse_scheme(text, scheme[1].lower())
    return _local_with_options(text)


def _file_address(text: str) -> Source:
    """Return the source behind a `file:` address."""
    rest = text.partition(":")[2]
    if rest.startswith("//"):
        computer, slash, rest = rest[2:].partition("/")
        if computer.lower() not in ("", "localhost"):
            raise SourceError(
                f"{address_without_credentials(text)} names a file on the computer '{computer.rpartition('@')[2]}'; "
                "a file on this computer has three slashes: file:///folder/clip.mp4"
            )
        rest = slash + rest
    return _local(Path(os.fsdecode(unquote_to_bytes(rest))))


def _network(text: str) -> Source:
    scheme, _, rest = text.partition(":")
    if not rest.startswith("//"):  # also a pathlib.Path of an address, which has lost a slash
        raise invalid(
            f"{address_without_credentials(text)} is not an address; write it as text with two slashes: {scheme.lower()}://HOST/PATH"
        )
    from mar_edge.runtime.sources.network.source import NetworkSource

    return NetworkSource(text)


def _camera_address(text: str) -> Source:
    """Return the camera of `camera:0?size=1280x720`."""
    place, options = split_options(text)
    camera = _CAMERA.fullmatch(place)
    if camera is None:
        raise invalid(f"cannot read '{text}'; write for instance camera:0 or camera:0?size=1280x720&fps=30&format=mjpg")
    return _camera(int(camera[1]), settings=CameraSettings.parse(place, options))


def _csi(text: str) -> Source:
    place, options = split_options(text.partition(":")[2])
    number = _CSI.fullmatch(place)
    if number is None:
        raise invalid(f"no CSI camera '{place.strip('/')}'; write for instance csi:0 or csi:0?size=1280x720&fps=30")
    return GstreamerSource.csi(int(number[1]), options)


def _bag_address(text: str) -> Source:
    place, options = split_options(text.partition(":")[2])
    return _bag(Path(place), options)


_FACTORIES: dict[str, Callable[[str], Source]] = {
    "file": _file_address,
    "camera": _camera_address,
    "csi": _csi,
    "gst": lambda text: GstreamerSource(text.partition(":")[2]),
    "bag": _bag_address,
    **dict.fromkeys(_NETWORK, _network),
}
"""Returns the source of an address, by its scheme."""


def _refuse_scheme(text: str, scheme: str) -> None:
    """Raise an error for an address that is not supported; a name with a colon may be a file's."""
    near = did_you_mean(scheme, (*_FACTORIES, "demo"))
    if not near and not text[len(scheme) + 1 :].startswith("/"):
        return
    # the address comes late: behind one, a question mark would be hidden as the beginning of a query
    raise invalid(
        f"{scheme} is not supported{near}: {address_without_credentials(text)}; addresses begin with "
        f"{', '.join(_FACTORIES)} or demo. For another kind of stream run: {EXAMPLE.replace('IN', 'ADDRESS')}"
    )


def _local_with_options(text: str) -> Source:
    """Return the source of a path or pattern that does not exist as it was typed: perhaps it has options."""
    place, options = split_options(text)
    if options and (camera := _CAMERA.fullmatch(place)):
        return _camera(int(camera[1]), settings=CameraSettings.parse(f"camera {camera[1]}", options))
    if not _exists(Path(place)) and glob.has_magic(place):
        return _pattern(place, options)
    return _local(Path(place), options)


def _pattern(pattern: str, options: dict[str, str]) -> Source:
    """Return the pictures or videos that match a pattern, as one stream."""
    paths = expand(pattern)
    if not paths:
        raise SourceError(f"no file matches '{pattern}'", code="not-found", retry=False)
    pictures = [path for path in paths if is_named_picture(path)]
    if not pictures:
        check_options(pattern, options, ())
        return FileListSource(paths, name=pattern)
    if len(pictures) < len(paths):
        raise invalid(
            f"'{pattern}' matches {counted(len(pictures), 'picture')} and {counted(len(paths) - len(pictures), 'other file')}; "
            "give a pattern of one kind"
        )
    return _images(pictures, pattern, options)


def _images(paths: list[Path], name: str, options: dict[str, str]) -> Source:
    check_options(name, options, ("fps",))
    if "fps" not in options:
        # the model was trained at a rate, so a guess would give wrong results without a sign of it
        raise invalid(
            f"{name}: pictures have no rate of their own; give frames per second, for instance '{name}?fps=30'"
        )
    return ImagesSource(paths, fps=parse_rate(name, options["fps"]), name=name)


def _local(path: Path, options: dict[str, str] | None = None) -> Source:
    """Return the source behind a path."""
    options = options or {}
    text = str(path)
    if text in _STDIN:
        check_options(text, options, ())
        return _stdin()
    if not _exists(path) and (scheme := _SCHEME.match(text)) and text[scheme.end() :].startswith("/"):
        _refuse_path(text, scheme[1].lower())
    try:
        if node := NODE.fullmatch(os.path.realpath(path)):
            name = None if node[0] == text else text
            return _camera(int(node[1]), name=name, settings=CameraSettings.parse(text, options))
        mode = path.stat().st_mode
    except (OSError, ValueError):
        if is_bag(path):
            return _bag(path, options)
        check_options(text, options, ())
        return FileSource(path)  # which reports the error
    if is_bag(path):
        return _bag(path, options)
    if stat.S_ISDIR(mode):
        return _folder(path, options)
    check_options(text, options, ())
    if stat.S_ISFIFO(mode):
        return PipeSource(path)
    _refuse_device(text, mode)
    return FileSource(path)


def _refuse_path(text: str, scheme: str) -> None:
    """Raise the error for a path that was an address: it has lost a slash, and keeps its password."""
    if scheme in _NETWORK:
        _network(text)
    _refuse_scheme(text, scheme)


def _bag(path: Path, options: dict[str, str]) -> Source:
    check_options(str(path), options, ("topic",))
    return RosbagSource(path, options.get("topic"))


def _folder(path: Path, options: dict[str, str]) -> Source:
    """Return the pictures of a folder."""
    try:
        pictures = natural_order(pictures_in(path))
        videos = sum(is_named_video(one) for one in path.iterdir())
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror or error}", code="permission", retry=False
        ) from error
    if not pictures:
        held = (
            f"{counted(videos, 'video')}: name one, or all with '{path}/*'" if videos else "neither pictures nor videos"
        )
        raise SourceError(f"{path} is a directory with {held}", code="not-found", retry=False)
    source = _images(pictures, str(path), options)
    if videos:
        source.warnings(f"{path}: its pictures are read, {counted(videos, 'video', 'is', 'are')} left out")
    return source


def _raw_stdin(spec: object, raw_format: str) -> Source:
    if not isinstance(spec, (str, Path)) or str(spec).strip() not in _STDIN:
        raise invalid("--stdin-format is for frames on standard input; name it as source: --source -")
    return _stdin(raw_format)


def _stdin(raw_format: str | None = None) -> Source:
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        raise SourceError(f"stdin is closed; pipe a video into it. Run: {EXAMPLE}") from None
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISDIR(mode):
        raise SourceError(f"nothing is piped into stdin. Run: {EXAMPLE}")
    if raw_format is not None:
        return RawSource(raw_format)
    return FileSource(Path("/dev/stdin")) if stat.S_ISREG(mode) else PipeSource()


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


def _camera(number: int, *, name: str | None = None, settings: CameraSettings | None = None) -> CameraSource:
    if not 0 <= number < MAX_CAMERAS:
        raise SourceError(f"no camera {number}; cameras are counted from 0. {LIST}")
    return CameraSource(number, name=name, settings=settings)


def _refuse_device(name: str, mode: int) -> None:
    for is_kind, kind in _KINDS:
        if is_kind(mode):
            raise SourceError(f"{name} is {kind}, not a video; {_CHOICES}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with characters that are invalid in a path
        return False
