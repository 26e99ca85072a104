"""The hand-over from a stream's reader to the engine's thread."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass

from mar_edge.runtime.streams.feed import ModelInput


@dataclass(frozen=True, slots=True)
class Cut:
    """A break: what comes before it belongs to no event that comes after it."""


@dataclass(frozen=True, slots=True)
class End:
    """Nothing follows."""


Item = ModelInput | Cut | End


class Slot:
    """Holds at most one input that is ready, and the break before it.

    For a live stream the newest input replaces one that still waits: a slow engine skips inputs, it never thins them out.
    A stream that waits, as a file does, is held until its input is taken.

    Args:
        live: whether the newest input wins.

    Attributes:
        changed: notified with every change; the scheduler that takes from several slots gives them one.
        dropped: inputs that were lost, by cause.
        longest_wait_s: longest time that an input, or the one that replaced it, waited for the engine.
    """

    def __init__(self, *, live: bool) -> None:
        self.live = live
        self.dropped: Counter[str] = Counter()
        self.longest_wait_s = 0.0
        self.changed = threading.Condition()
        self._cut = False
        self._input: ModelInput | None = None
        self._ended = False
        self._closed = False
        self._waiting_since_s: float | None = None

    @property
    def waits(self) -> bool:
        """Whether something is there to be taken. Call it with the condition held."""
        return self._cut or self._input is not None or self._ended

    def put(self, ready: ModelInput) -> bool:
        """Hand an input over, a copy of its own; return whether more are wanted."""
        with self.changed:
            if self.live:
                self.dropped["newer"] += self._input is not None
            else:
                self.changed.wait_for(lambda: self._closed or self._input is None)
            if self._closed:
                self.dropped["stopped"] += 1
                return False
            if self._waiting_since_s is None:
                self._waiting_since_s = time.monotonic()
            self._input = ready
            self.changed.notify_all()
            return True

    def cut(self) -> None:
        """Hand a break over, at once for a live stream: an input that waits is dropped."""
        with self.changed:
            if self.live:
                self.dropped["cut"] += self._input is not None
                self._input = self._waiting_since_s = None
            else:
                self.changed.wait_for(lambda: self._closed or self._input is None)
            self._cut = True
            self.changed.notify_all()

    def end(self) -> None:
        """Say that nothing follows; what waits is still taken, unless the slot is closed."""
        with self.changed:
            self._ended = True
            self.changed.notify_all()

    def close(self) -> None:
        """Drop what waits, and say that nothing more is wanted."""
        with self.changed:
            self._closed = True
            if self._input is not None:
                self.dropped["stopped"] += 1
            self._input, self._ended = None, True
            self.changed.notify_all()

    def take(self, max_age_s: float | None) -> Item | None:
        """Return what comes next; call it with the condition held.

        Args:
            max_age_s: an input of a live stream that is older is dropped; None for no limit.
        """
        now_s = time.monotonic()
        if self._cut:
            self._cut = False
            return Cut()
        ready, self._input = self._input, None
        if ready is not None:
            self.changed.notify_all()
            if self.live and max_age_s is not None and now_s - ready.arrived_s > max_age_s:
                self.dropped["age"] += 1
                self._waiting_since_s = None
                return None
            if self._waiting_since_s is not None:
                self.longest_wait_s = max(self.longest_wait_s, now_s - self._waiting_since_s)
            self._waiting_since_s = None
            return ready
        if self._ended:
            self._ended = False
            return End()
        return None
