"""A camera that goes away and comes back in every way; `benchmarks/rtsp_outages.py` does it more often and measures."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.fakes.numbered_film import FPS, numbered_film
from tests.live.watched import Held, Return, Watched
from tests.servers.rtsp import RtspServer, need_rtsp

FRAMES = 60
FILMS = (("h264", (320, 240)), ("h265", (480, 360)))


def test_frames_come_again_and_no_window_mixes(real_clips: Path, tmp_path: Path) -> None:
    need_rtsp()
    films = [
        numbered_film(
            real_clips / "asl" / "help.mkv", tmp_path / codec, life=life, codec=codec, size_px=size_px, frames=FRAMES
        )
        for life, (codec, size_px) in enumerate(FILMS)
    ]
    with (
        RtspServer(file=films[0], fps=FPS, login="edge:right", digest=True) as server,
        Watched(server.login("edge", "right"), frames=FRAMES, window=8) as watched,
    ):
        watched.returned(0.0, life=0)
        before: Held | None = None

        def restarted(life: int) -> Return:
            server.restart(file=films[life], codec=FILMS[life][0], login="edge:right")
            return watched.returned(time.monotonic(), life=life)

        for life in (1, 0):  # another codec and size, and back
            back = restarted(life)
            assert back.frame_s < 5, "measured: below 2 s"
            before = before or Held.now()
        server.restart(login="edge:other")
        watched.until_told("auth")
        assert restarted(1).frame_s < 5
        server.freeze()
        time.sleep(1)
        server.resume()
        assert watched.returned(time.monotonic(), life=1).frame_s < 5
        after = Held.now()
    assert before is not None
    assert (after.threads, after.sockets, after.files) == (before.threads, before.sockets, before.files)
    assert watched.windows >= 5
    assert watched.mixed == []
    told = [code for code in watched.notices if code != "refused"]  # an attempt may fall between two servers
    assert told[:4] == ["ended", "live", "ended", "live"]
    assert watched.notices.count("live") == 3, watched.notices


@pytest.mark.parametrize("frozen", [False, True])
def test_a_long_pause_ends_when_the_server_is_back(frozen: bool, real_clips: Path, tmp_path: Path) -> None:
    """The next attempt would come minutes later."""
    need_rtsp()
    film = numbered_film(real_clips / "asl" / "help.mkv", tmp_path / "film", life=0, frames=FRAMES)
    with RtspServer(file=film, fps=FPS) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("mar_edge.runtime.backoff.Backoff.next_s", lambda _: 300.0)
        with Watched(server.url, frames=FRAMES, window=8, stall_s=1.0) as watched:
            watched.returned(0.0, life=0)
            server.freeze() if frozen else server.kill()
            watched.until_told("stalled" if frozen else "ended")
            time.sleep(1.5)
            server.resume() if frozen else server.start()
            assert watched.returned(time.monotonic(), life=0).frame_s < 5
    assert watched.mixed == []
