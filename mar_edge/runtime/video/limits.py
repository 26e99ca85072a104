"""What a video may be: the formats that are read, and the sizes up to which memory is allocated for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from av.video.format import VideoFormat

MAX_PIXELS: Final = 36_000_000
"""Pixels of a picture: 8K in every shape, as 7680 x 4320, 8192 x 4320 and 16384 x 2160."""

MAX_SIDE_PX: Final = 16_384
"""Pixels of a side; OpenCV cannot resize pictures with much longer ones."""

MAX_PICTURE_BYTES: Final = 160_000_000
"""Size of a decoded picture: 8K with 4:2:2 and 10 bits. A decoder holds up to 17 of them for reference."""

MAX_STREAMS: Final = 128
"""Streams of a file. Recordings of a whole transponder have about 60."""

HELD_BYTES: Final = 256_000_000
"""Size of the pictures that are decoded ahead, by all threads or until their order is known."""

OPEN_TIMEOUT_S: Final = 20.0
"""Time for finding the streams of a file, in which at most 5 MB of it are analysed."""

FORMATS: Final = (
    # containers that list their streams at the start
    "mov", "matroska", "webm", "avi", "asf", "asf_o", "mxf", "nut", "dv", "gxf", "lxf", "ivf", "cine", "ser", "r3d",
    "yuv4mpegpipe", "gif", "apng", "mxg", "smjpeg", "mpjpeg",
    # streams without a container
    "h261", "h263", "h264", "hevc", "vvc", "evc", "av1", "obu", "apv", "m4v", "mpegvideo", "mjpeg", "mjpeg_2000", "vc1",
    "vc1test", "dirac", "dnxhd", "cavsvideo", "avs2", "avs3", "ingenient",
    # no videos, but what they contain is reported: music, subtitles, still images
    "mp3", "wav", "w64", "flac", "aac", "ac3", "eac3", "aiff", "amr", "caf", "ape", "wv", "tta", "srt", "webvtt", "ass",
    "jpeg_pipe", "png_pipe", "bmp_pipe", "tiff_pipe", "webp_pipe", "gif_pipe", "jpegls_pipe", "j2k_pipe", "jpegxl_pipe",
    "jpegxl_anim", "qoi_pipe", "ppm_pipe", "pgm_pipe", "pbm_pipe", "pam_pipe", "pgmyuv_pipe", "pfm_pipe", "exr_pipe",
    "dpx_pipe", "psd_pipe", "sgi_pipe", "sunrast_pipe", "pcx_pipe", "dds_pipe", "hdr_pipe", "xbm_pipe", "xpm_pipe",
)  # fmt: skip
"""Formats that are read. None of them names other files or addresses, or turns text into pictures."""

LATE_FORMATS: Final = (
    "mpegts", "mpeg", "flv", "live_flv", "kux", "ogg", "rm", "wtv", "ty", "nsv", "nuv", "pva", "pmp",
    # recorders and surveillance
    "dhav", "hxvs", "ifv", "iv8", "luodat", "nc", "sdr2", "lmlm4", "msnwctcp",
)  # fmt: skip
"""Formats that are read as well, whose streams may appear anywhere in the file."""

DECODER_OPTIONS: Final = {"max_pixels": str(MAX_PIXELS)}
"""Options of every decoder. A larger picture is an error before memory is allocated for it."""


def container_options(*, protocol: str, formats: Sequence[str]) -> dict[str, str]:
    """Return the options with which FFmpeg opens foreign data.

    Args:
        protocol: the only one that may be used; empty if the data comes from the caller.
        formats: those that may be found.
    """
    return {
        "format_whitelist": ",".join(formats),
        "protocol_whitelist": protocol,
        "max_streams": str(MAX_STREAMS),
        **DECODER_OPTIONS,
    }


def why_too_large(width_px: int, height_px: int, pixel_format: VideoFormat | None = None) -> str | None:
    """Return why pictures of a size are not decoded, to follow a name in a sentence; None if they are."""
    step = f"Scale it down: ffmpeg -i IN -vf scale={'1920:-2' if width_px >= height_px else '-2:1920'} OUT.mp4"
    size = f"has pictures of {width_px}x{height_px} pixels"
    if width_px * height_px > MAX_PIXELS:
        return f"{size}; up to {MAX_PIXELS // 10**6} megapixels are supported. {step}"
    if max(width_px, height_px) > MAX_SIDE_PX:
        return f"{size}; sides of up to {MAX_SIDE_PX} pixels are supported. {step}"
    if pixel_format is not None:
        bytes_ = width_px * height_px * pixel_format.padded_bits_per_pixel // 8
        if bytes_ > MAX_PICTURE_BYTES:
            return (
                f"{size} in {pixel_format.name}, {bytes_ // 10**6} MB each; up to {MAX_PICTURE_BYTES // 10**6} MB are "
                f"supported. {step}"
            )
    return None


def held_ahead(width_px: int, height_px: int, pixel_format: VideoFormat | None = None) -> int:
    """Return how many pictures of a size may be decoded ahead, each held as it is decoded or as RGB."""
    bits = max(24, pixel_format.padded_bits_per_pixel if pixel_format is not None else 0)
    return max(2, HELD_BYTES // max(1, bits * width_px * height_px // 8))
