"""Tells how many clips are shorter than a model's window at a sampling rate, and which rate suits them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from mar_edge.counting import counted, counted_of

RATES_FPS: tuple[float, ...] = (4.0, 5.0, 6.0, 7.5, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0)

SLOWEST_FPS = 7.5
"""Slowest rate that is suggested, that of 16 x 4 for Kinetics: slower ones lose quick movements."""

MAX_SHORT = 0.25
"""Share of clips that may be shorter than a window at the suggested rate. Their last frame is repeated, which does no harm in few."""


@dataclass(frozen=True)
class RateRow:
    """A sampling rate.

    Attributes:
        rate_fps: frames per second.
        window_s: what a window covers.
        short: number of clips that are shorter.
    """

    rate_fps: float
    window_s: float
    short: int


@dataclass(frozen=True)
class Lengths:
    """Clips and windows.

    Attributes:
        frames: of a window.
        clips: number of clips.
        rows: by rising rate.
        suggested_fps: the slowest rate, of which a window covers most, that few clips are too short for; None if there is none.
        said: a sentence with the suggestion.
    """

    frames: int
    clips: int
    rows: tuple[RateRow, ...]
    suggested_fps: float | None
    said: str

    def to_json(self, split: str) -> dict[str, Any]:
        """Return the record of a split for JSON lines."""
        rates = [{"rate_fps": row.rate_fps, "window_s": row.window_s, "short": row.short} for row in self.rows]
        return {
            "type": "lengths",
            "split": split,
            "frames": self.frames,
            "videos": self.clips,
            "rates": rates,
            "suggested_fps": self.suggested_fps,
        }


def lengths(
    durations_s: Sequence[float],
    rates_fps: Sequence[float] = RATES_FPS,
    frames: int = 16,
    *,
    source_fps: Sequence[float] = (),
) -> Lengths:
    """Count the clips that are shorter than a window, at each rate.

    Args:
        durations_s: of the clips, each from its first frame to the end of its last.
        rates_fps: sampling rates in frames per second.
        frames: of a window.
        source_fps: frame rates of the clips; faster sampling, which repeats frames of half of them, is left out.

    Raises:
        ValueError: if there is no clip, or a rate or the number of frames is not positive.
    """
    if not durations_s or frames < 1 or not rates_fps or min(rates_fps) <= 0:
        raise ValueError("lengths need clips, at least one frame, and positive rates")
    most_fps = 1.05 * median(source_fps) if source_fps else max(rates_fps)
    known = sorted({float(rate) for rate in rates_fps})
    usable = [rate for rate in known if rate <= most_fps] or known[:1]
    rows = [
        RateRow(rate, round(frames / rate, 3), sum(round(duration_s * rate) < frames for duration_s in durations_s))
        for rate in usable
    ]
    fitting = [row for row in rows if row.short <= MAX_SHORT * len(durations_s)]
    chosen = next((row for row in fitting if row.rate_fps >= SLOWEST_FPS), fitting[-1] if fitting else None)
    if chosen is None:
        last = rows[-1]
        said = (
            f"{counted_of(last.short, len(durations_s), 'clip', 'is', 'are')} shorter than {counted(frames, 'frame')} even at "
            f"{last.rate_fps:g} frames per second; the median is {median(durations_s):.2f} s. Record longer clips, or train with "
            f"fewer frames (model.frames, an even number)"
        )
    else:
        said = (
            f"data.rate_fps: {chosen.rate_fps:g} suits these clips: {counted(frames, 'frame')} cover {chosen.window_s:.2f} s, and "
            f"{counted_of(chosen.short, len(durations_s), 'clip', 'is', 'are')} shorter (the last frame is repeated)"
        )
    return Lengths(frames, len(durations_s), tuple(rows), chosen.rate_fps if chosen else None, said)
