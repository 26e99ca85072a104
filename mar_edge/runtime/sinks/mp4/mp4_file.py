"""MP4 files that play up to the last second however their writer ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import av
from av.video.stream import VideoStream

from mar_edge.errors import OutputError
from mar_edge.files.atomic_file import NewFile
from mar_edge.files.syncing import make_folder
from mar_edge.runtime.sinks.mp4.h264 import TIME_BASE, CodedPicture
from mar_edge.runtime.sinks.mp4.marks import check_video_path

_OPTIONS = {
    # a header, then fragments, each of which can be read without what follows; half a second at most waits for the disk
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    "frag_duration": "500000",
    "flush_packets": "1",
}


class Mp4File:
    """A fragmented MP4 file of one H.264 stream. It has its name before the first picture is written, or when it is whole.

    Args:
        path: the file; its folder is created, and a link is written through.
        stream: describes the pictures, see `H264Encoder`.
        schema: its kind, see `marks`.
        notes: written into its comment, as JSON, together with the schema.
        created_at: written into it as its creation time; None for none.
        force: replace a file of another kind.
        whole: give it its name with `close`, so that there is never a part of it, and replace nothing.

    Attributes:
        path: the file.

    Raises:
        OutputError: if it cannot be written, or something else has its name.
    """

    def __init__(
        self,
        path: Path,
        stream: VideoStream,
        *,
        schema: str,
        notes: Mapping[str, Any],
        created_at: datetime | None = None,
        force: bool = False,
        whole: bool = False,
    ) -> None:
        self.path = path
        self._whole = whole
        self._first: int | None = None
        check_video_path(path, schema, force=force)
        real = Path(os.path.realpath(path))
        with _reporting(path):
            make_folder(real.parent)
            self._new = NewFile(real)
            self._writer = _Writer(self._new.file.fileno())
            try:
                self._container = av.open(self._writer, "w", format="mp4", options=dict(_OPTIONS))
                self._container.metadata["comment"] = json.dumps({"schema": schema, **notes})
                if created_at is not None:
                    self._container.metadata["creation_time"] = created_at.astimezone(timezone.utc).isoformat()
                self._stream = self._container.add_stream_from_template(stream)
                self._container.start_encoding()
                self._writer.settle()
                if not whole:
                    self._new.finish()
            except BaseException:
                self._writer.failed = True  # the container may outlive the file
                with self._new:  # removes it
                    raise

    def add(self, picture: CodedPicture) -> None:
        """Append a picture; the file's time begins with its first one.

        Raises:
            OutputError: if it cannot be written; the file up to then can be played, unless it was to be whole.
        """
        if self._first is None:
            self._first = picture.ticks
        packet = av.Packet(picture.data)
        packet.pts = packet.dts = picture.ticks - self._first
        packet.time_base, packet.is_keyframe, packet.stream = TIME_BASE, picture.key, self._stream
        with self._giving_up():
            self._container.mux_one(packet)
            self._writer.settle()

    def close(self) -> None:
        """Write what waits, bring it onto the disk, and close the file; a second call does nothing.

        Raises:
            OutputError: if that fails; the file up to then can be played, unless it was to be whole.
        """
        if self._new.file.closed:
            return
        with self._giving_up():
            self._container.close()
            self._writer.settle()
            if self._whole:
                self._new.finish(replaces=False)
            else:
                self._new.sync()
        self._release()

    def discard(self) -> None:
        """Close the file, and remove it if it was to be whole; after `close` this does nothing."""
        if self._new.file.closed:
            return
        self._writer.failed = True
        with suppress(OSError, av.FFmpegError):
            self._container.close()
        self._release()

    def _release(self) -> None:
        self._writer.failed = True  # nothing is written any more to a number that another file may get
        with self._new:
            pass

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Cut off a fragment that was not written completely, and close the file."""
        try:
            with _reporting(self.path):
                yield
        except OutputError:
            self._writer.failed = True
            with suppress(OSError, av.FFmpegError):
                self._container.close()
            with suppress(OSError), self._new:
                self._new.file.truncate(self._writer.whole_bytes)
            raise


class _Writer:
    """What FFmpeg writes to. A fragment, which it writes in several parts, reaches the file with one call of the system.

    So a process that is killed hardly ever leaves a part of a fragment, which players would report as damage.

    Attributes:
        whole_bytes: size of the file up to the end of its last whole fragment.
        failed: whether a write has failed; later ones are ignored.
    """

    def __init__(self, file: int) -> None:
        self.whole_bytes = 0
        self.failed = False
        self._file = open(file, "wb", buffering=0, closefd=False)  # noqa: SIM115 - its owner closes it
        self._fragment = bytearray()

    def write(self, data: bytes) -> int:
        """Keep a part of a fragment until `settle`; FFmpeg would replace an error of the system by one of its own."""
        if not self.failed:
            self._fragment += data
        return len(data)

    def settle(self) -> None:
        """Write what FFmpeg has written since the last call: whole fragments.

        Raises:
            OSError: if it cannot be written.
        """
        if self.failed:
            return
        rest = memoryview(bytes(self._fragment))
        self._fragment.clear()
        size = len(rest)
        try:
            while len(rest):
                rest = rest[self._file.write(rest) :]
        except OSError:
            self.failed = True
            raise
        self.whole_bytes += size


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turn errors of the system and of FFmpeg into one about a file."""
    try:
        yield
    except (OSError, av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"cannot write {path}: {reason}. Make room, or choose another place") from error
