"""Times of inferences in tables."""

from __future__ import annotations


def milliseconds(time_ms: float) -> str:
    """Return a time with a digit after the point, or two below a millisecond."""
    return f"{time_ms:.1f}" if time_ms >= 1 else f"{time_ms:.2f}"
