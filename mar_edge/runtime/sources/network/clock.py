"""Times of a live stream's pictures, from its time stamps, which may be missing, stand still, jump or run backwards."""

from __future__ import annotations

from mar_edge.reporting import Warn

LEAP_S = 1.0
"""A time stamp may be so much further ahead than the time that has passed."""

MIN_RISE_S = 0.0005
"""Between two pictures."""

_MISSING_TOLD = 10
"""The first pictures of an RTSP stream have no time stamp yet."""


class LiveClock:
    """Gives the pictures of one connection rising times, from 0.

    Where a time stamp cannot be used, the picture's arrival takes its place, and the time stamps that follow count from
    there. This is reported once.

    Args:
        name: of the source.
        warn: called with one sentence.
        stamped: whether there are time stamps; without them every picture has the time of its arrival.
    """

    def __init__(self, name: str, warn: Warn, *, stamped: bool = True) -> None:
        self._name = name
        self._warn = warn
        self._stamped = stamped
        self._told = False
        self._missing = 0
        self._step_s = 0.0
        self._last_s: float | None = None
        self._last_arrived_s = 0.0
        self._offset_s: float | None = None

    def time_s(self, stamp_s: float | None, arrived_s: float) -> float:
        """Return the time of the next picture in the order of display.

        Args:
            stamp_s: its time stamp; None without one.
            arrived_s: `time.monotonic()`.
        """
        if self._last_s is None:
            time_s = 0.0
        else:
            time_s = self._following(self._last_s, stamp_s, arrived_s - self._last_arrived_s)
            if 0 < time_s - self._last_s < LEAP_S:
                self._step_s = time_s - self._last_s
        if stamp_s is not None and self._stamped and self._offset_s is None:
            self._offset_s = time_s - stamp_s
        self._last_s, self._last_arrived_s = time_s, arrived_s
        return time_s

    def _following(self, last_s: float, stamp_s: float | None, passed_s: float) -> float:
        # pictures arrive in bursts, so the usual distance counts as well
        arrived_s = last_s + max(passed_s, self._step_s if self._stamped else 0.0, MIN_RISE_S)
        if stamp_s is None or not self._stamped:
            self._missing += 1
            if self._stamped and self._missing == _MISSING_TOLD:
                self._tell("are missing")
            return arrived_s
        if self._offset_s is None:
            return arrived_s
        rise_s = stamp_s + self._offset_s - last_s
        if MIN_RISE_S <= rise_s <= max(passed_s, 0.0) + LEAP_S:
            return last_s + rise_s
        self._offset_s = None
        if rise_s < MIN_RISE_S:
            self._tell("do not rise")
        else:
            self._tell(f"jump by {rise_s:.1f} s")
        return arrived_s

    def _tell(self, what: str) -> None:
        if not self._told:
            self._told = True
            self._warn(f"{self._name}: time stamps {what}; the time of arrival is used there. Check the camera's clock")
