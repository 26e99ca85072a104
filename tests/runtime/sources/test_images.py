"""Pictures of a folder as a stream: their times, what is damaged, and how formats are read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.errors import FrameError, SourceError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.sources.recordings.images import ImagesSource
from mar_edge.runtime.sources.recordings.still_picture import ENDINGS, decode_picture
from mar_edge.runtime.sources.source import Reading


def encoded(ending: str, picture: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    good, data = cv2.imencode(ending, picture)
    assert good
    return bytes(data.tobytes())


@pytest.fixture
def smooth(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture that JPEG keeps, uint8 (48, 64, 3) BGR."""
    return np.asarray(cv2.resize(rng.integers(0, 256, (4, 5, 3), np.uint8), (64, 48)), np.uint8)


def read_all(source: ImagesSource) -> list[Frame]:
    with Reading(source) as frames:
        return list(frames)


def test_pictures_come_in_natural_order_at_their_rate(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        (tmp_path / f"frame{number}.png").write_bytes(encoded(".png", np.full((4, 6, 3), number, np.uint8)))
    source = open_source(f"{tmp_path}?fps=4")
    assert isinstance(source, ImagesSource)
    for _ in range(2):  # it can be read again
        frames = read_all(source)
        assert [frame.time_s for frame in frames] == [0, 0.25, 0.5]
        assert [int(frame.picture.max()) for frame in frames] == [1, 2, 10]
        assert {frame.size_px for frame in frames} == {(6, 4)}
        assert {frame.arrived_s for frame in frames} == {None}
    assert source.warnings.take() == []


def test_damaged_pictures_are_skipped_and_their_time_passes(tmp_path: Path, smooth: NDArray[np.uint8]) -> None:
    whole = encoded(".jpg", smooth)
    contents = [whole, whole[: len(whole) // 2], whole, b"", b"GIF89a", whole]
    paths = [tmp_path / f"{index}.jpg" for index in range(len(contents))]
    for path, data in zip(paths, contents, strict=True):
        path.write_bytes(data)
    paths.insert(1, tmp_path / "missing.jpg")
    source = ImagesSource(paths, fps=10, name="frames")
    assert [frame.time_s for frame in read_all(source)] == [0, 0.3, 0.6]
    first, total = source.warnings.take()
    assert first == "missing.jpg cannot be read: No such file or directory; skipped"
    assert total == "frames: 4 of 7 pictures were skipped"


def test_a_folder_of_damaged_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"text")
    with pytest.raises(SourceError, match="none of the pictures of .* can be read; the first: .*1.png is not") as error:
        read_all(ImagesSource([tmp_path / "1.png"], fps=1, name=str(tmp_path)))
    assert not error.value.retry
    with pytest.raises(SourceError, match="nothing holds no picture"):
        ImagesSource([], fps=1, name="nothing").connect()


def test_pictures_of_different_sizes_pass(tmp_path: Path) -> None:
    paths = []
    for index, (width, height) in enumerate(((6, 4), (8, 10))):
        paths.append(tmp_path / f"{index}.png")
        paths[-1].write_bytes(encoded(".png", np.zeros((height, width, 3), np.uint8)))
    assert [frame.size_px for frame in read_all(ImagesSource(paths, fps=1, name="x"))] == [(6, 4), (8, 10)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_formats(ending: str, smooth: NDArray[np.uint8]) -> None:
    seen = smooth if ending != ".pgm" else smooth[..., 1]
    frame = decode_picture(encoded(ending, seen), time_s=3)
    expected = smooth[..., ::-1] if ending != ".pgm" else np.stack([seen] * 3, axis=-1)
    assert (frame.time_s, frame.size_px, frame.color) == (3, (64, 48), "rgb")
    assert frame.picture.dtype == np.uint8
    # JPEG and WebP lose a little
    assert np.abs(frame.picture.astype(int) - expected).mean() < (4 if ending in (".jpg", ".jpeg", ".webp") else 0.01)


def test_deep_grey_and_transparent_pictures_become_8_bit_rgb(smooth: NDArray[np.uint8]) -> None:
    deep = decode_picture(encoded(".png", smooth.astype(np.uint16) * 257), time_s=0).picture
    assert np.abs(deep.astype(int) - smooth[..., ::-1]).max() <= 1
    clear = decode_picture(encoded(".png", np.dstack([smooth, smooth[..., :1]])), time_s=0).picture
    assert np.array_equal(clear, smooth[..., ::-1])
    grey = decode_picture(encoded(".png", smooth[..., 0]), time_s=0).picture
    assert np.array_equal(grey, np.stack([smooth[..., 0]] * 3, axis=-1))


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_pictures_are_turned_as_exif_says(orientation: int, turns: int, smooth: NDArray[np.uint8]) -> None:
    plain = encoded(".jpg", smooth)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x112, 3, 1, orientation, 0, 0)
    turned = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    frame = decode_picture(turned, time_s=0)
    expected = np.rot90(decode_picture(plain, time_s=0).picture, turns)
    assert np.array_equal(frame.picture, expected)
    assert frame.size_px == (expected.shape[1], expected.shape[0])


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".tiff", ".bmp"])
def test_damage_is_an_error_and_never_a_crash(ending: str, smooth: NDArray[np.uint8]) -> None:
    data = encoded(ending, smooth)
    rng = np.random.default_rng(1)
    errors = 0
    for trial in range(60):
        damaged = bytearray(data[: int(rng.integers(1, len(data)))] if trial % 2 else data)
        for place in rng.integers(0, len(damaged), 4):
            damaged[place] ^= int(rng.integers(1, 256))
        try:
            frame = decode_picture(bytes(damaged), time_s=0)
        except FrameError:
            errors += 1
        else:
            assert frame.picture.shape == (frame.size_px[1], frame.size_px[0], 3)
    assert errors >= 30  # each that was cut off


def test_a_small_file_that_claims_a_huge_picture_is_refused(smooth: NDArray[np.uint8]) -> None:
    data = encoded(".png", smooth)
    header = b"IHDR" + struct.pack(">II", 30000, 30000) + data[24:29]
    huge = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    with pytest.raises(FrameError, match="is damaged, or has more than 36 megapixels"):
        decode_picture(huge, time_s=0)
