"""Video files."""

from __future__ import annotations

from pathlib import Path

from mar_edge.errors import SourceError
from mar_edge.reporting import Warnings
from mar_edge.runtime.sources.iterator import Frames, IteratorConnection
from mar_edge.runtime.video.opening import OpenVideo
from mar_edge.runtime.video.reader import steady_frames


class FileSource:
    """Every frame of a video file, and pictures that the file holds as often as it shows them.

    A read decodes in the thread that calls it, as fast as it can; it cannot be interrupted within a picture.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.live = False
        self.dropped = 0
        self.warnings = Warnings()

    def connect(self) -> IteratorConnection:
        """Open the file, at its beginning.

        Raises:
            SourceError: if it is missing, unreadable or not a video; it is not worth a retry.
        """
        try:
            video = OpenVideo(self.path)
        except SourceError as error:
            error.retry = False
            raise
        return IteratorConnection(self._frames(video), video.close)

    def _frames(self, video: OpenVideo) -> Frames:
        try:
            yield from steady_frames(video, self.warnings)
        except SourceError as error:
            error.retry = False  # it would be read from the beginning again
            raise
