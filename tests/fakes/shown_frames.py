"""Frames of a stream as sinks are given them, and what a video file holds."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import av
import numpy as np

from mar_edge.runtime.frame import Frame
from mar_edge.runtime.results import EventEnded, EventStarted, Prediction, ShownFrame


def shown(
    time_s: float,
    *,
    stream: str = "door",
    size_px: tuple[int, int] = (160, 120),
    grey: int = 90,
    began: datetime | None = None,
) -> ShownFrame:
    """Return a frame of one grey with a white square that moves with time."""
    width, height = size_px
    picture = np.full((height, width, 3), grey, np.uint8)
    left = int(time_s * 50) % max(1, width - 8)
    picture[height // 2 : height // 2 + 8, left : left + 8] = 255
    at = None if began is None else began + timedelta(seconds=time_s)
    return ShownFrame(stream=stream, frame=Frame(picture=picture, time_s=time_s), time_s=time_s, captured_at=at)


def prediction(time_s: float, *, stream: str = "door", label: str = "wave", score: float = 0.9) -> Prediction:
    """Return a prediction with two labels."""
    return Prediction(
        stream=stream, time_s=time_s, frame=0, label=label, score=score, top=((label, score), ("rest", 1 - score)),
        latency_ms=1, mask=50, engine="x",
    )  # fmt: skip


def started(id: str, start_s: float, *, label: str = "wave", stream: str = "door") -> EventStarted:
    """Return the beginning of an event."""
    return EventStarted(id=id, stream=stream, label=label, start_s=start_s, score=0.9)


def ended(id: str, start_s: float, end_s: float, *, label: str = "wave", stream: str = "door") -> EventEnded:
    """Return the end of an event."""
    return EventEnded(id=id, stream=stream, label=label, start_s=start_s, end_s=end_s, score=0.9)


def times_s(path: Path) -> list[float]:
    """Decode a video; return the time of every picture."""
    with av.open(path) as container:
        return [round(float(frame.time), 4) for frame in container.decode(video=0) if frame.time is not None]


def comment(path: Path) -> str:
    """Return a video's comment."""
    with av.open(path) as container:
        return str(container.metadata["comment"])


def check_plays(path: Path) -> None:
    """Decode a video with the system's ffmpeg, which must find nothing wrong."""
    true_times = ["-fps_mode", "passthrough", "-enc_time_base", "-1"]
    command = ["ffmpeg", "-v", "error", "-i", str(path), *true_times, "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
