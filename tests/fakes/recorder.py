"""A process that records until it is killed.

python -m tests.fakes.recorder FOLDER

Prints the time of every frame once all sinks have taken it. An event is open from 3 s on.
"""

from __future__ import annotations

import sys
import time
from itertools import count
from pathlib import Path

from mar_edge.runtime.results import Record
from mar_edge.runtime.sinks.event_clips import EventClips
from mar_edge.runtime.sinks.json_lines import JsonLinesSink
from mar_edge.runtime.sinks.recording import Recording
from mar_edge.runtime.sinks.sink import Sink
from tests.fakes.shown_frames import prediction, shown, started


def main() -> None:
    """Record 30 frames a second, three times as fast as a camera would give them."""
    folder = Path(sys.argv[1])
    sinks: list[Sink] = [
        Recording(str(folder / "out.mp4")),
        EventClips(folder / "clips"),
        JsonLinesSink(str(folder / "out.jsonl"), rotate_bytes=10_000),
    ]
    for index in count():
        time_s = index / 30
        records: list[Record] = [shown(time_s), prediction(time_s)]
        if index == 90:
            records.append(started("e1", 2.5))
        for record in records:
            for sink in sinks:
                if record.kind in sink.wants:
                    sink.write(record)
        print(time_s, flush=True)
        time.sleep(1 / 90)


if __name__ == "__main__":
    main()
