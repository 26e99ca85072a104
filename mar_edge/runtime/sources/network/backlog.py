"""Finds out when decoding falls behind a live stream, and what to leave out so that the newest picture is shown."""

from __future__ import annotations

LATE_S = 1.0
"""A stream that is this late for as long is decoded too slowly; a pause of the network is caught up sooner."""

CAUGHT_UP_S = 0.3
WAITED_S = 0.02
"""Who waits this long for a packet has read all that there was."""

_DRIFT = 0.001
"""Clocks of cameras differ from ours by less than this; a decoder that is slower by so little is not noticed."""

_LEAP_S = 10.0
"""More than this is another clock, not a delay."""


class Backlog:
    """Says which packets of a live stream are to be decoded.

    It compares the time stamps of packets with the time at which they are taken: the smallest difference so far belongs
    to a packet that was taken at once.

    Attributes:
        left_out: packets that were not decoded.
        episodes: how often it fell behind.
    """

    def __init__(self) -> None:
        self.left_out = 0
        self.episodes = 0
        self._base_s: float | None = None
        self._last_s = 0.0
        self._late_since_s: float | None = None
        self._draining = False
        self._wants_key = False

    def takes(self, stamp_s: float | None, now_s: float, waited_s: float, *, key: bool) -> bool:
        """Return whether to decode the next packet.

        Args:
            stamp_s: its time stamp; None without one.
            now_s: `time.monotonic()`.
            waited_s: how long the packet was waited for.
            key: whether decoding can begin with it.
        """
        late_s = self._late_s(stamp_s, now_s, waited_s)
        if self._draining:
            self._draining = late_s > CAUGHT_UP_S
        elif late_s <= LATE_S:
            self._late_since_s = None
        elif self._late_since_s is None:
            self._late_since_s = now_s
        elif now_s - self._late_since_s > LATE_S:
            self.episodes += 1
            self._late_since_s = None
            self._draining = self._wants_key = True
        if self._draining or (self._wants_key and not key):
            self.left_out += 1
            return False
        self._wants_key = False
        return True

    def _late_s(self, stamp_s: float | None, now_s: float, waited_s: float) -> float:
        if stamp_s is None:
            return 0.0
        offset_s = now_s - stamp_s
        if self._base_s is None or waited_s > WAITED_S or abs(offset_s - self._base_s) > _LEAP_S:
            self._base_s = offset_s
        else:
            self._base_s = min(offset_s, self._base_s + _DRIFT * (now_s - self._last_s))
        self._last_s = now_s
        return offset_s - self._base_s
