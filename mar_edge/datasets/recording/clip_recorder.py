"""Makes clips of equal length out of the frames of a stream."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mar_edge.counting import counted
from mar_edge.datasets.recording.label_folder import Clip, LabelFolder
from mar_edge.errors import OptionError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sinks.mp4.h264 import H264Encoder, check_encoder
from mar_edge.runtime.streams.feed import utc_now

CRF = 18
"""Models are trained on these pictures, so they are better than those of a recording; see `h264.CRF`."""

MOST_BYTES = 256 << 20
"""Memory that the frames before a clip may take; with larger pictures there are fewer of them."""

_TICK_S = 1e-4
"""Times that differ by less are one: sums of decimal fractions."""

_SHORT = 1.5
"""The last frame of a clip may end this many times the mean spacing before the clip's end, where the source ends."""


@dataclass(frozen=True)
class Cut:
    """A clip that was not kept.

    Attributes:
        why: follows "not kept: " in a sentence.
    """

    why: str


class ClipRecorder:
    """Records clips into a folder. Pictures have their own size and times; those of a clip are encoded while it lasts.

    A clip gets its name when it is whole. It is not kept if the picture's size changes, the source's clock jumps, or the
    source ends before it does.

    Args:
        folder: where clips go.
        length_s: length of a clip, seconds.
        before_s: how much of it lies before its begin is asked for, seconds.
        most_bytes: see `MOST_BYTES`.

    Attributes:
        shortened: whether `most_bytes` was ever reached, so that clips begin later.

    Raises:
        OptionError: if a length is invalid.
        OutputError: if this PyAV has no encoder.
    """

    def __init__(
        self, folder: LabelFolder, *, length_s: float, before_s: float = 0.0, most_bytes: int = MOST_BYTES
    ) -> None:
        if not 0 <= before_s < length_s:
            raise OptionError(f"{before_s:g} s before the key do not fit a clip of {length_s:g} s; keep fewer")
        check_encoder()
        self.shortened = False
        self._folder = folder
        self._length_s, self._before_s, self._most_bytes = length_s, before_s, most_bytes
        self._earlier: deque[Frame] = deque()
        self._begins = False
        self._open: _OpenClip | None = None

    @property
    def recording(self) -> bool:
        """Whether a clip is being recorded or begins with the next frame."""
        return self._begins or self._open is not None

    @property
    def recorded_s(self) -> float:
        """How much of the clip is recorded, seconds."""
        return self._open.last_s - self._open.start_s if self._open is not None else 0.0

    def begin(self) -> None:
        """Begin a clip with the frames that are kept, and otherwise with the next one."""
        self._begins = True

    def add(self, frame: Frame) -> Clip | Cut | None:
        """Take a frame; return the clip that ended before it, if one did.

        Raises:
            OutputError: if the clip cannot be written; nothing of it is left.
        """
        if frame.held:  # a repeat, no frame of its own
            return None
        ended: Clip | Cut | None = None
        if why := self._break(frame):
            self._earlier.clear()
            ended = self._drop(why)
        elif self._open is not None and frame.time_s >= self._open.end_s - _TICK_S:
            ended = self._finish(self._open)
        if self._begins:
            self._begins = False
            frames = [*self._earlier, frame]
            self._earlier.clear()
            self._open = _OpenClip(self._folder, frames[0], self._length_s)
            for one in frames:
                self._open.add(one)
        elif self._open is not None:
            self._open.add(frame)
        else:
            self._keep_earlier(frame)
        return ended

    def cancel(self) -> bool:
        """Drop the clip that is being recorded; return whether there was one."""
        was, self._begins = self.recording, False
        self._drop("")
        return was

    def end(self) -> Clip | Cut | None:
        """Take the end of the source; return the clip that it ended, if there was one.

        Raises:
            OutputError: see `add`.
        """
        if self._open is None or not self._open.nearly_whole:
            return self._drop("the source has ended")
        return self._finish(self._open)

    def _break(self, frame: Frame) -> str | None:
        """Return why no clip may have both this frame and the one before; None if it may."""
        before = self._open.size_px if self._open is not None else self._earlier[-1].size_px if self._earlier else None
        if before is not None and before != frame.size_px:
            return f"the size of its picture changed to {frame.size_px[0]}x{frame.size_px[1]}"
        return frame.cut

    def _drop(self, why: str) -> Cut | None:
        dropped, self._open = self._open, None
        if dropped is None:
            return None
        dropped.discard()
        return Cut(why)

    def _finish(self, clip: _OpenClip) -> Clip | Cut:
        self._open = None
        try:
            return clip.finish()
        finally:
            clip.discard()

    def _keep_earlier(self, frame: Frame) -> None:
        if not self._before_s:
            return
        self._earlier.append(frame)
        width, height = frame.size_px
        while frame.time_s - self._earlier[0].time_s > self._before_s + _TICK_S:
            self._earlier.popleft()
        while len(self._earlier) * 3 * width * height > self._most_bytes:
            self._earlier.popleft()
            self.shortened = True


class _OpenClip:
    """A clip that is being written."""

    def __init__(self, folder: LabelFolder, first: Frame, length_s: float) -> None:
        self.size_px = first.size_px
        self.start_s = self.last_s = first.time_s
        self.end_s = first.time_s + length_s
        self._folder = folder
        self._frames = 0
        self._longest_gap_s = 0.0
        created_at = None if first.arrived_s is None else utc_now(first.arrived_s)
        self._encoder = H264Encoder(first.size_px, crf=CRF)
        try:
            self._file, self._number = folder.new_file(self._encoder.stream, created_at)
        except BaseException:
            self._encoder.close()
            raise

    @property
    def duration_s(self) -> float:
        """Its length, the last frame as long as the others are on average."""
        return (self.last_s - self.start_s) * self._frames / max(1, self._frames - 1)

    @property
    def nearly_whole(self) -> bool:
        """Whether no further frame of it can be expected."""
        spacing_s = (self.last_s - self.start_s) / max(1, self._frames - 1)
        return self.last_s + _SHORT * spacing_s >= self.end_s

    def add(self, frame: Frame) -> None:
        self._file.add(self._encoder.encode(frame.picture, frame.color, frame.time_s))
        self._longest_gap_s = max(self._longest_gap_s, frame.time_s - self.last_s)
        self.last_s = frame.time_s
        self._frames += 1

    def finish(self) -> Clip | Cut:
        self._longest_gap_s = max(self._longest_gap_s, self.end_s - self.last_s)
        if self._frames < 2:
            return Cut(f"there is only {counted(self._frames, 'frame')} in it, the source is too slow")
        self._file.close()
        clip = Clip(
            path=self._file.path,
            label=self._folder.label,
            recording=self._folder.recording,
            number=self._number,
            start_s=self.start_s,
            duration_s=self.duration_s,
            frames=self._frames,
            size_px=self.size_px,
            longest_gap_s=self._longest_gap_s,
        )
        self._folder.keep(clip)
        return clip

    def discard(self) -> None:
        """Close it; what is not finished is removed."""
        self._file.discard()
        self._encoder.close()
