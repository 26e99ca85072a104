"""Video files with known frames at known times, and files that are broken."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(path: Path, times_s: list[float], size: tuple[int, int] = (64, 48)) -> Path:
    """Write frames whose grey level is their index times ten, at the given times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "10"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(
                np.full((size[1], size[0], 3), 10 * index % 250, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = round(1000 * time_s), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        samples.rate = 16000
        container.mux(stream.encode(samples))
        container.mux(stream.encode())


def write_moving(
    path: Path,
    times_s: list[float],
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (64, 48),
    options: dict[str, str] | None = None,
) -> Path:
    """Write noise that differs in every frame, with a key frame every 12 and B-frames between."""
    rng = np.random.default_rng(0)
    x264 = {"g": "12", "bf": "3", "crf": "20", "x264-params": "scenecut=0:open-gop=1"}
    container_options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=30, options=x264 if options is None else options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if codec == "libx264":
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, time_s in enumerate(times_s):
            picture = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(size[1] // 6, 0).repeat(size[0] // 8, 1)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            in_ms = codec == "libx264"
            frame.pts = round(1000 * time_s) if in_ms else index
            frame.time_base = Fraction(1, 1000) if in_ms else Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


UNEVEN = np.cumsum(np.random.default_rng(1).choice([0.02, 0.04, 0.3], 90)).tolist()


def write_broken(folder: Path) -> dict[str, str]:
    """Write files that cannot be used; return what is said of each."""
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is not a video\n" * 50)
    (folder / "folder.mp4").mkdir()
    audio_only(folder / "audio.mp4")
    write_video(folder / "picture.mp4", [0.0])
    whole = write_moving(folder / "whole.mp4", [index / 30 for index in range(60)]).read_bytes()
    (folder / "half.mp4").write_bytes(whole[: len(whole) // 3])
    return {
        "missing.mp4": "no such file: ",
        "empty.mp4": "is empty (0 bytes)",
        "text.mp4": "is not a video that can be read",
        "folder.mp4": "is a directory",
        "audio.mp4": "has no video stream, only audio",
        "picture.mp4": "is too short: 1 frame, but 2 are needed",
        "half.mp4": "is too damaged: ",
    }
