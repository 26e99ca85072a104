"""The newest seconds of a stream, kept as H.264, so that a clip can begin before its event was known."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sinks.mp4.h264 import CodedPicture, H264Encoder


@dataclass
class _Group:
    """Pictures from one that needs no other up to the next such one."""

    start_s: float
    pictures: list[CodedPicture] = field(default_factory=list)
    bytes: int = 0


class PreRoll:
    """Encodes every picture once, and keeps the newest ones.

    Compressed so, 8 s of 1280x720 at 30 fps take about 3 MB; as JPEG they would take 20 to 26 MB.

    Args:
        size_px: (width, height) of the pictures.
        keep_s: seconds that are kept at least, once there were so many.
        most_bytes: memory that the pictures may take; with more, fewer seconds are kept.

    Attributes:
        encoder: what encodes them.
        newest_s: time of the newest picture, seconds.
        shortened: whether `most_bytes` was ever reached.

    Raises:
        OutputError: if the size cannot be encoded.
    """

    def __init__(self, size_px: tuple[int, int], *, keep_s: float, most_bytes: int) -> None:
        self.encoder = H264Encoder(size_px)
        self.newest_s = 0.0
        self.shortened = False
        self._keep_s = keep_s
        self._most_bytes = most_bytes
        self._groups: deque[_Group] = deque()
        self._bytes = 0

    def add(self, frame: Frame, time_s: float) -> CodedPicture:
        """Encode and keep a picture.

        Raises:
            OutputError: if it cannot be encoded.
        """
        coded = self.encoder.encode(frame.picture, frame.color, time_s)
        if coded.key:
            self._groups.append(_Group(time_s))
        self._groups[-1].pictures.append(coded)
        self._groups[-1].bytes += len(coded.data)
        self._bytes += len(coded.data)
        self.newest_s = time_s
        while len(self._groups) > 1 and self._groups[1].start_s <= time_s - self._keep_s:
            self._forget()
        while len(self._groups) > 1 and self._bytes > self._most_bytes:
            self._forget()
            self.shortened = True
        return coded

    def since(self, time_s: float) -> tuple[float, Iterator[CodedPicture]]:
        """Return the pictures from a time on: they begin at most a second before it, or with the oldest that is kept.

        Returns:
            The time of the first one, and the pictures. There must be one.
        """
        begin = max((index for index, group in enumerate(self._groups) if group.start_s <= time_s), default=0)
        groups = list(self._groups)[begin:]
        return groups[0].start_s, (picture for group in groups for picture in group.pictures)

    def close(self) -> None:
        """Release the encoder."""
        self.encoder.close()

    def _forget(self) -> None:
        self._bytes -= self._groups.popleft().bytes
