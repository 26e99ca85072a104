"""The hand-over from a stream's reader to the engine's thread."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mar_edge.runtime.streams.feed import ModelInput


@dataclass(frozen=True, slots=True)
class Cut:
    """A break: what comes before it belongs to no event that comes after it."""


@dataclass(frozen=True, slots=True)
class End:
    """Nothing follows."""


Item = ModelInput | Cut | End


class Slot:
    """Holds at most what one frame made ready, an input or several, and the break before it.

    For a live stream the newest one replaces what still waits: a slow engine skips windows, it never thins them out. Of a
    streaming model it skips time steps; their numbers tell the model's state which are missing. A stream that waits, as a
    file does, is held until its inputs are taken.

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
        self._inputs: deque[ModelInput] = deque()
        self._ended = False
        self._closed = False
        self._owes = False  # an input that would have made a prediction was dropped
        self._waiting_since_s: float | None = None

    @property
    def waits(self) -> bool:
        """Whether something is there to be taken. Call it with the condition held."""
        return self._cut or bool(self._inputs) or self._ended

    def put(self, ready: Sequence[ModelInput]) -> bool:
        """Hand over what a frame made ready, copies of its own; return whether more is wanted."""
        with self.changed:
            if self.live:
                self._drop("newer")
            else:
                self.changed.wait_for(lambda: self._closed or not self._inputs)
            if self._closed:
                self.dropped["stopped"] += len(ready)
                return False
            if self._waiting_since_s is None:
                self._waiting_since_s = time.monotonic()
            self._inputs.extend(ready)
            if self._owes:
                self._inputs[-1] = replace(self._inputs[-1], predicts=True)
                self._owes = False
            self.changed.notify_all()
            return True

    def cut(self) -> None:
        """Hand a break over, at once for a live stream: an input that waits is dropped."""
        with self.changed:
            if self.live:
                self._drop("cut")
                self._waiting_since_s = None
            else:
                self.changed.wait_for(lambda: self._closed or not self._inputs)
            self._cut, self._owes = True, False
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
            self._drop("stopped")
            self._ended = True
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
        if self._inputs:
            self.changed.notify_all()
            if self.live and max_age_s is not None and now_s - self._inputs[-1].arrived_s > max_age_s:
                self._drop("age")
                self._waiting_since_s = None
                return None
            ready = self._inputs.popleft()
            if self._waiting_since_s is not None:
                self.longest_wait_s = max(self.longest_wait_s, now_s - self._waiting_since_s)
            self._waiting_since_s = None
            return ready
        if self._ended:
            self._ended = False
            return End()
        return None

    def _drop(self, cause: str) -> None:
        """Drop what waits."""
        self.dropped[cause] += len(self._inputs)
        self._owes |= any(one.predicts for one in self._inputs)
        self._inputs.clear()
