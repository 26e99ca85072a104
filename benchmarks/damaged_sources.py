"""Damaged files and damaged network streams through a runner: what becomes of each, and how long it takes.

PYTHONPATH=. python benchmarks/damaged_sources.py [--files 200] [--streams 50] [--json FILE]

Needs the ffmpeg program.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from mar_edge.runtime.model import Model
from mar_edge.runtime.results import Notice, Prediction
from mar_edge.runtime.streams.runner import Runner
from mar_edge.testing import FakeEngine, ListSink
from tests.conftest import SHARED
from tests.fakes.damage import KINDS, damaged
from tests.fakes.ffmpeg import ffmpeg
from tests.servers.web import MJPEG, HttpServer, endless, multipart, whole

LIMIT_S = 10.0


def recognise(source: str | Path) -> dict[str, Any]:
    """Run a stream to its end, or for so long."""
    sink = ListSink()
    began_s = time.monotonic()
    with Runner(sinks=[sink]) as runner:
        runner.add(source, Model(FakeEngine(frames=8, keep=False)), name="damaged", max_retries=0, stall_s=3)
        ended = runner.wait(LIMIT_S)
        took_s = time.monotonic() - began_s
        runner.stop(None)
        (status,) = runner.status()
    return {
        "ended": ended,
        "seconds": took_s,
        "frames": status.frames,
        "predictions": len(sink.of(Prediction)),
        "code": status.code,
        "notices": [notice.code for notice in sink.of(Notice)],
    }


def clips(folder: Path) -> list[Path]:
    """A few seconds of real clips in several formats."""
    fall, milk = SHARED / "clips" / "daily" / "s1_fall_13.mp4", SHARED / "clips" / "asl" / "milk.mkv"
    shrink = ("-t", 3, "-an", "-vf", "scale=160:120")
    ffmpeg("-i", fall, *shrink, "-c:v", "libx264", folder / "fall.mp4")
    ffmpeg("-i", fall, *shrink, "-c:v", "libx264", "-bf", 0, folder / "fall.ts")
    ffmpeg("-i", milk, *shrink, "-c:v", "libx265", "-x265-params", "log-level=error", folder / "milk.mkv")
    ffmpeg("-i", milk, *shrink, "-c:v", "mpeg4", folder / "milk.avi")
    ffmpeg("-i", milk, *shrink, "-c:v", "libvpx", folder / "milk.webm")
    ffmpeg("-i", milk, *shrink, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", folder / "milk.mov")
    return [*sorted(folder.iterdir()), SHARED / "clips" / "edge" / "video_90.mov"]


def jpegs(data: bytes) -> list[bytes]:
    """Take the pictures out of a stream of them."""
    return [b"\xff\xd8" + part for part in data.split(b"\xff\xd8")[1:]]


def network_bodies(files: list[Path]) -> list[tuple[bytes, str, bool]]:
    """Content, type, and whether it has no length: MPEG-TS, MP4 and MJPEG."""
    named = {file.name: file.read_bytes() for file in files}
    pictures = jpegs(ffmpeg("-i", files[0], "-c:v", "mjpeg", "-f", "mjpeg", "-"))
    mjpeg = b"".join(map(multipart, pictures))
    return [
        (named["fall.ts"], "video/mp2t", True),
        (named["fall.ts"], "video/mp2t", False),
        (named["fall.mp4"], "video/mp4", False),
        (mjpeg, MJPEG, True),
    ]


def tell(what: str, found: list[dict[str, Any]]) -> None:
    silent = [one for one in found if not (one["predictions"] or one["code"] or one["notices"])]
    print(
        f"{what}: {len(found)}, {sum(one['frames'] > 0 for one in found)} gave frames, "
        f"{sum(one['predictions'] > 0 for one in found)} predictions, {sum(bool(one['notices']) for one in found)} notices; "
        f"errors {dict(Counter(one['code'] for one in found if one['code']))}; neither {len(silent)}; "
        f"longest {max(one['seconds'] for one in found):.1f} s, "
        f"{sum(not one['ended'] for one in found)} over {LIMIT_S:g} s",
        flush=True,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--files", type=int, default=200)
    arguments.add_argument("--streams", type=int, default=50)
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    of_files: list[dict[str, Any]] = []
    of_streams: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, HttpServer() as server:
        files = clips(Path(name))
        for number in range(options.files):
            kind, file, data = damaged(files, number)
            path = Path(name) / f"{number}{file.suffix}"
            path.write_bytes(data)
            of_files.append({"kind": kind, "file": file.name, **recognise(path)})
            path.unlink()
        tell("files", of_files)
        bodies = network_bodies(files)
        kinds = list(KINDS.values())
        for number in range(options.streams):
            data, content_type, live = bodies[number % len(bodies)]
            data = kinds[number // len(bodies) % len(kinds)](data, Random(number))
            answer = endless(lambda data=data: [data], content_type) if live else whole(data, content_type)  # type: ignore[misc]
            of_streams.append({"type": content_type, "live": live, **recognise(server.serve(f"/{number}", answer))})
        tell("network streams", of_streams)
    if options.json:
        options.json.write_text(json.dumps({"files": of_files, "streams": of_streams}, indent=1))


if __name__ == "__main__":
    main()
