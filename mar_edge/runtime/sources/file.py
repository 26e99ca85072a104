"""Video files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from mar_edge.reporting import Warnings
from mar_edge.runtime.sources.source import Frame
from mar_edge.runtime.video.reader import read_steady_frames


class FileSource:
    """Every frame of a video file, as fast as the caller reads.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.dropped = 0
        self.warnings = Warnings()

    def __enter__(self) -> FileSource:
        """Nothing to open yet: reading starts with the first frame."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame, and pictures that the file holds as often as it shows them.

        Raises:
            SourceError: if the file cannot be read.
        """
        for shown in read_steady_frames(self.path, self.warnings):
            yield Frame(picture=shown.picture, time_s=shown.time_s, color="rgb", held=shown.held)
