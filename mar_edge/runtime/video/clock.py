"""Computes strictly rising times from time stamps that may be missing, equal, wrong, or restart."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from mar_edge.counting import counted, form

RESTART_S = 0.25
"""Time stamps that go back by more than this belong to another recording, joined to the one before."""

PAUSE_S = 1.0
"""Pause put between two recordings: the real time between them is unknown, so no window may span it."""

LEAP_S = 1.0
"""A time stamp further ahead than this is compared with those that follow."""

MIN_RISE_S = 0.00025
"""Time stamps closer together than this count as equal: the difference comes from rounding."""

REORDERED = 16
"""Pictures may be decoded this many places before they are shown, in any codec."""

_FOLLOWERS = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """Something with its time.

    Attributes:
        item: a picture or a packet.
        time_s: from the first one, rising strictly.
        fresh: whether another recording begins with it.
    """

    item: T
    time_s: float
    fresh: bool


class Clock:
    """Gives pictures in display order strictly rising times. Repairs them as players do.

    A missing or equal time stamp is the one before plus a step. A single wrong one counts as missing. Small steps back
    shift the clock; large ones begin another recording.

    Args:
        step_s: time between two pictures.
        first_s: time stamp of the video's first picture; None if reading starts with it.

    Attributes:
        pictures: number of pictures so far.
        missing: pictures without a time stamp, or with a wrong one.
        stuck: pictures whose time stamp did not rise.
        restarts: recordings after the first.
        first_restart_s: when the second recording began.
        swapped: time stamps that `sort` moved to another picture.
        step_s: the argument.
    """

    def __init__(self, step_s: float, *, first_s: float | None = None) -> None:
        self.step_s = step_s
        self.pictures = self.missing = self.stuck = self.restarts = self.swapped = 0
        self.first_restart_s = 0.0
        self._offset_s = None if first_s is None else -first_s
        self._last_stamp_s: float | None = None
        self._last_s: float | None = None

    @property
    def repaired(self) -> int:
        """How many times differ from their time stamps."""
        return self.missing + self.stuck + self.restarts + self.swapped

    def run(self, stamped: Iterable[tuple[T, float | None]]) -> Iterator[Timed[T]]:
        """Give every item its time.

        Args:
            stamped: items in the order of display with their time stamps in seconds; None without one.
        """
        source = iter(stamped)
        ahead: deque[tuple[T, float | None]] = deque()
        while True:
            if ahead:
                item, stamp_s = ahead.popleft()
            elif (pair := next(source, None)) is not None:
                item, stamp_s = pair
            else:
                return
            if self._is_far(stamp_s):
                ahead.extend(islice(source, max(0, _FOLLOWERS - len(ahead))))
                if self._is_alone(stamp_s, [stamp for _, stamp in islice(ahead, _FOLLOWERS) if stamp is not None]):
                    stamp_s = None
            yield self._place(item, stamp_s)

    def sort(
        self, stamped: Iterable[tuple[T, float | None]], ahead: int = REORDERED
    ) -> Iterator[tuple[T, float | None]]:
        """Sort time stamps that were given in the order of decoding to items in the order of display.

        Args:
            stamped: items with their time stamps.
            ahead: how many of them may be held until their order is known.
        """
        waiting: deque[tuple[T, float]] = deque()
        stamps_s: list[float] = []
        last_s: float | None = None

        def give() -> tuple[T, float | None]:
            nonlocal last_s
            (item, own_s), last_s = waiting.popleft(), heapq.heappop(stamps_s)
            self.swapped += own_s != last_s
            return item, last_s

        for item, stamp_s in stamped:
            if stamp_s is None:
                while waiting:
                    yield give()
                yield item, None
                continue
            if last_s is not None and stamp_s < last_s - RESTART_S:
                while waiting:
                    yield give()
            waiting.append((item, stamp_s))
            heapq.heappush(stamps_s, stamp_s)
            if len(waiting) > ahead:
                yield give()
        while waiting:
            yield give()

    def notice(self, name: str, *, sorted_silently: bool = False) -> str | None:
        """Return one sentence on what was repaired; None if nothing was.

        Args:
            name: of the file.
            sorted_silently: leave out sorted time stamps.
        """
        done = []
        if self.missing:
            done.append(
                f"{self.missing} of {self.pictures} {form(self.missing, 'was', 'were')} missing or wrong and {form(self.missing, 'follows', 'follow')} the one before"
            )
        if self.stuck:
            done.append(
                f"{self.stuck} of {self.pictures} did not rise and {form(self.stuck, 'was', 'were')} spread at {1 / self.step_s:.5g} per second"
            )
        if self.swapped and not sorted_silently:
            done.append(
                f"{self.swapped} of {self.pictures} {form(self.swapped, 'was', 'were')} in decoding order and {form(self.swapped, 'was', 'were')} sorted"
            )
        if self.restarts:
            times = "once" if self.restarts == 1 else counted(self.restarts, "time")
            done.append(
                f"they restart {times}, first after {self.first_restart_s:.2f} s, as in joined recordings; "
                f"a pause of {PAUSE_S:g} s was put before each"
            )
        return f"{name}: time stamps were repaired: {'; '.join(done)}" if done else None

    def _is_far(self, stamp_s: float | None) -> bool:
        if stamp_s is None or self._last_stamp_s is None:
            return False
        return not 0 <= stamp_s - self._last_stamp_s <= LEAP_S

    def _is_alone(self, stamp_s: float | None, followers_s: list[float]) -> bool:
        """Whether those that follow continue the old clock rather than from this stamp."""
        if stamp_s is None or self._last_stamp_s is None:
            return False
        if not followers_s:
            return stamp_s < self._last_stamp_s
        if stamp_s > self._last_stamp_s and followers_s[0] >= stamp_s:
            return False
        old = [abs(self._last_stamp_s + (place + 2) * self.step_s - s) for place, s in enumerate(followers_s)]
        new = [abs(stamp_s + (place + 1) * self.step_s - s) for place, s in enumerate(followers_s)]
        return 2 * sum(a < b for a, b in zip(old, new, strict=True)) > len(followers_s)

    def _place(self, item: T, stamp_s: float | None) -> Timed[T]:
        self.pictures += 1
        fresh = False
        expected_s = 0.0 if self._last_s is None else self._last_s + self.step_s
        if stamp_s is None:
            self.missing += 1
            time_s = expected_s
            if self._last_stamp_s is not None:
                self._last_stamp_s += self.step_s
        else:
            if self._offset_s is None:
                self._offset_s = expected_s - stamp_s
            change_s = 0.0 if self._last_stamp_s is None else stamp_s - self._last_stamp_s
            time_s = stamp_s + self._offset_s
            if change_s < -RESTART_S and self._last_s is not None:
                fresh = True
                self.first_restart_s = self.first_restart_s or self._last_s
                self.restarts += 1
                time_s = self._last_s + PAUSE_S
                self._offset_s = time_s - stamp_s
            elif self._last_s is not None and time_s <= self._last_s + min(MIN_RISE_S, self.step_s / 4):
                self.stuck += 1
                time_s = expected_s
                if change_s < -MIN_RISE_S:
                    self._offset_s = time_s - stamp_s
            self._last_stamp_s = stamp_s
        self._last_s = time_s
        return Timed(item, time_s, fresh)
