"""What a stream reports: predictions, events, notices, frames and its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, ClassVar, Literal

from mar_edge.credentials import without_credentials
from mar_edge.printable import printable_lines
from mar_edge.runtime.frame import Frame

Kind = Literal["prediction", "event", "notice", "frame", "summary"]
"""What a sink may want: see `sinks.sink.Sink`."""


@dataclass(frozen=True, kw_only=True)
class EventStarted:
    """The beginning of an action, reported once it has lasted for the rule's minimum.

    Attributes:
        id: unique over all streams and runs; that of its `EventEnded`.
        stream: name of the source.
        label: class.
        start_s: when it began, in the stream's own time, seconds.
        score: highest smoothed score so far.
        started_at: when it began, UTC; None for a recording.
    """

    id: str
    stream: str
    label: str
    start_s: float
    score: float
    started_at: datetime | None = None

    kind: ClassVar[Kind] = "event"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that the command line writes."""
        return {
            "type": "event",
            "phase": "start",
            "id": self.id,
            "stream": self.stream,
            "label": self.label,
            "start_s": round(self.start_s, 4),
            "score": round(self.score, 4),
            **_at("started_at", self.started_at),
        }


@dataclass(frozen=True, kw_only=True)
class EventEnded:
    """An action with beginning and end.

    Attributes:
        id: unique over all streams and runs; that of its `EventStarted`.
        stream: name of the source.
        label: class.
        start_s, end_s: in the stream's own time, seconds.
        score: highest smoothed score within it.
        started_at, ended_at: the same moments, UTC; None for a recording.
    """

    id: str
    stream: str
    label: str
    start_s: float
    end_s: float
    score: float
    started_at: datetime | None = None
    ended_at: datetime | None = None

    kind: ClassVar[Kind] = "event"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that the command line writes."""
        return {
            "type": "event",
            "phase": "end",
            "id": self.id,
            "stream": self.stream,
            "label": self.label,
            "start_s": round(self.start_s, 4),
            "end_s": round(self.end_s, 4),
            "score": round(self.score, 4),
            **_at("started_at", self.started_at),
            **_at("ended_at", self.ended_at),
        }


Event = EventStarted | EventEnded
"""Either phase of an event, for annotations."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one inference found.

    Attributes:
        stream: name of the source.
        time_s: time stamp of the newest frame that it saw, seconds.
        frame: index of that frame among all frames of the stream; repeats of a held one are not counted.
        label: class with the highest smoothed score; the rule's idle class if the window shows none that is known.
        score: that score, 0 to 1.
        top: (label, score) of the best classes, best first.
        latency_ms: from the arrival of the newest frame to this result, in milliseconds.
        inference_ms: the engine's part of it, in milliseconds.
        mask: mask ratio of the graph, in percent.
        engine: engine that ran it.
        captured_at: when that frame arrived, UTC; None for a recording.
        doubt: why the window shows too little for a reliable answer; None if it shows enough.
        streaming: whether a streaming model made it.
        warm: share of the band that a streaming model has seen, up to 1; 1 for a windowed model.
        reused: whether it repeats the last answer of a streaming model, because nothing has moved.
        events: events that started or ended with this prediction.
        truth: what a scripted source shows with that frame; None for a real one.
        truth_since_s: since when.
    """

    stream: str
    time_s: float
    frame: int
    label: str
    score: float
    top: tuple[tuple[str, float], ...]
    latency_ms: float
    mask: int
    engine: str
    inference_ms: float = 0.0
    captured_at: datetime | None = None
    doubt: str | None = None
    streaming: bool = False
    warm: float = 1.0
    reused: bool = False
    events: tuple[Event, ...] = ()
    truth: str | None = None
    truth_since_s: float = 0.0

    kind: ClassVar[Kind] = "prediction"

    @property
    def reliable(self) -> bool:
        """Whether the window shows enough to be recognised."""
        return self.doubt is None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that the command line writes."""
        return {
            "type": "prediction",
            "stream": self.stream,
            "time_s": round(self.time_s, 4),
            "frame": self.frame,
            "label": self.label,
            "score": round(self.score, 4),
            "top": [[label, round(score, 4)] for label, score in self.top],
            "latency_ms": round(self.latency_ms, 2),
            "inference_ms": round(self.inference_ms, 2),
            "mask": self.mask,
            "engine": self.engine,
            "reliable": self.reliable,
            **_at("captured_at", self.captured_at),
            **({"doubt": self.doubt} if self.doubt else {}),
            **({"warm": round(self.warm, 4)} if self.streaming else {}),
            **({"reused": True} if self.reused else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What an operator should know.

    Attributes:
        stream: name of the source; the output's name if it is about an output.
        code: what it is about, for programs: a `SourceCode` while a source is lost, `live` when it is back, `window` for a
            break that the window must not span, `slow-source`, `output`, `mask` when a dial has changed the mask ...
        message: one sentence for people, with the next step; without credentials.
    """

    stream: str
    code: str
    message: str

    kind: ClassVar[Kind] = "notice"

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", printable_lines(without_credentials(self.message)))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that the command line writes."""
        return {"type": "warning", "stream": self.stream, "code": self.code, "message": self.message}


@dataclass(frozen=True, kw_only=True)
class ShownFrame:
    """A frame of a stream, for sinks that show or record it.

    Attributes:
        stream: name of the source.
        frame: the picture; `frame.picture` converts it.
        time_s: in the stream's own time, seconds.
        captured_at: when it arrived, UTC; None for a recording.
    """

    stream: str
    frame: Frame
    time_s: float
    captured_at: datetime | None = None

    kind: ClassVar[Kind] = "frame"


EVENT_GRACE_S = 1.0
"""An event of a script is in time if it begins while its part is shown, or this long after it, in seconds."""


@dataclass(frozen=True, kw_only=True)
class ScriptedPart:
    """A part of the script of a source.

    Attributes:
        label: what is shown.
        start_s, end_s: when, in the stream's own time, seconds.
        seen: of a state, how many predictions said which label, in windows that lie within it.
        event: of an event, label and begin in seconds of the one that was recognised in time: the right one, or else the first;
            None without one.
    """

    label: str
    start_s: float
    end_s: float
    seen: Mapping[str, int] = field(default_factory=dict)
    event: tuple[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class ScriptScore:
    """How the results of a stream compare with the script of its source, such as the demo's.

    A script of states, such as moves of a camera, is judged by predictions: a window that spans two parts has no single right
    answer, and only windows within one part count. A script of events, such as gestures, is judged by events: each part but the
    idle ones is to give one event with its label in time, and each other event is false. A part that the stream's end leaves
    no time for its event does not count.

    Attributes:
        idle: label of the parts between events; None for a script of states.
        window_s: length of the model's window, seconds.
        parts: that were judged, the newest 500.
        unknown: labels of the script that are no classes of the model; there is no score then.
        right: predictions, or events, that agree with the script.
        total: predictions, or parts that ask for an event, that were judged.
        false: events for which no part asks.
    """

    idle: str | None
    window_s: float
    parts: tuple[ScriptedPart, ...]
    unknown: tuple[str, ...]
    right: int
    total: int
    false: int

    @property
    def agreement(self) -> float | None:
        """Share of the predictions that agree with a script of states; None where there is none."""
        return self.right / self.total if self.idle is None and self.total and not self.unknown else None

    @property
    def events(self) -> dict[str, int] | None:
        """Of a script of events, how many are `right` `of` how many, and how many `false`; None where there are none."""
        if self.idle is None or self.unknown or not (self.total or self.false):
            return None
        return {"right": self.right, "of": self.total, "false": self.false}


State = Literal["connecting", "live", "lost", "ended"]


@dataclass(frozen=True, kw_only=True)
class StreamStatus:
    """The state of a stream and its counts so far; at its end, its summary.

    Attributes:
        stream: name of the source.
        model: name of the model.
        state: `connecting` before the first frame, `live`, `lost` while it reconnects, `ended`.
        code: why it is lost or has ended with an error; None otherwise.
        message: the same for people; None otherwise.
        frames: frames that arrived; repeats of a held one are not counted.
        sampled: frames among them that the model takes.
        inferences: windows that were inferred; of a streaming model time steps, as below.
        reused: time steps that did not run because nothing moved.
        events: events that ended.
        warnings: notices.
        dropped: what was lost, by cause: `source` for frames that a live source replaced before they were read, `newer`
            for windows that a newer one replaced, `age` for windows that were too old, `cut` for windows lost in a break,
            `stopped` for windows that waited when the stream was stopped, `invalid` for frames that cannot be used.
        reconnects: how often it was connected again.
        source_s: time of the newest frame in the stream's own time, seconds.
        elapsed_s: since the stream was added, seconds.
        latency_ms: median from capture to result, of the newest results; None without results.
        waited_ms: longest time for which a ready window waited for the engine.
        script: how the results compare with the source's script, once the stream has ended; None without one.
    """

    stream: str
    model: str
    state: State
    code: str | None = None
    message: str | None = None
    frames: int = 0
    sampled: int = 0
    inferences: int = 0
    reused: int = 0
    events: int = 0
    warnings: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    reconnects: int = 0
    source_s: float = 0.0
    elapsed_s: float = 0.0
    latency_ms: float | None = None
    waited_ms: float = 0.0
    script: ScriptScore | None = None

    kind: ClassVar[Kind] = "summary"

    @property
    def agreement(self) -> float | None:
        """Share of the predictions that agree with the script; None without a script of states."""
        return None if self.script is None else self.script.agreement

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that the command line writes."""
        scripted = None if self.script is None else self.script.events
        return {
            "type": "summary",
            "stream": self.stream,
            "model": self.model,
            "frames": self.frames,
            "inferences": self.inferences,
            "events": self.events,
            "warnings": self.warnings,
            "dropped": self.dropped.get("source", 0),
            "dropped_by_cause": dict(self.dropped),
            "reconnects": self.reconnects,
            "source_s": round(self.source_s, 4),
            "elapsed_s": round(self.elapsed_s, 4),
            "latency_ms": None if self.latency_ms is None else round(self.latency_ms, 2),
            **({"reused": self.reused} if self.reused else {}),
            **({} if self.agreement is None else {"agreement": round(self.agreement, 4)}),
            **({} if scripted is None else {"scripted_events": scripted}),
        }


Record = Prediction | EventStarted | EventEnded | Notice | ShownFrame | StreamStatus
"""What a sink is given. All of them have `kind` and `stream`; all but frames have `to_json`."""


def _at(name: str, moment: datetime | None) -> dict[str, str]:
    """Return a moment as ISO 8601 in UTC, to the millisecond; nothing for a recording."""
    if moment is None:
        return {}
    return {name: moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")}
