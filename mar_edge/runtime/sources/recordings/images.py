"""Still pictures of a folder or a pattern, as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mar_edge.counting import counted_of
from mar_edge.errors import FrameError, SourceError
from mar_edge.files.regular_file import read_limited
from mar_edge.reporting import Warnings
from mar_edge.runtime.sources.iterator import Frames, IteratorConnection
from mar_edge.runtime.sources.recordings.still_picture import ENDINGS, decode_picture

LIMIT_BYTES = 256 << 20
"""Size of a picture's file."""


def is_named_picture(path: Path) -> bool:
    """Return whether a file is named as a still picture."""
    return path.suffix.lower() in ENDINGS


def pictures_in(folder: Path) -> list[Path]:
    """Return the files directly in a folder that are named as pictures; hidden ones are left out.

    Raises:
        OSError: if it cannot be read.
    """
    return [path for path in folder.iterdir() if is_named_picture(path) and not path.name.startswith(".")]


class ImagesSource:
    """Pictures of equal distance in time. Damaged ones are skipped with a warning, and their time passes.

    Args:
        paths: of the pictures, in order.
        fps: pictures per second.
        name: for messages and results.
    """

    live = False

    def __init__(self, paths: Sequence[Path], *, fps: float, name: str) -> None:
        self.paths = tuple(paths)
        self.fps = fps
        self.name = name
        self.dropped = 0
        self.warnings = Warnings()

    def connect(self) -> IteratorConnection:
        """Return a connection that begins with the first picture.

        Raises:
            SourceError: if there is none.
        """
        if not self.paths:
            raise SourceError(f"{self.name} holds no picture", code="not-found", retry=False)
        return IteratorConnection(self._frames())

    def _frames(self) -> Frames:
        damaged = 0
        first = ""
        for index, path in enumerate(self.paths):
            try:
                frame = decode_picture(read_limited(path, LIMIT_BYTES), time_s=index / self.fps)
            except (FrameError, OSError) as error:
                why = str(error) if isinstance(error, FrameError) else f"cannot be read: {error.strerror or error}"
                first = first or f"{path} {why}"
                if not damaged:
                    self.warnings(f"{path.name} {why}; skipped")
                damaged += 1
                continue
            yield frame
        total = len(self.paths)
        if damaged == total:
            raise SourceError(f"none of the pictures of {self.name} can be read; the first: {first}", retry=False)
        if damaged > 1:
            self.warnings(f"{self.name}: {counted_of(damaged, total, 'picture', 'was', 'were')} skipped")
