"""Records as a running stream makes them."""

from __future__ import annotations

from datetime import datetime, timezone

from mar_edge.runtime.results import EventEnded, EventStarted, Prediction

AT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def started(number: int, stream: str = "door", label: str = "walk") -> EventStarted:
    """An event that begins; its number is its id."""
    return EventStarted(id=str(number), stream=stream, label=label, start_s=1.0, score=0.9, started_at=AT)


def ended(number: int, stream: str = "door", label: str = "walk") -> EventEnded:
    """The end of it."""
    return EventEnded(id=str(number), stream=stream, label=label, start_s=1.0, end_s=2.0, score=0.9, started_at=AT)


def prediction(stream: str = "door", label: str = "walk", *, latency_ms: float = 42.0, classes: int = 2) -> Prediction:
    """A prediction."""
    top = tuple((f"{label}{number}", 0.5) for number in range(classes))
    return Prediction(
        stream=stream,
        time_s=1,
        frame=30,
        label=label,
        score=0.9,
        top=top,
        latency_ms=latency_ms,
        mask=50,
        engine="fake",
    )
