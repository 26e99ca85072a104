"""MQTT while the broker is killed and comes back: what arrives, in which order, and whether the writer is held up.

PYTHONPATH=. python benchmarks/broker_outage.py [--away 8] [--before 4] [--spool-events 10000]

A writer gives the sink 20 events and 30 predictions a second. Needs the mosquitto program.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from mar_edge.runtime.results import Notice
from mar_edge.runtime.sinks.mqtt import Mqtt
from mar_edge.runtime.sinks.open import open_mqtt
from tests.fakes.records import prediction, started
from tests.servers.mosquitto import Broker, Listener, wait_until

EVENTS_HZ = 20
PREDICTIONS_HZ = 30


class Writer:
    """Writes at a fixed rate, and measures each call of `write`."""

    def __init__(self, sink: Mqtt) -> None:
        self.sink = sink
        self.events = 0
        self.predictions = 0

    def run(self, seconds: float) -> list[float]:
        """Return how long each call took, in milliseconds."""
        calls_ms = []
        began = time.perf_counter()
        ticks = int(seconds * EVENTS_HZ * PREDICTIONS_HZ)
        for tick in range(ticks):
            if tick % PREDICTIONS_HZ and tick % EVENTS_HZ:
                continue
            time.sleep(max(began + tick / (EVENTS_HZ * PREDICTIONS_HZ) - time.perf_counter(), 0))
            call = time.perf_counter()
            if tick % PREDICTIONS_HZ == 0:
                self.sink.write(started(self.events))
                self.events += 1
            if tick % EVENTS_HZ == 0:
                self.sink.write(prediction())
                self.predictions += 1
            calls_ms.append(1000 * (time.perf_counter() - call))
        return calls_ms


def say(notice: Notice) -> None:
    print(f"  notice: {notice.message}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--away", type=float, default=8, help="seconds without a broker")
    arguments.add_argument("--before", type=float, default=4, help="seconds with it, before and after")
    arguments.add_argument("--spool-events", type=int, default=10_000)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        listener = Listener(broker)
        url = f"mqtt://127.0.0.1:{broker.port}/outage?spool={folder}/spool&spool_events={options.spool_events}"
        writer = Writer(open_mqtt(url, notify=say))
        times = {"with the broker": writer.run(options.before)}
        broker.kill()
        times["without it"] = writer.run(options.away)
        broker.start()
        back = time.perf_counter()
        times["after it came back"] = writer.run(options.before)
        expected = writer.events - writer.sink.dropped["event"]

        def arrived() -> list[int]:
            return list(dict.fromkeys(int(one["id"]) for one in listener.objects("/event")))

        wait_until(lambda: len(arrived()) >= expected, "the events", 60)
        took_s = time.perf_counter() - back
        found, repeats = arrived(), len(listener.texts("/event"))
        began = time.perf_counter()
        writer.sink.close()
        closed_s = time.perf_counter() - began
        listener.close()
    for when, calls_ms in times.items():
        print(f"write {when}: median {statistics.median(calls_ms):.2f} ms, longest {max(calls_ms):.1f} ms")
    print(
        f"{writer.events} events written, {len(found)} arrived, {writer.sink.dropped['event']} dropped at the bound, "
        f"{writer.events - len(found) - writer.sink.dropped['event']} lost, {repeats - len(found)} repeated, "
        f"{'in order' if found == sorted(found) else 'OUT OF ORDER'}; all within {took_s:.1f} s of the broker's return"
    )
    print(
        f"{writer.predictions} predictions written, {writer.sink.dropped['prediction']} dropped; closed in {closed_s:.2f} s"
    )


if __name__ == "__main__":
    main()
