"""The time of a stream, which never restarts: over lost connections, restarted cameras and clocks that jump."""

from __future__ import annotations

JUMP_S = 2.0
"""A time stamp that moves this much further than the clock on the wall is a jump of the source's clock."""

LAG_S = 10.0
"""A stream's time that lies further behind the clock on the wall is set anew: the source's clock is too slow or stood still."""

FRAME_S = 0.001
"""How far a frame lies behind the one before at least, where the source's clock was set back."""


class StreamClock:
    """Translates the times of one connection after another into the time of the stream.

    The stream's time begins with its first frame. A live stream's goes on while it is lost, as the clock on the wall does;
    within a connection frames keep the spacing that the source gives them, which is steadier than their arrival.
    """

    def __init__(self) -> None:
        self._start_s: float | None = None  # on the monotonic clock
        self._offset_s: float | None = None  # from the connection's time to the stream's; None before its first frame
        self._last_s = 0.0
        self._last_arrived_s = 0.0

    def connected(self) -> None:
        """Begin a connection, whose time may begin anywhere."""
        self._offset_s = None

    def stream_time(self, time_s: float, arrived_s: float | None) -> tuple[float, bool]:
        """Return the stream's time of a frame, and whether the source's clock jumped before it.

        Args:
            time_s: in the connection's time.
            arrived_s: `time.monotonic()` at its arrival; None for a recording, whose times are the stream's.
        """
        if arrived_s is None:
            return time_s, False
        if self._start_s is None:
            self._start_s = arrived_s
        passed_s = arrived_s - self._start_s
        jumped = False
        if self._offset_s is not None:
            step_s = time_s + self._offset_s - self._last_s
            ahead_s = step_s - (arrived_s - self._last_arrived_s)
            jumped = step_s < 0 or ahead_s > JUMP_S or passed_s - self._last_s - step_s > LAG_S
        if self._offset_s is None or jumped:
            self._offset_s = max(passed_s, self._last_s + FRAME_S if self._last_arrived_s else 0.0) - time_s
        self._last_s, self._last_arrived_s = time_s + self._offset_s, arrived_s
        return self._last_s, jumped
