"""Opens a local file, chooses its video stream, and rejects what is not a video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from mar_edge.errors import SourceError
from mar_edge.runtime.video.folder_walk import why_missing
from mar_edge.runtime.video.timing import Timing, timing_of

HEAD_PACKETS = 130
HEAD_BYTES = 3_000_000
"""Packets read ahead to analyse the time stamps: more than a second at 120 frames per second."""

PIPED_PACKETS = 16
"""The same for a live pipe: FFmpeg has read more than this to find the streams, so it causes no wait."""

NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
"""Covers of music, chapter thumbnails and still pictures are stored as video streams."""

_TEXT_FORMATS = ("tty", "bin", "xbin", "adf", "idf")
"""Formats in which FFmpeg renders text: it accepts any text file as a video."""

_PICTURE_FORMATS = ("image2", "ico", "brender_pix", "jpegxl_anim")
_PICTURE_BRANDS = ("avif", "avis", "heic", "heix", "heim", "heis", "mif1", "msf1")
_ANIMATED_FORMATS = ("gif", "apng")
_FEWEST_PIPED = 4
"""Fewer consecutive pictures are not a video: cameras append previews to a JPEG."""

_PLAYLIST_FORMATS = ("concat", "hls", "applehttp", "dash", "sdp", "imf", "lavfi")
"""Formats that only name other files."""

_Stream = TypeVar("_Stream", bound=VideoStream)


class OpenVideo:
    """An open file and its video stream. Close it, or use it as a context manager.

    Args:
        path: a local file; a name for messages if `container` is given.
        threads: of the decoder; None for all cores.
        container: for data that is not a file, opened by the caller; it is closed with this object.

    Attributes:
        path: the file.
        container: of the file.
        stream: the one that a player shows.
        timing: how the file stores times.
        losses: places so far where the reader or the decoder lost data.
        stopped: why reading ended before the end of the file; None if it did not.

    Raises:
        SourceError: in one line, if the file is missing, unreadable or not a video.
    """

    def __init__(self, path: Path, *, threads: int | None = None, container: InputContainer | None = None) -> None:
        self.path = path
        self.losses = 0
        self.stopped: str | None = None
        self.container = container or _open(path)
        try:
            self.stream = _choose(self.container, path)
            self.stream.thread_type = "AUTO"
            self.stream.codec_context.thread_count = threads or 0
            self._packets = self._read()
            self._head = self._read_head(HEAD_PACKETS if container is None else PIPED_PACKETS)
            self._refuse_pictures()
            self.timing: Timing = timing_of(self.container.format, self.stream, self._head)
        except BaseException:
            self.container.close()
            raise

    def __enter__(self) -> OpenVideo:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the stream's packets from the current position, finally an empty one that flushes the decoder."""
        while self._head:
            yield self._head.pop(0)
        yield from self._packets

    def seek(self, stamp_s: float) -> None:
        """Continue with the key frame before a time stamp.

        Raises:
            av.error.FFmpegError, OverflowError: if the file cannot be sought in.
        """
        base = self.stream.time_base
        assert base is not None
        self.container.seek(int(stamp_s / base), stream=self.stream)
        self._head = []
        self._packets = self._read()

    def _read(self) -> Iterator[Packet[VideoStream]]:
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            # PyAV looks up a packet's stream by its number, which may be wrong in a damaged file
            except (av.error.FFmpegError, IndexError) as error:
                self.stopped = reason_of(error)
                return
            yield packet

    def _read_head(self, packets: int) -> list[Packet[VideoStream]]:
        head: list[Packet[VideoStream]] = []
        size = 0
        for packet in self._packets:
            head.append(packet)
            size += packet.size
            if len(head) >= packets or size > HEAD_BYTES:
                break
        return head

    def _refuse_pictures(self) -> None:
        """Reject still images; an animated one is a video.

        Raises:
            SourceError: if the file is one.
        """
        name = self.container.format.name
        pictures = sum(packet.size > 0 for packet in self._head)
        still = name in _PICTURE_FORMATS or (name in _ANIMATED_FORMATS and pictures < 2)
        still = still or (name.endswith("_pipe") and pictures < _FEWEST_PIPED)
        brand = str(self.container.metadata.get("major_brand", ""))
        if still or brand in _PICTURE_BRANDS:
            kind = brand if brand in _PICTURE_BRANDS else self.stream.codec_context.name
            raise SourceError(f"{self.path} is a still image ({kind}), not a video")


def reason_of(error: Exception) -> str:
    """Return an exception's message in one line."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


def _open(path: Path) -> InputContainer:
    try:
        if path.is_dir():
            raise SourceError(f"{path} is a directory; name a video file in it")
        if not path.exists():
            raise SourceError(why_missing(path))
        if path.is_file() and path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes)")
        # the protocol is explicit, or a colon in a file's name would be read as one; what a file names is not fetched
        container = av.open(f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise SourceError(f"{str(path)[:200]} is not a video that can be read: {reason_of(error)}") from error
    name = container.format.name
    if name in _TEXT_FORMATS:
        container.close()
        raise SourceError(f"{path} is text or other data, not a video")
    if set(name.split(",")) & set(_PLAYLIST_FORMATS):
        container.close()
        raise SourceError(f"{path} is a list of other files ({name}), not a video; name the video itself")
    return container


def _choose(container: InputContainer, path: Path) -> VideoStream:
    """Return the stream that a player shows: the default one, of several the largest, of equal ones the first."""
    streams = container.streams.video
    films = [stream for stream in streams if not stream.disposition & NO_VIDEO]
    if not films:
        kinds = ", ".join(stream.type for stream in container.streams if stream.type != "video") or "nothing"
        if streams:
            raise SourceError(f"{path} has no video stream, only {kinds.replace('nothing', '')} and a still picture")
        raise SourceError(f"{path} has no video stream, only {kinds}")
    # PyAV's types promise a decoder, but damaged files may name none that exists
    known = [stream for stream in films if getattr(stream, "codec_context", None) is not None]
    if not known:
        raise SourceError(f"{path} cannot be decoded: the codec of its video is unknown")
    return max(known, key=_rank)


def _rank(stream: VideoStream) -> tuple[bool, bool, int, int]:
    flags = stream.disposition
    return (
        not flags & Disposition.dependent,
        bool(flags & Disposition.default),
        stream.codec_context.width * stream.codec_context.height,
        -stream.index,
    )
