"""Whether a file is a video, asked of the decoder."""

from __future__ import annotations

from pathlib import Path

from av.stream import Disposition

from mar_edge.errors import SourceError
from mar_edge.runtime.video.reader import decode, open_video

_NO_FILM = ("tty", "image2", "_pipe", "ico", "alias_pix", "brender_pix")


def why_not_video(path: Path) -> str | None:
    """Return why a file gives no moving pictures; None if it does."""
    try:
        with open_video(path) as container:
            kind = container.format.name
            stream = container.streams.video[0]
            if kind.startswith(_NO_FILM) or kind.endswith("_pipe"):
                return f"{path} is a still picture or text, not a video"
            if stream.disposition & Disposition.attached_pic:
                return f"{path} has a cover picture but no video"
            stream.codec_context.thread_count = 1
            if next(decode(container, stream, path, lambda _message: None), None) is None:
                return f"{path} holds no picture that can be decoded"
    except SourceError as error:
        return str(error)
    return None
