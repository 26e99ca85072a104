"""Opens the container of a video, in the formats of a white list, so that nothing but the file itself is read."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import av
from av.container import InputContainer

from mar_edge.errors import SourceCode, SourceError
from mar_edge.files.regular_file import open_regular
from mar_edge.runtime.video.folder_walk import why_missing
from mar_edge.runtime.video.limits import (
    DECODER_OPTIONS,
    FORMATS,
    LATE_FORMATS,
    OPEN_TIMEOUT_S,
    container_options,
)
from mar_edge.runtime.video.mp4_index import why_too_many

_PLAYLISTS = (b"ffconcat", b"#EXTM3U", b"<?xml", b"<MPD", b"<smil", b"v=0", b"[playlist]", b"[Reference]", b"# VobSub")
"""How files begin that only name other files or addresses."""

_RAW_ENDINGS = {
    ".264": "h264", ".h264": "h264", ".avc": "h264", ".265": "hevc", ".h265": "hevc", ".hevc": "hevc", ".h261": "h261",
    ".h263": "h263", ".m4v": "m4v", ".mjpeg": "mjpeg", ".mjpg": "mjpeg", ".m1v": "mpegvideo", ".m2v": "mpegvideo",
    ".vc1": "vc1", ".drc": "dirac", ".dnxhd": "dnxhd", ".obu": "obu", ".dv": "dv", ".dif": "dv", ".cavs": "cavsvideo",
}  # fmt: skip
"""Streams without a container, which may not be recognised by their content alone."""

_TRIAL_PACKETS = 24
_TRIAL_BYTES = 5_000_000
"""As many as FFmpeg decodes at the most to learn about a stream."""

_MOST_TRIED = 10_000
_tried: dict[tuple[int, ...], tuple[tuple[str, ...], bool]] = {}
"""Files that have not changed since are not tried again."""

_MOST_DECODED = 2
"""Videos of a file that FFmpeg decodes at once; cameras with two lenses have as many."""


def open_container(path: Path) -> InputContainer:
    """Open a regular file.

    Raises:
        SourceError: if it is missing, unreadable, something else, or in a format that is not read.
    """
    try:
        if path.is_dir():
            raise SourceError(f"{path} is a directory; name a video file in it")
        if not path.exists():
            raise SourceError(why_missing(path), code="not-found")
        handle = open_regular(path)
        try:
            if os.fstat(handle).st_size == 0:
                raise SourceError(f"{path} is empty (0 bytes)")
            if why := why_too_many(handle):
                raise SourceError(f"{path} {why}")
            return _open(handle, path)
        finally:
            os.close(handle)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        said = f"{str(path)[:200]} is not a video that can be read: {reason_of(error)}"
        raise SourceError(said, code=code_of(error)) from error


def open_bytes(data: object) -> InputContainer:
    """Open what an object with a `read` method provides.

    It cannot be tried first, as a file is, so FFmpeg opens no decoder to learn about the streams: it would not limit the
    size of their pictures.

    Raises:
        av.error.FFmpegError, OSError, ValueError: if it is not in a format that is read.
    """
    options = container_options(protocol="", formats=(*FORMATS, *LATE_FORMATS)) | {"codec_whitelist": "none"}
    return av.open(data, "r", metadata_errors="replace", options=options)


def code_of(error: Exception) -> SourceCode:
    """Return why a file cannot be opened or read."""
    if isinstance(error, FileNotFoundError):
        return "not-found"
    return "permission" if isinstance(error, PermissionError) else "unreadable"


def reason_of(error: Exception) -> str:
    """Return an exception's message in one line."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


