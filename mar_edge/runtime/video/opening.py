"""Opens a local file, chooses its video stream, and rejects what is not a video."""

from __future__ import annotations

import os
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
from mar_edge.runtime.video.container import open_container, reason_of
from mar_edge.runtime.video.limits import DECODER_OPTIONS, held_ahead, why_too_large
from mar_edge.runtime.video.timing import Timing, timing_of

HEAD_PACKETS = 130
HEAD_BYTES = 3_000_000
"""Packets read ahead to analyse the time stamps: more than a second at 120 frames per second."""

PIPED_PACKETS = 16
"""The same for a live pipe: FFmpeg has read more than this to find the streams, so it causes no wait."""

NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
"""Covers of music, chapter thumbnails and still pictures are stored as video streams."""

_PICTURE_FORMATS = ("jpegxl_anim",)
_PICTURE_BRANDS = ("avif", "avis", "heic", "heix", "heim", "heis", "mif1", "msf1")
_ANIMATED_FORMATS = ("gif", "apng")
_FEWEST_PIPED = 4
"""Fewer consecutive pictures are not a video: cameras append previews to a JPEG."""

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
        self.container = container or open_container(path)
        try:
            self.stream = choose_stream(self.container, path)
            self._limit_decoder(threads)
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

    def _limit_decoder(self, threads: int | None) -> None:
        """Set up the decoder; large pictures get fewer threads, each of which holds one.

        Raises:
            SourceError: if the pictures are too large.
        """
        decoder = self.stream.codec_context
        if why := why_too_large(decoder.width, decoder.height, decoder.format):
            raise SourceError(f"{self.path} {why}")
        self.stream.thread_type = "AUTO"
        ahead = held_ahead(decoder.width, decoder.height, decoder.format)
        decoder.thread_count = min(threads or os.cpu_count() or 1, ahead, 16)
        decoder.options = dict(DECODER_OPTIONS)  # the size may change later

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


def choose_stream(container: InputContainer, path: Path) -> VideoStream:
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
        raise SourceError(f"{path} cannot be decoded: the codec of its video is unknown", code="codec")
    return max(known, key=_rank)


def _rank(stream: VideoStream) -> tuple[bool, bool, int, int]:
    flags = stream.disposition
    return (
        not flags & Disposition.dependent,
        bool(flags & Disposition.default),
        stream.codec_context.width * stream.codec_context.height,
        -stream.index,
    )
