"""Selects frames at the model's rate, by time stamps."""

from __future__ import annotations

import math
from dataclasses import dataclass

EARLY = 0.25
"""Share of a period by which a frame may come before its tick, so that a jittery camera at the model's rate loses none."""

MIN_GAP_S = 0.5


@dataclass(frozen=True)
class SamplerState:
    """Where a sampler stands.

    Attributes:
        start_s: time of the first tick; None before the first frame.
        last_s: time of the newest frame; None before the first one.
        ticks: served so far.
    """

    start_s: float | None
    last_s: float | None
    ticks: int


class Sampler:
    """Reports for each arriving frame how many places of the window it fills.

    Ticks lie `1 / rate_fps` apart, starting with the first frame. A tick is served by the first frame that is not
    earlier than the tick less a quarter of a period. A camera slower than the model serves several ticks with one
    frame, which keeps the time scale right; after a gap longer than `max_gap_s` sampling restarts.

    Args:
        rate_fps: frames per second that the model expects.
        max_gap_s: longest gap that is bridged; by default three periods, at least 0.5 s.
    """

    def __init__(self, rate_fps: float, *, max_gap_s: float | None = None) -> None:
        if not rate_fps > 0:
            raise ValueError(f"rate_fps is {rate_fps}; it must be positive")
        self.period_s = 1 / rate_fps
        self.max_gap_s = max(MIN_GAP_S, 3 * self.period_s) if max_gap_s is None else max_gap_s
        self.reset()

    def reset(self) -> None:
        """Reset: the next frame starts a new tick grid."""
        self._start_s = math.nan
        self._last_s = math.nan
        self._ticks = 0

    def state(self) -> SamplerState:
        """Return where it stands."""
        start_s, last_s = (None if math.isnan(one) else one for one in (self._start_s, self._last_s))
        return SamplerState(start_s, last_s, self._ticks)

    def restore(self, state: SamplerState) -> None:
        """Go on where another one of the same rate stood."""
        self._start_s, self._last_s = (math.nan if one is None else one for one in (state.start_s, state.last_s))
        self._ticks = state.ticks

    def is_gap(self, time_s: float) -> bool:
        """Whether a frame at `time_s` comes after a gap that is too long."""
        return time_s - self._last_s > self.max_gap_s

    def places(self, time_s: float, *, anew: bool = False) -> int:
        """Return how many ticks a frame at `time_s` would serve, and change nothing.

        Args:
            time_s: of the frame.
            anew: as if `reset` had been called.
        """
        anew = anew or math.isnan(self._start_s)
        return self._due(time_s, time_s if anew else self._start_s) - (0 if anew else self._ticks)

    def take(self, time_s: float) -> int:
        """Return how many ticks the frame at `time_s` serves: 0 for a frame that is not needed.

        Call `is_gap` and `reset` first; time stamps must not go backwards.
        """
        served = self.places(time_s)
        if math.isnan(self._start_s):
            self._start_s = time_s
        self._last_s = time_s
        self._ticks += served
        return served

    def _due(self, time_s: float, start_s: float) -> int:
        # counted from the start, so that rounding never adds up
        return math.floor((time_s - start_s) / self.period_s + EARLY + 1e-9) + 1
