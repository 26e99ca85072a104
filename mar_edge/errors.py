"""All errors that mar-edge raises intentionally.

```
MarEdgeError                 all of the following; the command line prints it as one line and exits with 1
├── GeometryError            frame size, clip length or mask ratio that does not fit
├── SourceError              a camera, file or stream that cannot be opened or read
│   └── SourceTimeoutError   one that delivered no frame in time
├── FrameError               a pushed frame or time stamp that cannot be used
├── OptionError              an invalid option of a model or session
├── BundleError              a bundle that is missing, damaged, too new or unknown by name
├── EngineError              an engine that is unavailable or rejects the graph
├── CheckpointError          a checkpoint that cannot be read or does not fit
├── RecipeError              a training recipe with unknown or invalid values
├── TrainingError            training that cannot continue
├── DataError                a list of videos, or videos in it, that cannot be used for training or evaluation
├── ExportError              a graph that misses its parity or cannot be written
├── OutputError              an output that cannot be written
└── MissingExtraError        an optional part that is not installed
```
The message states what was seen, what was expected and what to do next; passwords and tokens in it are hidden, and
control characters are shown as escapes.
"""

from __future__ import annotations

from typing import Literal

from mar_edge.credentials import without_credentials
from mar_edge.printable import printable_lines


class MarEdgeError(Exception):
    """Base of all errors that mar-edge raises intentionally."""

    def __init__(self, *args: object) -> None:
        # here, so that code that quotes an address, a name or a library's message need not do it
        super().__init__(*(printable_lines(without_credentials(one)) if isinstance(one, str) else one for one in args))


class GeometryError(MarEdgeError, ValueError):
    """A frame size, clip length or mask ratio that does not fit the model."""


SourceCode = Literal[
    "auth", "refused", "timeout", "not-found", "codec", "stalled", "ended", "busy", "permission", "unreadable"
]
"""Why a source cannot be opened or read:

```
auth        wrong or missing user name or password
refused     nothing listens at the address, or the server refuses the connection
timeout     no answer in time
not-found   no such host, path, file or device
codec       the video cannot be decoded here
stalled     connected, but no frame for too long
ended       a live stream that the other side ended
busy        another program uses the device
permission  this user may not open it
unreadable  anything else
```
"""


class SourceError(MarEdgeError):
    """A camera, file or stream that cannot be opened or read.

    Args:
        *args: the message.
        code: the cause.
        retry: whether a later attempt may succeed; False for a mistake in what was asked for.
    """

    def __init__(self, *args: object, code: SourceCode = "unreadable", retry: bool = True) -> None:
        super().__init__(*args)
        self.code: SourceCode = code
        self.retry = retry


class SourceTimeoutError(SourceError):
    """A source that delivered no frame in time."""

    def __init__(self, *args: object, code: SourceCode = "stalled", retry: bool = True) -> None:
        super().__init__(*args, code=code, retry=retry)


class FrameError(MarEdgeError, ValueError):
    """A pushed frame or time stamp that cannot be used."""


class OptionError(MarEdgeError, ValueError):
    """An invalid option of a model or session."""


class BundleError(MarEdgeError):
    """A bundle that is missing, damaged, too new, or unknown by name."""


class EngineError(MarEdgeError):
    """An engine that is unavailable or rejects the graph."""


class CheckpointError(MarEdgeError):
    """A checkpoint that cannot be read or does not fit the model."""


class RecipeError(MarEdgeError):
    """A training recipe with unknown keys or invalid values."""


class DataError(MarEdgeError):
    """A list of videos, or videos in it, that cannot be used for training or evaluation."""


class TrainingError(MarEdgeError):
    """Training that cannot continue, for instance because the loss is NaN or infinite."""


class ExportError(MarEdgeError):
    """A graph that misses its parity bound or cannot be written."""


class OutputError(MarEdgeError):
    """An output that cannot be written.

    Args:
        *args: the message.
        retry: whether the same record may be written later, as when a server is away.
    """

    def __init__(self, *args: object, retry: bool = False) -> None:
        super().__init__(*args)
        self.retry = retry


class MissingExtraError(MarEdgeError, ImportError):
    """An optional part of mar-edge that is not installed."""
