"""Less than a minute of the soak; for hours run: python -m tests.soak --hours 4."""

from __future__ import annotations

from pathlib import Path

from tests.servers.mosquitto import program
from tests.servers.rtsp import need_rtsp
from tests.soak.soak import soak


def test_everything_fails_at_random_moments_and_recovers(tmp_path: Path) -> None:
    need_rtsp()
    program("mosquitto")
    soak(tmp_path, seconds=20, seed=1, longest_s=3)
