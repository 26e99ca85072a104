"""Many streams on one engine: whether each gets its share, what the death of some costs the others, the longest wait.

PYTHONPATH=. python benchmarks/many_streams.py [--streams 8] [--scripted 32] [--seconds 20] [--json FILE]

RTSP streams of 320 x 240 at 15 per second from one server process each, and scripted sources without a server.
Needs what `rtsp_outages.py` needs.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mar_edge
from mar_edge.runtime.model import Model
from mar_edge.runtime.streams.runner import LoadedModel, Runner
from mar_edge.testing import FakeEngine, Play, ScriptedSource
from tests.conftest import SHARED
from tests.fakes.numbered_film import FPS, numbered_film
from tests.live.shares import Shares, furthest_from_fair, until_all_live
from tests.servers.rtsp import RtspServer


class Cpu:
    """Processor time of this process and of others, in cores."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = [os.getpid(), *pids]
        self._began, self._began_s = self._used_s(), time.monotonic()

    def cores(self) -> list[float]:
        """Return the use since the beginning: of this process, and of the others together."""
        passed_s = time.monotonic() - self._began_s
        used = [now - then for now, then in zip(self._used_s(), self._began, strict=True)]
        return [round(used[0] / passed_s, 2), round(sum(used[1:]) / passed_s, 2)]

    def _used_s(self) -> list[float]:
        return [self._of(pid) for pid in self._pids]

    @staticmethod
    def _of(pid: int) -> float:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rtsp(model: LoadedModel, film: Path, streams: int, seconds: float) -> dict[str, Any]:
    """Measure the shares of RTSP streams; then kill half of them, and measure the others again."""
    with ExitStack() as stack:
        servers = [stack.enter_context(RtspServer(file=film, fps=FPS)) for _ in range(streams)]
        shares = Shares()
        runner = stack.enter_context(Runner(sinks=[shares]))
        for number, server in enumerate(servers):
            runner.add(server.url, model, name=f"camera {number}")
        until_all_live(runner)
        time.sleep(2)
        cpu = Cpu([server.pid for server in servers])
        before = shares.rates(seconds)
        cores = cpu.cores()
        waited_ms = max(status.waited_ms for status in runner.status())
        left = {f"camera {number}" for number in range(streams // 2)}
        for server in servers[streams // 2 :]:
            server.kill()
        time.sleep(1)
        after = shares.rates(seconds)
    return {
        "rates_hz": before,
        "furthest_from_fair": furthest_from_fair(before),
        "longest_wait_ms": waited_ms,
        "cores_here_and_servers": cores,
        "left_before_hz": sum(before[name] for name in left),
        "left_after_hz": sum(after[name] for name in left),
        "left_furthest_change": max(abs(after[name] / before[name] - 1) for name in left),
    }


def scripted(streams: int, delay_s: float, seconds: float) -> dict[str, Any]:
    """Measure the shares of scripted sources, and the longest wait of a window for the engine."""
    shares = Shares()
    with Runner(sinks=[shares]) as runner:
        model = Model(FakeEngine(delay_s=delay_s, keep=False))
        for number in range(streams):
            runner.add(ScriptedSource([Play(seconds + 60)], name=f"scripted {number}", fps=15.0), model)
        until_all_live(runner)
        time.sleep(2)
        cpu = Cpu([])
        rates = shares.rates(seconds)
        return {
            "rates_hz": rates,
            "furthest_from_fair": furthest_from_fair(rates),
            "longest_wait_ms": max(status.waited_ms for status in runner.status()),
            "one_round_ms": 1000 * streams * delay_s,
            "cores_here": cpu.cores()[0],
        }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--streams", type=int, default=8)
    arguments.add_argument("--scripted", type=int, default=32)
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--clip", type=Path, default=SHARED / "clips" / "asl" / "help.mkv")
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    results: dict[str, dict[str, Any]] = {}
    demand_hz = options.streams * 5  # a hop of two at ten frames per second
    with tempfile.TemporaryDirectory() as folder:
        film = numbered_film(options.clip, Path(folder) / "film", life=0)
        for name, model in (
            ("fake engine, half of what is needed", Model(FakeEngine(delay_s=2 / demand_hz, keep=False))),
            ("fake engine, five times what is needed", Model(FakeEngine(delay_s=0.2 / demand_hz, keep=False))),
            ("egomotion", mar_edge.load("egomotion")),
        ):
            results[name] = rtsp(model, film, options.streams, options.seconds)
            tell(name, results[name])
    name = f"{options.scripted} scripted sources, a quarter of what is needed"
    results[name] = scripted(options.scripted, 4 / (options.scripted * 5), options.seconds)
    tell(name, results[name])
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def tell(name: str, found: dict[str, Any]) -> None:
    rates = found["rates_hz"].values()
    print(
        f"{name}: {sum(rates):.1f} predictions per second of {len(rates)} streams, {min(rates):.2f} to {max(rates):.2f}"
    )
    for key, value in found.items():
        if key != "rates_hz":
            print(f"  {key.replace('_', ' ')}: {value if isinstance(value, list) else f'{value:.3f}'}", flush=True)


if __name__ == "__main__":
    main()
