"""Several network cameras on one engine; `benchmarks/many_streams.py` takes more of them and measures."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from mar_edge.runtime.model import Model
from mar_edge.runtime.results import Notice
from mar_edge.runtime.streams.runner import Runner
from mar_edge.testing import FakeEngine, ListSink
from tests.fakes.numbered_film import FPS, numbered_film
from tests.live.shares import Shares, furthest_from_fair, until_all_live
from tests.servers.rtsp import RtspServer, need_rtsp


def test_cameras_share_an_engine_and_dead_ones_cost_the_others_nothing(real_clips: Path, tmp_path: Path) -> None:
    need_rtsp()
    film = numbered_film(real_clips / "asl" / "help.mkv", tmp_path / "film", life=0, frames=150)
    shares, told = Shares(), ListSink(wants=["notice"])
    with ExitStack() as stack:
        servers = [stack.enter_context(RtspServer(file=film, fps=FPS)) for _ in range(4)]
        runner = stack.enter_context(Runner(sinks=[shares, told]))
        engine = FakeEngine(delay_s=0.1, frames=8, keep=False)  # half of what is needed: four of five per second
        model = Model(engine)
        for number, server in enumerate(servers):
            runner.add(server.url, model, name=f"camera {number}")
        until_all_live(runner)
        assert furthest_from_fair(shares.rates(2)) < 0.25
        for server in servers[2:]:
            server.kill()
        engine.delay_s = 0.0
        after = shares.rates(2)
    assert all(after[f"camera {number}"] > 3 for number in range(2)), "five per second"
    assert {notice.stream for notice in told.of(Notice)} == {"camera 2", "camera 3"}
