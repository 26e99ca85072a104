"""What a soak runs: cameras, a broker, a web server and outputs, all of which can be made to fail and to work again."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from mar_edge.errors import OutputError
from mar_edge.runtime.model import Model, load
from mar_edge.runtime.results import Kind, Record
from mar_edge.runtime.sinks.event_clips import EventClips
from mar_edge.runtime.sinks.json_lines import JsonLinesSink
from mar_edge.runtime.sinks.open import open_metrics, open_mqtt, open_webhook
from mar_edge.runtime.sinks.outlet import Outlet
from mar_edge.runtime.streams.event_rule import EventRule
from mar_edge.runtime.streams.runner import Runner
from mar_edge.testing import Act, FakeEngine, Lost, Play, ScriptedSource, Silence
from tests.servers.mosquitto import Broker, Listener, free_port
from tests.servers.rtsp import RtspServer
from tests.servers.tcp_proxy import TcpProxy
from tests.servers.webhook import Answer, Receiver
from tests.soak.checks import Checks

DEMO = "demo:realtime=yes,loops=forever,size=320x240,fps=15"
CAMERAS = ("camera0", "camera1")
SCRIPTED = ("scripted0", "scripted1")
STALL_S = 2.0
BREAKS: tuple[tuple[Act, ...], ...] = ((), (), (Lost("ended"),), (Silence(0.8),), (Silence(STALL_S + 1),))
RULE = EventRule(min_duration_s=0.3)


class FaultySink:
    """An output that works, until it is told otherwise.

    Attributes:
        fault: `slow`, `raises`, `retries`, `hangs`, or nothing.
    """

    name = "faulty"
    wants: frozenset[Kind] = frozenset({"prediction", "event", "notice", "summary"})

    def __init__(self) -> None:
        self.fault = ""

    def write(self, record: Record) -> None:
        """Take a record, or fail."""
        while self.fault == "hangs":
            time.sleep(0.05)
        if self.fault == "slow":
            time.sleep(0.1)
        elif self.fault == "raises":
            raise ValueError("a bug of the user's")
        elif self.fault == "retries":
            raise OutputError("away", retry=True)

    def close(self) -> None:
        """Do nothing."""


class Site:
    """A runner with all that it talks to. Use it as a context manager.

    Args:
        folder: for everything that is written.
        rng: of the faults.
        length_s: for how long it runs at least, seconds.

    Attributes:
        checks: what the results must be.
        recoveries_s: for each camera that came back, time from its server's return to the next frame.
    """

    def __init__(self, folder: Path, rng: random.Random, *, length_s: float) -> None:
        self.checks = Checks()
        self.recoveries_s: list[float] = []
        self._folder, self._rng, self._length_s = folder, rng, length_s
        self._stack = ExitStack()
        self._scripted: dict[str, ScriptedSource] = {}
        self._added = 0
        self._camera_faults: Counter[str] = Counter()

    def __enter__(self) -> Site:
        """Start all of it."""
        enter = self._stack.enter_context
        sizes = ("320x240", "352x288")
        self.servers = {name: enter(RtspServer(size=size, fps=15)) for name, size in zip(CAMERAS, sizes, strict=True)}
        broker = self._folder / "broker"
        broker.mkdir()
        self.broker = enter(Broker(broker))
        self.listener = Listener(self.broker)
        self._stack.callback(self.listener.close)
        self.network = enter(TcpProxy(self.broker.port))
        self.receiver = Receiver()
        self._stack.callback(self.receiver.close)
        self.runner = Runner(sinks=[self.checks])
        self._stack.callback(self.runner.stop)
        self._add_outputs()
        self.model = load("egomotion", threads=1)
        self.fake = Model(FakeEngine(rate_fps=30, delay_s=0.004, keep=False))
        for name, server in self.servers.items():
            self.runner.add(server.url, self.model, name=name, stall_s=STALL_S)
        self.runner.add(DEMO, self.model, name="demo")
        for name in SCRIPTED:
            self.add_scripted(name)
        self.runner.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all of it."""
        self._stack.close()

    @property
    def names(self) -> tuple[str, ...]:
        """The streams that are always there."""
        return (*CAMERAS, "demo", *SCRIPTED)

    def add_scripted(self, name: str) -> None:
        """Add a camera with events every few seconds, losses and silences."""
        rng = self._rng
        script: list[Act] = []
        for _ in range(int(self._length_s / 1.5) + 10):
            script += [Play(rng.uniform(1, 3), brightness=250), Play(rng.uniform(0.5, 2), brightness=10)]
            script += rng.choice(BREAKS)
        source = self._scripted[name] = ScriptedSource(script, name=name)
        self.runner.add(source, self.fake, name=name, hop=3, smoothing_s=0, rule=RULE, stall_s=STALL_S)

    def remove(self, name: str) -> None:
        """Remove a stream, and check its counts."""
        stream = self.runner._streams[name]
        status = self.runner.remove(name)
        lost = sum(count for cause, count in status.dropped.items() if cause != "source")
        if stream._feed.inputs != status.inferences + lost:
            self.checks._wrong(f"{name}: {stream._feed.inputs} windows, but {status}")
        source = self._scripted.pop(name, None)
        if source is not None and not 0 <= source._number - status.frames - status.dropped.get("source", 0) <= 1:
            self.checks._wrong(f"{name}: {source._number} frames, but {status}")

    def faults(self) -> dict[str, Callable[[], Callable[[], None]]]:
        """Return what can fail, by what it concerns; each begins a fault and returns what ends it."""
        return {
            **{name: lambda name=name: self._camera_fault(name) for name in CAMERAS},  # type: ignore[misc]
            "broker": self._broker_fault,
            "webhook": self._webhook_fault,
            "sink": self._sink_fault,
            "streams": self._streams_change,
        }

    def tidy(self) -> None:
        """Hear what the broker delivers, scrape the metrics, and forget what was seen, so that the test itself does not grow."""
        while self.listener.messages:
            topic, content, _ = self.listener.messages.pop(0)
            if topic.endswith("/event"):
                event = json.loads(content)
                self.checks.delivered_by_broker((event["id"], event["phase"]))
        self.receiver.requests.clear()
        connection = http.client.HTTPConnection("127.0.0.1", self._metrics, timeout=10)
        connection.request("GET", "/metrics")
        if b"mar_edge_frames_total" not in connection.getresponse().read():
            self.checks._wrong("the metrics have no frames")
        connection.close()

    def _add_outputs(self) -> None:
        runner, folder = self.runner, self._folder
        url = f"mqtt://127.0.0.1:{self.network.port}/soak?spool={folder}/spool&discovery=homeassistant"
        self._metrics = free_port()
        self.faulty = FaultySink()
        self.outlets: list[Outlet] = [
            runner.add_sink(open_mqtt(url, notify=runner.notify)),
            runner.add_sink(open_webhook(self.receiver.url, notify=runner.notify)),
            runner.add_sink(open_metrics(str(self._metrics), status=runner.status, outputs=runner.outputs)),
            runner.add_sink(JsonLinesSink(f"{folder}/out.jsonl", rotate_bytes=1 << 20)),
            runner.add_sink(EventClips(folder / "clips", keep_bytes=1 << 26, notify=runner.notify)),
            runner.add_sink(self.faulty),
        ]

    def _camera_fault(self, name: str) -> Callable[[], None]:
        server = self.servers[name]
        self._camera_faults[name] += 1
        kind = self._rng.choice(["kill", "freeze", "another size"])

        def watch() -> None:
            back_s = time.monotonic()
            threading.Thread(target=self._time_recovery, args=(name, back_s), daemon=True).start()

        if kind == "freeze":
            server.freeze()

            def resume() -> None:
                server.resume()
                watch()

            return resume
        server.kill()
        options = {"size": self._rng.choice(["320x240", "352x288", "160x120"])} if kind == "another size" else {}

        def restart() -> None:
            server.restart(**options)
            watch()

        return restart

    def _time_recovery(self, name: str, back_s: float) -> None:
        before, fault = self._frames(name), self._camera_faults[name]
        while time.monotonic() - back_s < 60:
            if self._camera_faults[name] != fault:  # it failed again
                return
            if self._frames(name) > before:
                self.recoveries_s.append(time.monotonic() - back_s)
                return
            time.sleep(0.02)
        self.checks._wrong(f"{name} had no frame for 60 s after its server's return")

    def _frames(self, name: str) -> int:
        frames = (status.frames for status in self.runner.status() if status.stream == name)
        return next(frames, 0)  # the site may have been taken down meanwhile

    def _broker_fault(self) -> Callable[[], None]:
        if self._rng.random() < 0.3:
            self.network.flowing.clear()
            return self.network.flowing.set
        self.network.up.clear()
        self.broker.kill()
        self.network.cut()

        def restart() -> None:
            self.listener._ready.clear()
            self.broker.start()
            assert self.listener._ready.wait(20), "the listener did not come back"
            self.network.up.set()  # only now, so that the listener hears all of it

        return restart

    def _webhook_fault(self) -> Callable[[], None]:
        kinds = [Answer(status=503), Answer(status=0), Answer(status=404), Answer(wait_s=1.0)]
        self.receiver.answers[:] = [self._rng.choice(kinds) for _ in range(5)]
        return self.receiver.answers.clear

    def _sink_fault(self) -> Callable[[], None]:
        self.faulty.fault = self._rng.choice(["slow", "raises", "retries", "hangs"])

        def end() -> None:
            self.faulty.fault = ""

        return end

    def _streams_change(self) -> Callable[[], None]:
        self._added += 1
        name = f"extra{self._added % 3}"
        if name not in self._scripted:
            self.add_scripted(name)

        def end() -> None:
            with suppress(KeyError):
                self.remove(name)

        return end
