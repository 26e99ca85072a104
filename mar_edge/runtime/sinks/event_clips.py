"""The sink of `--clips`: a clip of every event, with what came before and after it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from mar_edge.errors import OptionError, OutputError
from mar_edge.files.atomic_file import write_whole
from mar_edge.runtime.results import Event, EventEnded, Kind, Notice, Record, ShownFrame, StreamStatus
from mar_edge.runtime.sinks.mp4.clip_folder import ClipFolder
from mar_edge.runtime.sinks.mp4.h264 import CodedPicture, check_encoder
from mar_edge.runtime.sinks.mp4.marks import CLIP_SCHEMA
from mar_edge.runtime.sinks.mp4.mp4_file import Mp4File
from mar_edge.runtime.sinks.mp4.pre_roll import PreRoll
from mar_edge.runtime.sinks.notify import Notify, no_notice

REPORTED_S = 5.0
"""How long after its beginning an event may be reported without loss of what comes before it."""

_MOST_BYTES = 64 << 20
_MOST_CUT = 16


@dataclass
class _Clip:
    """A clip that is written, or that ended before its event."""

    file: Mp4File
    event: Event
    start_s: float
    newest_s: float
    end_s: float | None = None
    cut: str | None = None
    finished: bool = False

    def add(self, picture: CodedPicture, time_s: float) -> None:
        self.file.add(picture)
        self.newest_s = time_s

    def finish(self, cut: str | None) -> None:
        self.cut, self.finished = cut, True
        self.file.close()
        self.describe()

    def describe(self) -> None:
        """Write what it shows beside it: once when it begins, and again when it is finished."""
        values = {
            "schema": CLIP_SCHEMA,
            "video": self.file.path.name,
            "start_s": round(self.start_s, 4),
            "end_s": round(self.newest_s, 4) if self.finished else None,
            "cut": self.cut,
            "event": self.event.to_json(),
        }
        write_whole(self.file.path.with_suffix(".json"), json.dumps(values, indent=2).encode() + b"\n")


@dataclass
class _Stream:
    """What is kept of a stream."""

    size_px: tuple[int, int] | None = None
    roll: PreRoll | None = None
    clips: dict[str, _Clip] = field(default_factory=dict)  # that are written, by the id of their event
    cut: dict[str, _Clip] = field(default_factory=dict)  # that ended before their event
    told: bool = False


class EventClips:
    """Writes a clip of every event as it happens, and its description beside it: `NAME.mp4` and `NAME.json`.

    The picture is as the camera took it, or its mirror image where the stream is mirrored; nothing is drawn on it. A clip begins `before_s` before its event, or up to a
    second earlier, where a picture stands that needs no other, and ends `after_s` after the event or when its end is
    reported, whichever is later. It ends earlier at `longest_s`, at a change of the picture's size, and with the stream.

    Args:
        folder: where they are written; created with the first one. Nothing in it is replaced.
        before_s: seconds before the event.
        after_s: seconds after it.
        longest_s: most seconds of a clip.
        keep_bytes: once the clips in the folder take more, the oldest are removed; None to remove none.
        most_bytes: memory that the newest seconds of one stream may take.
        inputs: what the program reads, which is never removed.
        notify: called when a clip is shortened, or cannot be made.

    Attributes:
        name: see `sinks.sink.Sink`.
        wants: see `sinks.sink.Sink`.

    Raises:
        OptionError: if a length is invalid.
        OutputError: if files cannot be created in the folder, or this PyAV has no encoder.
    """

    wants: frozenset[Kind] = frozenset({"frame", "event", "summary"})

    def __init__(
        self,
        folder: str | Path,
        *,
        before_s: float = 3.0,
        after_s: float = 2.0,
        longest_s: float = 60.0,
        keep_bytes: int | None = None,
        most_bytes: int = _MOST_BYTES,
        inputs: Iterable[str | Path | None] = (),
        notify: Notify = no_notice,
    ) -> None:
        if not (0 <= before_s <= 60 and 0 <= after_s <= 600 and before_s < longest_s <= 3600):
            raise OptionError(
                "clips have 0 to 60 s before an event, 0 to 600 s after it, and up to 3600 s in total, more than before "
                f"the event; {before_s:g}, {after_s:g} and {longest_s:g} s were given"
            )
        check_encoder()
        self.name = f"clips in {folder}"
        self._folder = ClipFolder(Path(folder), keep_bytes=keep_bytes, inputs=inputs)
        self._before_s = before_s
        self._after_s = after_s
        self._longest_s = longest_s
        self._most_bytes = most_bytes
        self._notify = notify
        self._streams: dict[str, _Stream] = {}

    def write(self, record: Record) -> None:
        """Take a picture, or begin or end a clip.

        Raises:
            OutputError: if a clip cannot be written; what was written up to then can be played.
        """
        stream = self._streams.setdefault(record.stream, _Stream())
        if isinstance(record, ShownFrame):
            self._add(stream, record)
        elif isinstance(record, Event):
            self._mark(stream, record)
        if isinstance(record, StreamStatus) and record.state == "ended":
            self._end(stream, "stream")
            del self._streams[record.stream]

    def close(self) -> None:
        """Finish the clips; an event that is still open is described by its beginning.

        Raises:
            OutputError: if one cannot be written; the others are finished all the same.
        """
        failed: OutputError | None = None
        for stream in self._streams.values():
            try:
                self._end(stream, "stream")
            except OutputError as error:
                failed = error
        self._streams.clear()
        if failed is not None:
            raise failed

    def _add(self, stream: _Stream, record: ShownFrame) -> None:
        if stream.size_px != record.frame.size_px:
            self._end(stream, "size")
            stream.size_px = record.frame.size_px
            keep_s = self._before_s + REPORTED_S
            stream.roll = PreRoll(stream.size_px, keep_s=keep_s, most_bytes=self._most_bytes)
        assert stream.roll is not None
        for clip in list(stream.clips.values()):
            if clip.end_s is not None and record.time_s > clip.end_s:
                self._finish(stream, clip)
            elif record.time_s - clip.start_s > self._longest_s:
                self._finish(stream, clip, cut="longest")
        coded = stream.roll.add(record.frame, record.time_s)
        for clip in stream.clips.values():
            clip.add(coded, record.time_s)
        if stream.roll.shortened and not stream.told:
            stream.told = True
            self._tell(
                record.stream,
                f"the clips of its events begin less than {self._before_s:g} s before them: its newest seconds take more "
                f"than {self._most_bytes >> 20} MB. Use a smaller picture",
            )

    def _mark(self, stream: _Stream, event: Event) -> None:
        """Begin the clip of an event, or note when it ends."""
        clip = stream.clips.get(event.id)
        if clip is None and event.id not in stream.cut:
            clip = self._begin(stream, event)
        if not isinstance(event, EventEnded):
            return
        if clip is None:
            if done := stream.cut.pop(event.id, None):  # it was cut; now its event's end is known
                done.event = event
                done.describe()
            return
        clip.event, clip.end_s = event, event.end_s + self._after_s
        if stream.roll is not None and stream.roll.newest_s >= clip.end_s:
            self._finish(stream, clip)

    def _begin(self, stream: _Stream, event: Event) -> _Clip | None:
        start_s, pictures = stream.roll.since(event.start_s - self._before_s) if stream.roll else (0.0, iter(()))
        if stream.roll is None or (isinstance(event, EventEnded) and start_s > event.end_s):
            self._tell(event.stream, f"there is no clip of the event {event.label}: no picture of it is kept")
            return None
        path = self._folder.new_path(event)
        late_s = timedelta(seconds=start_s - event.start_s)
        notes = {"file": path.name, "start_s": round(start_s, 4), "event": event.to_json()}
        file = Mp4File(
            path,
            stream.roll.encoder.stream,
            schema=CLIP_SCHEMA,
            notes=notes,
            created_at=None if event.started_at is None else event.started_at + late_s,
        )
        clip = stream.clips[event.id] = _Clip(file, event, start_s, newest_s=stream.roll.newest_s)
        for picture in pictures:
            file.add(picture)
        clip.describe()
        return clip

    def _finish(self, stream: _Stream, clip: _Clip, cut: str | None = None) -> None:
        del stream.clips[clip.event.id]
        if cut is not None and not isinstance(clip.event, EventEnded):
            stream.cut[clip.event.id] = clip
            while len(stream.cut) > _MOST_CUT:  # the ends of their events were lost on the way here
                del stream.cut[next(iter(stream.cut))]
        if cut == "longest":
            self._tell(
                clip.event.stream, f"the clip {clip.file.path} ends after {self._longest_s:g} s, before its event"
            )
        clip.finish(cut)
        self._folder.remove_oldest()

    def _end(self, stream: _Stream, cut: str) -> None:
        """Finish the clips of a stream, and forget its pictures."""
        failed: OutputError | None = None
        for clip in list(stream.clips.values()):
            try:
                self._finish(stream, clip, cut=cut)
            except OutputError as error:
                failed = error
        if stream.roll is not None:
            stream.roll.close()
        stream.roll, stream.size_px = None, None
        if failed is not None:
            raise failed

    def _tell(self, stream: str, message: str) -> None:
        self._notify(Notice(stream=stream, code="output", message=message))
