"""The sink of `--video`: the pictures of streams with what was recognised, as MP4."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from mar_edge.errors import OptionError, OutputError
from mar_edge.files.file_name import name_part
from mar_edge.files.ownership import check_no_other_writer, check_not_input
from mar_edge.files.syncing import check_creatable
from mar_edge.runtime.results import (
    EventEnded,
    EventStarted,
    Kind,
    Notice,
    Prediction,
    Record,
    ShownFrame,
    StreamStatus,
)
from mar_edge.runtime.sinks.annotation import annotate
from mar_edge.runtime.sinks.mp4.h264 import H264Encoder, check_encoder
from mar_edge.runtime.sinks.mp4.marks import RECORDING_SCHEMA, check_video_path
from mar_edge.runtime.sinks.mp4.mp4_file import Mp4File
from mar_edge.runtime.sinks.notify import Notify, no_notice

STREAM, TIME = "{stream}", "{time}"
"""What a path may contain: the stream's name, and when the file begins, in UTC."""

_STALE_S = 10.0
"""A prediction that is older than the picture by more is not drawn: a gap lies between them, or recognition stands still."""


class Recording:
    """Records every stream into an MP4 file of its own, with labels, open events, its name and the time drawn on it.

    A file is created with the stream's first picture. Where the size of the pictures changes, another part begins:
    `out.mp4`, `out-2.mp4`, ... A file of ours is replaced, others are not.

    Args:
        path: the file. `{stream}` in it stands for the stream's name, `{time}` for the file's beginning in UTC. Without
            `{stream}`, the name is added to the path if there are several streams.
        streams: names of the streams that are known.
        inputs: what the program reads, which is never written to.
        force: replace files of another kind.
        notify: called when another part begins.

    Attributes:
        name: see `sinks.sink.Sink`.
        wants: see `sinks.sink.Sink`.

    Raises:
        OptionError: if the path does not end with `.mp4`.
        OutputError: if a file cannot be created there, or is of another kind, or is one of the inputs;
            or if this PyAV has no encoder.
    """

    wants: frozenset[Kind] = frozenset({"frame", "prediction", "event", "summary"})

    def __init__(
        self,
        path: str | Path,
        *,
        streams: Iterable[str] = (),
        inputs: Iterable[str | Path | None] = (),
        force: bool = False,
        notify: Notify = no_notice,
    ) -> None:
        path = str(path)
        if Path(path).suffix.lower() != ".mp4":
            raise OptionError(f"a recording is an MP4 file; give a name that ends with .mp4, not {path}")
        check_encoder()
        self.name = f"video {path}"
        self._path = path
        self._inputs = list(inputs)
        self._force = force
        self._notify = notify
        self._films: dict[str, _Film] = {}
        self._bases: dict[str, str] = {}
        self._parts: dict[str, int] = {}
        streams = list(streams)
        self._several = len(streams) > 1
        for stream in streams:
            self._base(stream)
        if TIME not in path:
            for base in self._bases.values() or ([path] if STREAM not in path else []):
                self.check(Path(base))
        _check_folder(Path(path))

    def write(self, record: Record) -> None:
        """Record a picture, or remember what is drawn on the next ones.

        Raises:
            OutputError: if it cannot be written; the files up to then can be played.
        """
        film = self._films.get(record.stream)
        if film is None:
            if isinstance(record, StreamStatus):
                return
            film = self._films[record.stream] = _Film(self)
        if isinstance(record, StreamStatus):
            if record.state == "ended":
                del self._films[record.stream]
                film.close()
        elif isinstance(record, ShownFrame):
            film.add(record)
        elif not isinstance(record, Notice):
            film.remember(record)

    def close(self) -> None:
        """Finish the files.

        Raises:
            OutputError: if one cannot be written; the others are finished all the same.
        """
        failed: OutputError | None = None
        for film in self._films.values():
            try:
                film.close()
            except OutputError as error:
                failed = error
        self._films.clear()
        if failed is not None:
            raise failed

    def open(self, encoder: H264Encoder, frame: ShownFrame) -> Mp4File:
        """Create the file of a stream's next part, which begins with a frame.

        Raises:
            OutputError: if it cannot be created.
        """
        part = self._parts[frame.stream] = self._parts.get(frame.stream, 0) + 1
        path = self._part(frame, part)
        self.check(path)
        notes = {"stream": frame.stream, "part": part, "start_s": round(frame.time_s, 4)}
        if part > 1:
            size = "x".join(map(str, frame.frame.size_px))
            self._notify(
                Notice(
                    stream=frame.stream,
                    code="output",
                    message=f"another part of its recording begins: {path}, with pictures of {size}",
                )
            )
        return Mp4File(
            path, encoder.stream, schema=RECORDING_SCHEMA, notes=notes, created_at=frame.captured_at, force=self._force
        )

    def check(self, path: Path) -> None:
        """Check that a file may be written.

        Raises:
            OutputError: if it is of another kind, or one of the inputs, or is being written by another program.
        """
        check_not_input(path, self._inputs)
        check_no_other_writer(path)
        check_video_path(path, RECORDING_SCHEMA, force=self._force)

    def _base(self, stream: str) -> str:
        """Return the path of a stream, in which `{time}` is still open; no two streams have the same."""
        if stream not in self._bases:
            pattern = self._path
            if STREAM not in pattern and (self._several or self._bases):
                pattern = f"{pattern[:-4]}-{STREAM}{pattern[-4:]}"
            base = pattern.replace(STREAM, name_part(stream))
            if base in self._bases.values():
                digest = hashlib.sha256(stream.encode("utf-8", "replace")).hexdigest()[:8]
                base = pattern.replace(STREAM, f"{name_part(stream)}-{digest}")
            self._bases[stream] = base
        return self._bases[stream]

    def _part(self, frame: ShownFrame, part: int) -> Path:
        began = frame.captured_at or datetime.now(timezone.utc)
        base = self._base(frame.stream).replace(TIME, began.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ"))
        return Path(base if part == 1 else f"{base[:-4]}-{part}{base[-4:]}")


class _Film:
    """The recording of one stream."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._size_px: tuple[int, int] | None = None
        self._encoder: H264Encoder | None = None
        self._file: Mp4File | None = None
        self._prediction: Prediction | None = None
        self._events: dict[str, str] = {}

    def remember(self, record: Prediction | EventStarted | EventEnded) -> None:
        """Take over what is drawn on the pictures from now on."""
        if isinstance(record, Prediction):
            self._prediction = record
        elif isinstance(record, EventStarted):
            self._events[record.id] = record.label
        else:
            self._events.pop(record.id, None)

    def add(self, record: ShownFrame) -> None:
        """Record a picture."""
        frame = record.frame
        if frame.size_px != self._size_px:
            self._end_part()
        if self._encoder is None:
            self._encoder, self._size_px = H264Encoder(frame.size_px), frame.size_px
        if self._file is None:
            self._file = self._recording.open(self._encoder, record)
        if self._prediction is not None and abs(record.time_s - self._prediction.time_s) > _STALE_S:
            self._prediction = None
        drawn = annotate(
            frame.picture,
            self._prediction,
            color=frame.color,
            events=self._events.values(),
            caption=_caption(record),
        )
        self._file.add(self._encoder.encode(drawn, frame.color, record.time_s))

    def close(self) -> None:
        """Finish the file."""
        self._end_part()

    def _end_part(self) -> None:
        encoder, file, self._encoder, self._file = self._encoder, self._file, None, None
        if encoder is not None:
            encoder.close()
        if file is not None:
            file.close()


def _caption(record: ShownFrame) -> str:
    if record.captured_at is None:
        return f"{record.stream}  {record.time_s:.2f} s"
    return f"{record.stream}  {record.captured_at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}Z"


def _check_folder(path: Path) -> None:
    """Check that files can be created in the folder of a path, as far as it is known before the first stream."""
    folder = path.parent
    while any(sign in str(folder) for sign in (STREAM, TIME)):
        folder = folder.parent
    try:
        check_creatable(folder)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. Choose a place you can write to") from error
