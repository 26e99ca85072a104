"""GStreamer pipelines as sources: CSI cameras, and whatever the user's own pipeline reads."""

from __future__ import annotations

from mar_edge.errors import MissingExtraError, SourceCode, SourceError
from mar_edge.reporting import Warnings
from mar_edge.runtime.sources.address import invalid
from mar_edge.runtime.sources.gstreamer.connection import GstreamerConnection
from mar_edge.runtime.sources.gstreamer.library import has_element, load_gst
from mar_edge.runtime.sources.gstreamer.pipeline import csi_pipeline, elements_of, secrets_of, whole_pipeline

OPEN_TIMEOUT_S = 10.0


class GstreamerSource:
    """Frames of a GStreamer pipeline.

    Whether it is live, GStreamer says once it is connected: a live one gives the newest frame and counts those replaced
    as dropped; of others every frame is waited for. A driver that hangs is abandoned, and a warning says so.

    Args:
        pipeline: as for `gst-launch-1.0`, without a sink; it ends with an element that gives raw video.
        name: for messages and results; by default the names of the elements, which hold no passwords.
        open_timeout_s: how long it may take until the first frame is there.

    Raises:
        SourceError: if the pipeline is empty, or has a sink of its own.
    """

    def __init__(self, pipeline: str, *, name: str | None = None, open_timeout_s: float = OPEN_TIMEOUT_S) -> None:
        whole_pipeline(pipeline, lambda _element: False)  # mistakes are reported before anything is loaded
        self.pipeline = pipeline
        self.name = name or "gst:" + "!".join(elements_of(pipeline))
        self.live = True
        self.dropped = 0
        self.warnings = Warnings()
        self._open_timeout_s = open_timeout_s
        self._secrets = secrets_of(pipeline)

    @classmethod
    def csi(cls, number: int, options: dict[str, str]) -> GstreamerSource:
        """Return the source of a CSI camera, see `csi_pipeline`.

        Raises:
            SourceError: if an option is unknown, or GStreamer has no element for such cameras.
            MissingExtraError: if PyGObject or GStreamer is missing.
        """
        return cls(csi_pipeline(number, options, has_element), name=f"csi camera {number}")

    def connect(self) -> GstreamerConnection:
        """Start the pipeline, and wait for its first frame.

        Raises:
            SourceError: if PyGObject or GStreamer is not installed, if it is not a pipeline, or cannot be started. A missing file and a codec that is not installed
                are not worth a retry, a missing camera is.
        """
        try:
            library = load_gst()
        except MissingExtraError as error:
            raise invalid(f"{self.name}: {error}") from error
        try:
            pipeline = library.gst.parse_launch(whole_pipeline(self.pipeline, has_element))
        except library.glib.Error as error:
            raise invalid(self._hide(f"{self.name}: GStreamer does not accept the pipeline: {error.message}")) from None
        connection = GstreamerConnection(self, library, pipeline)
        try:
            self.live = connection.start(self._open_timeout_s)
        except BaseException:
            connection.close()
            raise
        return connection

    def error(self, message: str, code: SourceCode, *, retry: bool = True) -> SourceError:
        """Return an error of this source, without the passwords that its pipeline holds."""
        return SourceError(self._hide(f"{self.name}: {message}"), code=code, retry=retry)

    def _hide(self, message: str) -> str:
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return message