def _open(handle: int, path: Path) -> InputContainer:
    ending = _RAW_ENDINGS.get(path.suffix.lower())
    try:
        return _open_known(handle)
    except av.error.InvalidDataError as error:
        if ending is None:
            raise SourceError(_why_unread(handle, path, reason_of(error))) from error
        return _open_as(handle, (ending,), ending)
    except av.error.ArgumentError as error:
        reason = "its format is not supported, or it is damaged. Convert it: ffmpeg -i IN OUT.mp4"
        raise SourceError(_why_unread(handle, path, reason)) from error
    except av.error.ExitError as error:
        raise SourceError(
            f"{path} is not a video that can be read: it was not opened in {OPEN_TIMEOUT_S:g} s"
        ) from error


def _open_known(handle: int) -> InputContainer:
    """Open a file whose streams are known to need little memory; otherwise without decoders.

    FFmpeg decodes some pictures of every stream to learn about it, and limits their size only in streams that are listed
    at the start of a file. Without decoders it knows less about the order of pictures.
    """
    stat = os.fstat(handle)
    key = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if key not in _tried:
        if len(_tried) >= _MOST_TRIED:
            _tried.clear()
        _tried[key] = _try(handle)
    formats, decoders = _tried[key]
    return _open_as(handle, formats, decoders=decoders)


def _try(handle: int) -> tuple[tuple[str, ...], bool]:
    """Return in which formats a file is opened, and whether FFmpeg may decode its streams."""
    try:
        with _open_as(handle, FORMATS, decoders=False, analysed_us=1) as listed:
            return FORMATS, len(listed.streams.video) <= _MOST_DECODED
    except av.error.ArgumentError:  # none of these formats
        with _open_as(handle, LATE_FORMATS, decoders=False) as trial:
            return LATE_FORMATS, len(trial.streams.video) <= _MOST_DECODED and _decodes(trial)


def _open_as(
    handle: int, formats: tuple[str, ...], format: str | None = None, *, decoders: bool = True, analysed_us: int = 0
) -> InputContainer:
    """Open what a descriptor reads, of which FFmpeg makes a copy.

    Args:
        handle: the descriptor. No other protocol is allowed, so that nothing else can be opened.
        formats: that may be found.
        format: do not search, but read it as this one.
        decoders: decode pictures to learn about the streams.
        analysed_us: time of the file in which streams are searched; 0 for FFmpeg's own choice.
    """
    os.lseek(handle, 0, os.SEEK_SET)
    options = container_options(protocol="fd", formats=formats) | {
        "fd": str(handle),
        "analyzeduration": str(analysed_us),
    }
    if not decoders:
        options["codec_whitelist"] = "none"
    return av.open("fd:", "r", format, options, metadata_errors="replace", timeout=(OPEN_TIMEOUT_S, None))


def _decodes(container: InputContainer) -> bool:
    """Return whether the first packets of every video can be decoded with pictures of a permitted size."""
    seen: Counter[int] = Counter()
    done: set[int] = set()
    films = [stream for stream in container.streams.video if getattr(stream, "codec_context", None) is not None]
    for film in films:
        film.codec_context.thread_count = 1
        film.codec_context.options = dict(DECODER_OPTIONS)
    size = 0
    try:
        for packet in container.demux(films) if films else ():
            size += packet.size
            if seen[packet.stream_index] < _TRIAL_PACKETS:
                seen[packet.stream_index] += 1
                try:
                    done.update(packet.stream_index for _ in packet.decode())
                except av.error.FFmpegError:
                    continue
            if size > _TRIAL_BYTES or all(seen[film.index] >= _TRIAL_PACKETS for film in films):
                break
    except (av.error.FFmpegError, IndexError):  # damaged; what was read counts
        pass
    return done >= seen.keys()


def _why_unread(handle: int, path: Path, reason: str) -> str:
    """Return why a file is not read, by its first bytes; otherwise for a reason."""
    os.lseek(handle, 0, os.SEEK_SET)
    start = os.read(handle, 512).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(_PLAYLISTS):
        return f"{path} is a list of other files, not a video; name the video itself"
    if not any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in start):
        reason = "it is text or other data"
    return f"{str(path)[:200]} is not a video that can be read: {reason}"
