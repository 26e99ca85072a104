"""Recognition while an output fails: its rate before, during and after, and what becomes of the records.

PYTHONPATH=. python benchmarks/sink_faults.py [--phase 8] [--faults broker bound hangs raises retries slow] [--engine fake|egomotion]

Each fault has a run of its own: `phase` seconds with an output that works, as many with one that fails, as many after it works again.
With `--engine fake`, four scripted cameras of 30 frames a second offer 120 windows a second to an engine that sleeps 20 ms, so that anything
that holds the engine's thread up lowers the rate. With `egomotion`, four demo cameras of 30 frames a second are recognised by the real model.
`rate` counts the results that another output got. Needs the mosquitto program for `broker` and `bound`.

broker   the broker is killed, and started again
bound    the same with a spool of 20 events
hangs    `write` does not return
raises   `write` raises ValueError
retries  `write` raises OutputError(retry=True)
slow     `write` takes 0.2 s
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import mar_edge
from mar_edge.errors import OutputError
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import EventEnded, EventStarted, Kind, Notice, Prediction, Record
from mar_edge.runtime.sinks.open import open_mqtt
from mar_edge.runtime.streams.event_rule import EventRule
from mar_edge.runtime.streams.runner import Runner
from mar_edge.testing import FakeEngine, Play, ScriptedSource
from tests.servers.mosquitto import Broker, Listener, wait_until

STREAMS = 4
DELAY_S = 0.02
SETTLE_S = 2.0
RULE = EventRule(min_duration_s=0.2)


class Reference:
    """The output that works: what was recognised, and when it arrived.

    Attributes:
        arrived_s: when each prediction came.
        events: identity and phase of each event, in order.
        notices: what was said about outputs.
    """

    name = "reference"
    wants: frozenset[Kind] = frozenset({"prediction", "event", "notice"})

    def __init__(self) -> None:
        self.arrived_s: list[float] = []
        self.events: list[tuple[str, str]] = []
        self.notices: list[str] = []

    def write(self, record: Record) -> None:
        """Note a record."""
        if isinstance(record, Prediction):
            self.arrived_s.append(time.monotonic())
        elif isinstance(record, (EventStarted, EventEnded)):
            self.events.append((record.id, str(record.to_json()["phase"])))
        elif isinstance(record, Notice) and record.code == "output":
            self.notices.append(record.message)

    def close(self) -> None:
        """Do nothing."""

    def rate(self, from_s: float, to_s: float) -> float:
        """Return results a second between two moments."""
        return sum(from_s <= one < to_s for one in self.arrived_s) / (to_s - from_s)

    def longest_gap_s(self, from_s: float, to_s: float) -> float:
        """Return the longest time without a result between two moments."""
        within = [from_s, *(one for one in self.arrived_s if from_s <= one < to_s), to_s]
        return max(later - earlier for earlier, later in pairwise(within))


class Faulty:
    """An output that can be made to fail.

    Args:
        fault: what it does while `failing`.
    """

    wants: frozenset[Kind] = frozenset({"prediction", "event", "notice", "summary"})

    def __init__(self, fault: str) -> None:
        self.name = fault
        self.records: list[Record] = []
        self.well = threading.Event()
        self.well.set()

    def write(self, record: Record) -> None:
        """Take a record, or fail."""
        if not self.well.is_set():
            if self.name == "hangs":
                self.well.wait()
            elif self.name == "raises":
                raise ValueError("always")
            elif self.name == "retries":
                raise OutputError("away", retry=True)
            else:
                time.sleep(0.2)
        self.records.append(record)

    def close(self) -> None:
        """Do nothing."""


def add_streams(runner: Runner, engine: str, seconds: float) -> None:
    """Add the cameras."""
    if engine == "fake":
        model = Model(FakeEngine(delay_s=DELAY_S, rate_fps=30, keep=False))
        for number in range(STREAMS):
            acts = [Play(0.8 + 0.1 * number, brightness=250), Play(0.7, brightness=10)]
            source = ScriptedSource(acts * int(2 * seconds), name=f"camera{number}")
            runner.add(source, model, hop=1, smoothing_s=0, rule=RULE)
        return
    loaded = mar_edge.load("egomotion", threads=1)
    for number in range(STREAMS):
        uri = f"demo:realtime=yes,loops=forever,size=320x240,seed={number}"
        runner.add(uri, loaded, name=f"camera{number}", hop=1)


def phases(reference: Reference, phase_s: float, fail: Any, mend: Any) -> list[tuple[float, float]]:
    """Wait through the three phases; return when each began and ended."""
    time.sleep(SETTLE_S)
    moments = [time.monotonic()]
    for act in (fail, mend, lambda: None):
        time.sleep(phase_s)
        moments.append(time.monotonic())
        act()
    return list(pairwise(moments))


def tell(fault: str, reference: Reference, times: list[tuple[float, float]], rest: str) -> None:
    """Print a row."""
    before, during, after = (reference.rate(*span) for span in times)
    print(
        f"{fault:8} {before:7.2f} {during:7.2f} {after:7.2f}   {100 * during / before:6.2f} % {100 * after / before:6.2f} %  "
        f"{1000 * reference.longest_gap_s(*times[0]):6.0f} {1000 * reference.longest_gap_s(*times[1]):6.0f}   {rest}",
        flush=True,
    )


def with_broker(fault: str, engine: str, phase_s: float) -> None:
    """Kill the broker, and start it again."""
    bound = 20 if fault == "bound" else 10_000
    reference = Reference()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(Broker(folder))
        listener = Listener(broker)
        stack.callback(listener.close)
        runner = Runner(sinks=[reference])
        url = f"mqtt://127.0.0.1:{broker.port}/faults?spool={folder}/spool&spool_events={bound}"
        outlet = runner.add_sink(open_mqtt(url, notify=runner.notify))
        add_streams(runner, engine, 4 * phase_s)
        with runner:
            times = phases(reference, phase_s, broker.kill, broker.start)
            for name in [status.stream for status in runner.status()]:
                runner.remove(name)
            emitted, predictions = reference.events, len(reference.arrived_s)

            def came() -> list[tuple[str, str]]:
                return list(dict.fromkeys((one["id"], one["phase"]) for one in listener.objects("/event")))

            wait_until(lambda: len(came()) >= len(emitted) - outlet.lost()["event"], "the events", 60)
            time.sleep(0.5)  # for predictions that are on their way
            found, repeats = came(), len(listener.texts("/event"))
            lost = outlet.lost()
            arrived = len(listener.texts("/prediction"))
    wanted = [one for one in emitted if one in set(found)]
    tell(
        fault,
        reference,
        times,
        f"events: {len(emitted)} recognised, {len(found)} arrived {'in order' if found == wanted else 'OUT OF ORDER'}, "
        f"{lost['event']} dropped and counted, {len(emitted) - len(found) - lost['event']} lost, {repeats - len(found)} repeated; "
        f"predictions: {predictions} recognised, {arrived} arrived, {lost['prediction']} dropped and counted, "
        f"{predictions - arrived - lost['prediction']} lost on the way",
    )


def with_faulty_sink(fault: str, engine: str, phase_s: float) -> None:
    """Let an output fail, and work again."""
    reference, faulty = Reference(), Faulty(fault)
    runner = Runner(sinks=[reference])
    outlet = runner.add_sink(faulty)
    add_streams(runner, engine, 4 * phase_s)
    with runner:
        times = phases(reference, phase_s, faulty.well.clear, faulty.well.set)
        for name in [status.stream for status in runner.status()]:
            runner.remove(name)
        if fault in ("retries", "hangs"):
            wait_until(lambda: not outlet.counts()["queued"], "the queue", 60)
    lost = outlet.lost()
    kinds = Counter(record.kind for record in faulty.records)
    came = [
        (one.id, str(one.to_json()["phase"])) for one in faulty.records if isinstance(one, (EventStarted, EventEnded))
    ]
    wanted = [one for one in reference.events if one in set(came)]
    tell(
        fault,
        reference,
        times,
        f"events: {len(reference.events)} recognised, {len(came)} arrived {'in order' if came == wanted else 'OUT OF ORDER'}, "
        f"{lost['event']} dropped and counted; predictions: {len(reference.arrived_s)} recognised, {kinds['prediction']} arrived, "
        f"{lost['prediction']} dropped and counted; said: {[message[:60] for message in reference.notices]}",
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--phase", type=float, default=8, metavar="S")
    names = ("broker", "bound", "hangs", "raises", "retries", "slow")
    arguments.add_argument("--faults", nargs="+", choices=names, default=names)
    arguments.add_argument("--engine", choices=("fake", "egomotion"), default="fake")
    options = arguments.parse_args()
    print("            results a second        share of before     longest gap, ms")
    print("fault     before  during   after     during   after  before during")
    for fault in options.faults:
        run = with_broker if fault in ("broker", "bound") else with_faulty_sink
        run(fault, options.engine, options.phase)


if __name__ == "__main__":
    main()
