"""Uncompressed frames through a pipe, whole and cut off."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.errors import SourceError, SourceTimeoutError
from mar_edge.runtime.sources.pixel_layout import PIXEL_FORMATS, PixelFormat, PixelLayout
from mar_edge.runtime.sources.raw import RawSource, parse_raw_format
from mar_edge.runtime.sources.source import Reading

WIDTH, HEIGHT = 32, 24
SIZE_BYTES = WIDTH * HEIGHT * 3
FORMAT = f"rgb24:{WIDTH}x{HEIGHT}:10"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for handle in (reader, writer):
        with suppress(OSError):
            os.close(handle)


def frames_of_noise(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)


def write(handle: int, data: bytes, chunk: int = 5000) -> threading.Thread:
    def run() -> None:
        with suppress(BrokenPipeError):
            for start in range(0, len(data), chunk):
                os.write(handle, data[start : start + chunk])
        os.close(handle)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_every_whole_frame_is_read_in_order_without_copies_of_rgb(
    pipe: tuple[int, int], rng: np.random.Generator
) -> None:
    film = frames_of_noise(rng, 40)
    writer = write(pipe[1], film.tobytes())
    source = RawSource(FORMAT, handle=pipe[0])
    with Reading(source) as reading:
        frames = list(reading)
    writer.join()
    assert not source.live
    assert [frame.time_s for frame in frames] == pytest.approx([index / 10 for index in range(40)])
    assert {(frame.size_px, frame.color, frame.arrived_s) for frame in frames} == {((WIDTH, HEIGHT), "rgb", None)}
    assert np.array_equal([frame.picture for frame in frames], film)
    assert source.warnings.take() == []


def test_a_frame_that_is_cut_off_is_told(pipe: tuple[int, int], rng: np.random.Generator) -> None:
    film = frames_of_noise(rng, 3)
    write(pipe[1], film.tobytes()[:-100]).join()
    source = RawSource(FORMAT, handle=pipe[0])
    with Reading(source) as reading:
        assert len(list(reading)) == 2
    assert source.warnings.take() == [
        "stdin: the last frame is cut off, 2,204 bytes of 2,304 came; skipped. Check --stdin-format"
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "ended before the first byte"), (bytes(100), "ended within the first frame, after 100 bytes of 2,304")],
)
def test_an_end_before_the_first_frame_is_an_error(data: bytes, says: str, pipe: tuple[int, int]) -> None:
    write(pipe[1], data).join()
    connection = RawSource(FORMAT, handle=pipe[0]).connect()
    with pytest.raises(SourceError, match=says) as error:
        connection.read(5)
    assert (error.value.code, error.value.retry) == ("ended", False)
    connection.close()


def test_a_pause_within_a_frame_loses_nothing(pipe: tuple[int, int], rng: np.random.Generator) -> None:
    film = frames_of_noise(rng, 1)
    connection = RawSource(FORMAT, handle=pipe[0]).connect()
    os.write(pipe[1], film.tobytes()[:1000])
    with pytest.raises(SourceTimeoutError, match="no whole frame came"):
        connection.read(0.05)
    os.write(pipe[1], film.tobytes()[1000:])
    frame = connection.read(5)
    assert frame is not None
    assert np.array_equal(frame.picture, film[0])
    connection.close()


def test_closing_wakes_a_read_and_the_writer_notices(pipe: tuple[int, int]) -> None:
    source = RawSource(FORMAT, handle=pipe[0])
    connection = source.connect()
    os.close(pipe[0])
    answers: list[object] = []
    reader = threading.Thread(target=lambda: answers.append(connection.read(30)))
    reader.start()
    time.sleep(0.05)
    connection.close()
    connection.close()
    reader.join(5)
    assert answers == [None]
    with pytest.raises(BrokenPipeError):
        os.write(pipe[1], b"x")
    assert connection.read(1) is None
    with pytest.raises(SourceError, match="stdin can be read once"):
        source.connect()


def test_a_closed_descriptor_is_told(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(SourceError, match="stdin cannot be read: Bad file descriptor"):
        RawSource(FORMAT, handle=pipe[0]).connect()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "--stdin-format is ''; write PIXELS:WIDTHxHEIGHT:FPS, for instance rgb24:640x480:30"),
        ("rgb24", "write PIXELS:WIDTHxHEIGHT:FPS"),
        ("rgb24:640x480", "write PIXELS:WIDTHxHEIGHT:FPS"),
        ("rgb25:640x480:30", r"pixels 'rgb25' are not supported \(did you mean 'rgb24'\?\); use one of rgb24, bgr24"),
        ("rgb24:640:30", "--stdin-format: size is '640'"),
        ("rgb24:640x480:fast", "--stdin-format: fps is 'fast'"),
        ("yuyv422:641x480:30", "has a width of 641 pixels; in yuyv422 it is even"),
        ("gray:100000x100000:30", "megapixels"),
    ],
)
def test_formats_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(SourceError, match=says) as error:
        RawSource(text)
    assert not error.value.retry


def test_names_of_other_programs() -> None:
    assert parse_raw_format("GRAY8:4x4@30000/1001")[0].pixel_format == "gray"
    assert parse_raw_format("i420:4x4@5")[0].pixel_format == "yuv420p"


def in_format(rgb: NDArray[np.uint8], pixel_format: PixelFormat) -> bytes:
    """Return a picture as FFmpeg writes it."""
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixel_format)
    return b"".join(
        bytes(plane)[row * plane.line_size :][: plane.width * pixel_bytes]
        for plane, pixel_bytes in zip(frame.planes, _pixel_bytes(pixel_format), strict=True)
        for row in range(plane.height)
    )


def _pixel_bytes(pixel_format: PixelFormat) -> tuple[int, ...]:
    packed = {"rgb24": 3, "bgr24": 3, "rgba": 4, "bgra": 4, "gray": 1, "yuyv422": 2, "uyvy422": 2}
    return {"yuv420p": (1, 1, 1), "nv12": (1, 2)}.get(pixel_format) or (packed[pixel_format],)


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (30, 23)])
def test_every_pixel_format_shows_the_same_picture(
    pixel_format: PixelFormat, size: tuple[int, int], rng: np.random.Generator
) -> None:
    rgb = np.asarray(cv2.resize(rng.integers(60, 200, (3, 4, 3), np.uint8), size), np.uint8)
    layout = PixelLayout(pixel_format, *size)
    data = in_format(rgb, pixel_format)
    assert layout.size_bytes == len(data)
    frame = layout.frame(data, time_s=0)
    seen = frame.picture if frame.color == "rgb" else frame.picture[..., ::-1]
    if pixel_format == "gray":
        assert np.ptp(seen, axis=2).max() == 0
        rgb = np.stack([cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)] * 3, axis=-1)
    exact = pixel_format in ("rgb24", "bgr24", "rgba", "bgra")
    assert np.abs(seen.astype(int) - rgb).mean() < (0.01 if exact else 8)


def test_odd_sizes_of_halved_colours() -> None:
    for pixel_format in ("yuv420p", "nv12"):
        layout = PixelLayout(pixel_format, 31, 23)
        assert layout.size_bytes == 31 * 23 + 2 * 16 * 12
        assert layout.convert(bytes(layout.size_bytes)).shape == (23, 31, 3)


def test_rows_with_padding_and_planes_anywhere() -> None:
    tight = PixelLayout("nv12", 6, 4)
    data = np.arange(tight.size_bytes, dtype=np.uint8)
    spread = np.zeros(200, np.uint8)
    for row in range(4):
        spread[10 + 16 * row :][:6] = data[6 * row :][:6]
    for row in range(2):
        spread[100 + 8 * row :][:6] = data[24 + 6 * row :][:6]
    placed = tight.placed(strides=(16, 8), offsets=(10, 100))
    assert placed.size_bytes == 100 + 8 + 6
    assert np.array_equal(placed.convert(spread.tobytes()), tight.convert(data.tobytes()))
    with pytest.raises(ValueError, match="113 bytes are less than the 114"):
        placed.convert(spread.tobytes()[:113])
    assert placed.placed(strides=(5, 8)).why_invalid() == "has rows of 5 bytes; 6 pixels of nv12 need 6"


def test_the_matrix_of_hd_video_is_used() -> None:
    green = PixelLayout("nv12", 4, 4)
    data = bytes([150] * 16 + [60, 90] * 4)
    bt601 = green.convert(data)
    bt709 = PixelLayout("nv12", 4, 4, matrix="bt709").convert(data)
    # ITU-R BT.709: R = 1.164 (Y - 16) + 1.793 (V - 128), BT.601 has 1.596
    assert bt601[0, 0, 0] == pytest.approx(1.164 * 134 - 1.596 * 38, abs=2)
    assert bt709[0, 0, 0] == pytest.approx(1.164 * 134 - 1.793 * 38, abs=2)
