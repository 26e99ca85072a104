"""Converts messages of ROS with pictures: `sensor_msgs/Image` and `sensor_msgs/CompressedImage`."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from mar_edge.errors import FrameError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.bgr import BgrPictures
from mar_edge.runtime.sources.pixel_layout import PixelFormat, PixelLayout
from mar_edge.runtime.sources.recordings.still_picture import decode_picture
from mar_edge.runtime.video.limits import why_too_large

_FORMATS: dict[str, PixelFormat] = {
    "rgb8": "rgb24", "bgr8": "bgr24", "rgba8": "rgba", "bgra8": "bgra", "mono8": "gray", "8uc1": "gray", "8uc3": "bgr24",
    "yuv422": "uyvy422", "uyvy": "uyvy422", "yuv422_yuy2": "yuyv422", "yuyv": "yuyv422", "nv12": "nv12",
}  # fmt: skip

# OpenCV names a pattern by the second row and second column, ROS by the first pixels of the first row
_BAYER = {
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}
_MONO16 = "mono16"
ENCODINGS = (*_FORMATS, *_BAYER, _MONO16)


def image_frame(message: Any, time_s: float, wide: BgrPictures) -> Frame:
    """Return the frame of a `sensor_msgs/Image`; it is converted when it is first asked for, `mono16` at once.

    Args:
        message: with `encoding`, `width`, `height`, `step`, `is_bigendian` and `data`.
        time_s: of the frame.
        wide: converts the 16 bit pictures of this topic.

    Raises:
        FrameError: if the encoding is unknown, or the data is shorter than its size; the message follows a name.
    """
    encoding, width, height = message.encoding.lower(), int(message.width), int(message.height)
    if encoding not in ENCODINGS:
        raise FrameError(f"has the encoding '{message.encoding}'; supported are {', '.join(ENCODINGS)}")
    stored: PixelFormat = "gray" if encoding == _MONO16 or encoding in _BAYER else _FORMATS[encoding]
    layout = PixelLayout(stored, width * 2 if encoding == _MONO16 else width, height)  # 16 bit pixels as two bytes each
    step = int(message.step)
    if step and stored != "nv12":
        layout = layout.placed(strides=(step,))
    if why := layout.why_invalid() or why_too_large(width, height):
        raise FrameError(why)
    data = np.ascontiguousarray(message.data, dtype=np.uint8).data
    if len(data) < layout.size_bytes:
        raise FrameError(f"holds {len(data):,} bytes; {width}x{height} pixels of {encoding} need {layout.size_bytes:,}")
    if encoding == _MONO16:
        pixels = layout.rows(data).view(">u2" if message.is_bigendian else "<u2").astype(np.uint16)
        return Frame(picture=wide.convert(pixels), time_s=time_s, color="bgr")
    if encoding in _BAYER:
        return Frame(
            picture=lambda: np.asarray(cv2.cvtColor(layout.rows(data), _BAYER[encoding]), dtype=np.uint8),
            time_s=time_s,
            size_px=(width, height),
        )
    return layout.frame(data, time_s=time_s)


def compressed_frame(message: Any, time_s: float, _wide: BgrPictures) -> Frame:
    """Return the frame of a `sensor_msgs/CompressedImage`: JPEG, PNG and the others of `decode_picture`.

    Raises:
        FrameError: if it cannot be decoded; the message follows a name.
    """
    return decode_picture(bytes(message.data), time_s=time_s)
