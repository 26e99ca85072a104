"""After `Runner.stop` no thread, no open file, no socket and no child is left, whatever was read and written."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from mar_edge.runtime.model import Model
from mar_edge.runtime.results import Notice, StreamStatus
from mar_edge.runtime.sinks.event_clips import EventClips
from mar_edge.runtime.sinks.json_lines import JsonLinesSink
from mar_edge.runtime.sinks.open import open_metrics, open_mqtt, open_webhook
from mar_edge.runtime.sinks.recording import Recording
from mar_edge.runtime.sinks.sink import Sink
from mar_edge.runtime.sources.camera import CameraSource
from mar_edge.runtime.streams.runner import Runner
from mar_edge.testing import FakeEngine, Hang, ListSink, Lost, Play, Refused, ScriptedSource
from tests.fakes.cameras import MovingCamera
from tests.fakes.films import moving_square, write_film
from tests.runtime.sources.test_pipe import write
from tests.runtime.sources.test_rosbag import film, write_bag
from tests.servers.mosquitto import Broker, broker, free_port
from tests.servers.rtsp import RtspServer, need_rtsp
from tests.servers.web import MJPEG, HttpServer, endless, multipart, paced
from tests.servers.webhook import Receiver, receiver

__all__ = ["broker", "receiver"]


def held() -> tuple[set[threading.Thread], list[str], list[psutil.Process]]:
    """Return the threads, what the descriptors lead to, and the children of this process."""
    gc.collect()
    links = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{number}").split(":")[0])
    return set(threading.enumerate()), sorted(links), psutil.Process().children(recursive=True)


def nothing_more_than(before: tuple[Any, ...]) -> None:
    """Wait for a moment until this process holds what it held before."""
    end_s = time.monotonic() + 5
    while True:
        now = held()
        if not now[0] - before[0] and len(now[1]) <= len(before[1]) and len(now[2]) <= len(before[2]):
            return
        more = Counter(now[1]) - Counter(before[1])
        assert time.monotonic() < end_s, ([thread.name for thread in now[0] - before[0]], more, now[2])
        time.sleep(0.02)


def pictures() -> Iterator[tuple[np.ndarray[Any, np.dtype[np.uint8]], float]]:
    for index in range(10_000):
        time.sleep(0.02)
        yield np.full((48, 64, 3), index % 256, np.uint8), index / 50


def test_of_any_source_and_any_output(tmp_path: Path, broker: Broker, receiver: Receiver) -> None:
    need_rtsp()
    clip = write_film(tmp_path / "film.mp4", moving_square("right", 0, frames=90))
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(30):
        cv2.imwrite(str(frames / f"{index:03}.png"), np.full((48, 64, 3), index, np.uint8))
    bag = write_bag(tmp_path, "mcap", lambda store: film(store, stamps_s=[5 + index / 10 for index in range(30)]))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = write(pipe, write_film(tmp_path / "film.ts", moving_square("right", 0, frames=60)).read_bytes())
    with ExitStack() as stack:
        web = stack.enter_context(HttpServer())
        jpeg = multipart(cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes())
        mjpeg = web.serve("/mjpeg", endless(lambda: paced([jpeg] * 10_000, 30), MJPEG))
        rtsp = stack.enter_context(RtspServer(size="160x120", fps=15))
        sources: dict[str, Any] = {
            "rtsp": rtsp.url,
            "mjpeg": mjpeg,
            "file": clip,
            "file in real time": clip,
            "files": str(tmp_path / "film.*"),
            "frames": f"{frames}?fps=10",
            "bag": bag,
            "pipe": pipe,
            "camera": CameraSource(0, open_capture=lambda _index: MovingCamera(reads=10_000)),
            "demo": "demo:realtime=yes,size=64x48",
            "program's own": pictures(),
            "scripted": ScriptedSource([Play(0.7, brightness=250), Lost(), Play(60, brightness=250)]),
            "away": ScriptedSource([Refused()] * 1000),
        }
        before = held()
        for turn in range(2):
            runner = Runner()
            outputs: list[Sink] = [
                JsonLinesSink(str(tmp_path / f"{turn}.jsonl"), rotate_bytes=20_000),
                Recording(str(tmp_path / f"{turn}" / "{stream}.mp4"), streams=list(sources), notify=runner.notify),
                EventClips(tmp_path / "clips", notify=runner.notify),
                open_mqtt(f"mqtt://127.0.0.1:{broker.port}/left?spool={tmp_path}/spool", notify=runner.notify),
                open_mqtt(f"mqtt://127.0.0.1:{free_port()}/away?spool={tmp_path}/other", notify=runner.notify),
                open_webhook(receiver.url, notify=runner.notify),
                open_webhook(f"http://127.0.0.1:{free_port()}/away", notify=runner.notify),
                open_metrics(str(free_port()), status=runner.status, outputs=runner.outputs),
            ]
            for output in outputs:
                runner.add_sink(output)
            model = Model(FakeEngine(frames=4, rate_fps=10, keep=False))
            for name, source in sources.items():
                if turn and name in ("pipe", "program's own"):  # can be read once
                    continue
                runner.add(source, model, name=name, realtime=name == "file in real time")
            runner.start()
            time.sleep(2.5)
            seen = {status.stream: status for status in runner.status()}
            assert runner.stop()
            assert [name for name, status in seen.items() if not status.inferences and name != "away"] == []
            del runner, model, outputs, output
            writer.join(5)
            nothing_more_than(before)


def test_of_sources_and_outputs_that_hang_once_they_go_on(tmp_path: Path) -> None:
    class Hanging(ListSink):
        free = threading.Event()

        def write(self, record: object) -> None:
            self.free.wait(20)

    before = held()
    sink = ListSink()
    runner = Runner(sinks=[Hanging(name="hangs"), sink])
    runner.add(ScriptedSource([Play(0.5), Hang(3)], name="driver"), Model(FakeEngine(rate_fps=30)))
    runner.add(ScriptedSource([Play(60)], name="well"), Model(FakeEngine(rate_fps=30)))
    runner.start()
    time.sleep(0.8)
    began_s = time.monotonic()
    assert not runner.stop()
    assert time.monotonic() - began_s < 2.2
    left = {thread.name for thread in threading.enumerate()} - {thread.name for thread in before[0]}
    assert left == {"mar-edge reads driver", "mar-edge writes hangs"}
    assert [(notice.stream, notice.code) for notice in sink.of(Notice)] == [("driver", "abandoned")]
    assert sorted(summary.stream for summary in sink.of(StreamStatus)) == ["driver", "well"]
    Hanging.free.set()
    nothing_more_than(before)
