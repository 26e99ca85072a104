"""Decodes one still picture: PNG, JPEG, BMP, TIFF, WebP, PPM, PGM."""

from __future__ import annotations

from collections.abc import Callable

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from mar_edge.errors import FrameError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.video.container import reason_of
from mar_edge.runtime.video.limits import DECODER_OPTIONS, MAX_PIXELS

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

# by the first bytes: the name of a file may be wrong
_CODECS = (
    (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "mjpeg"), (b"BM", "bmp"), (b"II*\0", "tiff"), (b"MM\0*", "tiff"),
    (b"RIFF", "webp"), (b"P6", "ppm"), (b"P3", "ppm"), (b"P5", "pgm"), (b"P2", "pgm"),
)  # fmt: skip
_STRICT = {
    # without these FFmpeg fills what is missing with grey, and reports nothing
    "mjpeg": {"err_detect": "explode"},
    "png": {"err_detect": "crccheck+explode"},
}


def decode_picture(data: bytes, *, time_s: float) -> Frame:
    """Decode a picture; it becomes RGB when it is first asked for.

    Args:
        data: the whole file.
        time_s: of the frame.

    Returns:
        A frame, turned as its EXIF data says. More than 8 bits are reduced to 8, transparency is dropped.

    Raises:
        FrameError: if it is damaged, too large or something else; the message follows a name.
    """
    codec = next((codec for start, codec in _CODECS if data.startswith(start)), None)
    if codec is None:
        raise FrameError(f"is not a picture that can be read: it is {'empty' if not data else 'in another format'}")
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.options = DECODER_OPTIONS | _STRICT.get(codec, {})
    decoder.thread_count = 1
    try:
        decoded = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    except (av.error.FFmpegError, ValueError) as error:
        # FFmpeg does not state that a picture is refused for its size
        raise FrameError(
            f"is damaged, or has more than {MAX_PIXELS // 10**6} megapixels: {reason_of(error)}"
        ) from error
    if not decoded:
        raise FrameError("is damaged: it holds no whole picture")
    return Frame(picture=_converter(decoded[0]), time_s=time_s, size_px=_size(decoded[0]), color="rgb")


def _size(decoded: VideoFrame) -> tuple[int, int]:
    size_px = decoded.width, decoded.height
    return size_px if decoded.rotation % 180 == 0 else (size_px[1], size_px[0])


def _converter(decoded: VideoFrame) -> Callable[[], NDArray[np.uint8]]:
    def convert() -> NDArray[np.uint8]:
        picture = np.rot90(decoded.to_ndarray(format="rgb24"), decoded.rotation // 90)
        return np.ascontiguousarray(picture, dtype=np.uint8)

    return convert
