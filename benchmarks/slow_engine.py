"""Engines that are slower than the stream: what the windows hold that are inferred, what is dropped, and how old results are.

PYTHONPATH=. python benchmarks/slow_engine.py [--seconds 60] [--delays 0.1 0.25 0.5 2] [--clip CLIP ...]

A scripted camera of 30 frames a second runs live, for each delay at the same time, into an engine of its own that sleeps and answers. Its
pictures carry their numbers, so each window that is inferred is checked: 16 distinct frames, evenly spaced. Then each clip is played with
`realtime=True` into the same engines: each window must be, byte for byte, one of those that a fast engine is given of the same file.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import Kind, Notice, Prediction, Record, StreamStatus
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.sources.source import Reading
from mar_edge.runtime.streams.feed import Feed
from mar_edge.runtime.streams.runner import Runner
from mar_edge.testing import FakeEngine, Play, ScriptedSource, frame_number

FPS = 30.0
MODEL_FPS = 10.0
MAX_AGE_S = 0.5


@dataclass
class Case:
    """One stream into one slow engine.

    Attributes:
        delay_s: how long an inference takes, seconds.
        windows: what was inferred: of the scripted camera the distance between neighbouring frames, of a clip the digest.
        fewest: distinct frames in the window that has the fewest.
    """

    delay_s: float
    windows: Counter[object] = field(default_factory=Counter)
    fewest: int = 16
    latencies: list[tuple[float, float]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    summary: StreamStatus | None = None
    engine: FakeEngine | None = None

    name = "case"
    wants: frozenset[Kind] = frozenset({"prediction", "notice", "summary"})

    def write(self, record: Record) -> None:
        """Note a record."""
        if isinstance(record, Prediction):
            self.latencies.append((record.time_s, record.latency_ms))
        elif isinstance(record, Notice):
            self.notices.append(f"{record.code}: {record.message}")
        elif isinstance(record, StreamStatus):
            self.summary = record

    def close(self) -> None:
        """Do nothing."""

    def numbers(self, clip: NDArray[np.uint8]) -> str:
        """Look at a window of the scripted camera."""
        numbers = [frame_number(picture) for picture in clip]
        self.fewest = min(self.fewest, len(set(numbers)))
        self.windows.update(np.diff(numbers).tolist())
        return "light"

    def digest(self, clip: NDArray[np.uint8]) -> str:
        """Look at a window of a clip."""
        self.windows[digest(clip)] += 1
        return "light"


def digest(clip: NDArray[np.uint8]) -> str:
    """Return what tells one window from another."""
    return hashlib.sha256(clip.tobytes()).hexdigest()


def scripted(case: Case, seconds: float) -> None:
    """Run the scripted camera into the engine of a case."""
    case.engine = FakeEngine(delay_s=case.delay_s, rate_fps=MODEL_FPS, keep=False, answer=case.numbers)
    with Runner(sinks=[case]) as runner:
        runner.add(ScriptedSource([Play(seconds)], fps=FPS), Model(case.engine), max_age_s=MAX_AGE_S)
        runner.wait(seconds + 60)


def played(case: Case, clip: Path) -> None:
    """Play a clip in real time into the engine of a case."""
    case.engine = FakeEngine(delay_s=case.delay_s, rate_fps=MODEL_FPS, keep=False, answer=case.digest)
    with Runner(sinks=[case]) as runner:
        runner.add(clip, Model(case.engine), hop=1, max_age_s=MAX_AGE_S, realtime=True)
        runner.wait(300)


def windows_of(clip: Path, spec: ModelSpec) -> set[str]:
    """Return all windows that a fast engine is given of a file."""
    feed = Feed(spec, hop=1)
    found = set()
    with Reading(open_source(clip)) as reading:
        for frame in reading:
            found |= {digest(ready.clip) for ready in feed.add(frame).inputs}
    return found


def drift(latencies: list[tuple[float, float]]) -> str:
    """Return the median latency of the first and of the last third."""
    third = max(1, len(latencies) // 3)
    first, last = (statistics.median(ms for _, ms in part) for part in (latencies[:third], latencies[-third:]))
    return f"{first:7.1f} {last:7.1f} {max(ms for _, ms in latencies):8.1f}"


def dropped(case: Case) -> dict[str, int]:
    """Return what was dropped, by cause."""
    assert case.summary is not None
    return dict(case.summary.dropped)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=60, help="of the scripted camera")
    arguments.add_argument("--delays", type=float, nargs="+", default=[0.1, 0.25, 0.5, 2.0], metavar="S")
    arguments.add_argument("--clip", type=Path, nargs="*", default=[], help="play these, too")
    options = arguments.parse_args()
    cases = [Case(delay_s) for delay_s in options.delays]
    threads = [threading.Thread(target=scripted, args=(case, options.seconds)) for case in cases]
    began_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(
        f"scripted camera, {FPS:g} fps, model {MODEL_FPS:g} fps, {time.monotonic() - began_s:.0f} s of the clock on the wall"
    )
    print("delay_s inferences fewest_distinct frames_apart latency_ms: first_third last_third longest dropped notices")
    for case in cases:
        assert case.summary is not None
        print(
            f"{case.delay_s:7.2f} {case.summary.inferences:10} {case.fewest:15} {dict(case.windows)!s:>12}            "
            f"{drift(case.latencies)} {dropped(case)} {case.notices}"
        )
    for clip in options.clip:
        print(f"\n{clip.name}, realtime")
        print("delay_s inferences of_a_fast_engine's latency_ms: first_third last_third longest dropped notices")
        for delay_s in options.delays:
            case = Case(delay_s)
            played(case, clip)
            assert case.engine is not None and case.summary is not None
            known = windows_of(clip, case.engine.spec)
            good = sum(count for window, count in case.windows.items() if window in known)
            print(
                f"{delay_s:7.2f} {case.summary.inferences:10} {good:19}             {drift(case.latencies)} "
                f"{dropped(case)} {case.notices}"
            )


if __name__ == "__main__":
    main()
