"""Times of a live stream's pictures, from its time stamps, which may be missing, stand still, jump or run backwards."""

from __future__ import annotations

from mar_edge.reporting import Warn

LEAP_S = 1.0
"""A time stamp may be so much further ahead than the time that has passed."""

MIN_RISE_S = 0.0005
"""Between two pictures."""

RESTART_S = 0.25
"""Time stamps that go back by more belong to another clock."""

MOST_STUCK = 3
"""Pictures in a row whose time stamp does not rise, before the time of arrival is used: a picture may come in parts."""

_TOLD = 10
"""Missing or equal time stamps that are normal: the first pictures of RTSP streams have such."""


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
        self._unusable = 0
        self._stuck = 0
        self._offset_s: float | None = None
        self._last_s: float | None = None
        self._began_s = 0.0
        self._arrived_s = 0.0
        self._known = 0.0, 0.0  # time and arrival of the last picture that had a time of its own

    def time_s(self, stamp_s: float | None, arrived_s: float) -> float:
        """Return the time of the next picture in the order of display.

        Args:
            stamp_s: its time stamp; None without one.
            arrived_s: `time.monotonic()`.
        """
        if not self._stamped:
            stamp_s = None
        if self._last_s is None:
            time_s, self._began_s, self._known = 0.0, arrived_s, (0.0, arrived_s)
        else:
            time_s = self._following(self._last_s, stamp_s, arrived_s)
        if stamp_s is not None and self._offset_s is None:
            self._offset_s = time_s - stamp_s
        self._last_s, self._arrived_s = time_s, arrived_s
        return time_s

    def _following(self, last_s: float, stamp_s: float | None, arrived_s: float) -> float:
        if stamp_s is None:
            self._count("are missing")
        elif self._offset_s is not None:
            time_s = stamp_s + self._offset_s
            # what the stream was late by may be left out at once
            latest_s = max(last_s + arrived_s - self._arrived_s, arrived_s - self._began_s) + LEAP_S
            if last_s + MIN_RISE_S <= time_s <= latest_s:
                self._stuck = 0
                self._known = time_s, arrived_s
                return time_s
            if -RESTART_S <= time_s - last_s < MIN_RISE_S:
                self._count("do not rise")
                self._stuck += 1
                if self._stuck <= MOST_STUCK:
                    return last_s + MIN_RISE_S
            else:
                self._tell(f"jump by {time_s - last_s:+.1f} s")
            self._offset_s = None
        known_s, then_s = self._known
        time_s = max(last_s + MIN_RISE_S, known_s + arrived_s - then_s)
        self._known = time_s, arrived_s
        return time_s

    def _count(self, what: str) -> None:
        self._unusable += 1
        if self._stamped and self._unusable == _TOLD:
            self._tell(what)

    def _tell(self, what: str) -> None:
        if not self._told:
            self._told = True
            self._warn(f"{self._name}: time stamps {what}; the time of arrival is used there. Check the camera's clock")
