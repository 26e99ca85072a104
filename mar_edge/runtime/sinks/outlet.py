"""A sink in a thread of its own, behind a bounded queue: a slow or broken one never stops recognition."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, get_args

from mar_edge.errors import MarEdgeError, OptionError, OutputError
from mar_edge.runtime.backoff import Backoff
from mar_edge.runtime.results import Kind, Notice, Record
from mar_edge.runtime.sinks.sink import Sink

DEPTH = 256
"""Records that may wait for a sink."""

FRAMES = 8
"""Frames among them: one at 1080p may hold 6 MB."""


class _Waiting(NamedTuple):
    record: Record
    keep: bool


class Outlet:
    """Feeds one sink.

    Of a live stream, what does not fit is dropped, and counted by kind: the oldest frame, prediction or notice; an event
    only if nothing but events waits. A stream that waits, as a file does, is held by `wait_for_room`, and loses nothing; its
    records are counted apart, so that live ones do not replace them.
    A record that the sink can write later is tried again, with longer and longer pauses, and what follows waits behind it.
    A sink that fails for good is disabled.

    Args:
        sink: what to feed; `close` closes it.
        notify: called when records are lost, when the sink fails, and when it works again; from any thread.
        depth: records that may wait, of live streams and of those that wait for each.
        frames: frames among them.
        backoff: pauses between attempts.

    Attributes:
        name: of the sink.
        written: records that the sink took.
        retries: attempts that failed and were repeated.
        dropped: records that never reached the sink, by kind.
        failure: why it is disabled; None if it is not.

    Raises:
        OptionError: if it is no sink, or wants a kind of record that does not exist.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        notify: Callable[[Notice], None],
        depth: int = DEPTH,
        frames: int = FRAMES,
        backoff: Backoff | None = None,
    ) -> None:
        if lacking := [part for part in ("name", "wants", "write", "close") if not hasattr(sink, part)]:
            raise OptionError(f"{sink!r} is not a sink: it has no {', no '.join(lacking)}. See mar_edge.Sink")
        self.name = sink.name
        self.wants = _kinds(sink)
        self.written = 0
        self.retries = 0
        self.dropped: Counter[str] = Counter()
        self.failure: OutputError | None = None
        self._sink = sink
        self._notify = notify
        self._depth, self._frames = depth, frames
        self._backoff = backoff or Backoff()
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._writing: Record | None = None
        self._closing = False
        self._disabled = False
        self._left = False
        self._ended = threading.Event()
        self._told_dropped = False
        self._thread = threading.Thread(target=self._feed, name=f"mar-edge writes {sink.name}", daemon=True)
        self._thread.start()

    def put(self, record: Record, *, keep: bool = False) -> None:
        """Queue a record; never waits.

        Args:
            record: of a kind that the sink wants.
            keep: queue it even if the queue is full; for streams that call `wait_for_room`.
        """
        with self._changed:
            if self._disabled or self._closing:
                self.dropped[record.kind] += 1
                return
            self._waiting.append(_Waiting(record, keep))
            lost = None if keep else self._make_room()
            self._changed.notify_all()
        if lost is not None and not self._told_dropped:
            self._told_dropped = True
            self._say(f"{self.name} is too slow; some of its records ({lost.kind}s) are dropped")

    def wait_for_room(self, timeout_s: float | None = None) -> bool:
        """Wait until the queue has room, or the sink fails or is closed; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._disabled or self._closing or not self._is_full(), timeout_s)

    def counts(self) -> Mapping[str, int]:
        """Return `queued`, `written`, `retries`, and `dropped_KIND` for every kind that was lost here or in the sink."""
        dropped = {f"dropped_{kind}": count for kind, count in sorted(self.lost().items())}
        with self._changed:
            return {"queued": len(self._waiting), "written": self.written, "retries": self.retries, **dropped}

    def unfinished(self) -> int:
        """Return how many records wait, the one that is being written included."""
        with self._changed:
            return len(self._waiting) + (self._writing is not None)

    def lost(self) -> Counter[str]:
        """Return the records that were lost by kind: those in `dropped`, and those that the sink itself has dropped."""
        own = getattr(self._sink, "dropped", None)
        with self._changed:
            lost = Counter(self.dropped)
        if isinstance(own, Mapping):
            lost.update(Counter(own))  # a copy: the sink counts meanwhile
        return +lost

    def finish(self) -> None:
        """Take nothing more, and let the sink take what waits; does not wait."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def close(self, timeout_s: float | None) -> bool:
        """Let the sink take what waits, and close it. Called by the sink itself, it takes effect after the call.

        Args:
            timeout_s: how long to wait; None for as long as it takes. A sink that is away is not waited for.

        Returns:
            Whether it is closed. One that hangs is left behind, and what it holds up counts as dropped; it is not waited
            for again.
        """
        self.finish()
        if self._thread is threading.current_thread():
            return True
        # not by `join`: up to Python 3.12 a Ctrl-C in it marks a thread that runs as ended (bpo-45274)
        if self._ended.wait(0 if self._left else timeout_s):
            self._thread.join()
            return True
        self._left = True
        with self._changed:
            if not self._disabled and self._writing is not None:
                self.dropped[self._writing.kind] += 1
            self._disabled = True
            self._drop_all()
            self._changed.notify_all()
        return False

    def _is_full(self) -> bool:
        kept = [one for one in self._waiting if one.keep]
        return len(kept) >= self._depth or sum(one.record.kind == "frame" for one in kept) >= self._frames

    def _make_room(self) -> Record | None:
        """Drop a record of a live stream if there are too many of them; return it."""
        live = [(place, one.record) for place, one in enumerate(self._waiting) if not one.keep]
        frames = [(place, record) for place, record in live if record.kind == "frame"]
        if len(frames) > self._frames:
            place, lost = frames[0]
        elif len(live) > self._depth:
            place, lost = next(((place, record) for place, record in live if record.kind != "event"), live[0])
        else:
            return None
        del self._waiting[place]
        self.dropped[lost.kind] += 1
        return lost

    def _drop_all(self) -> None:
        self.dropped.update(one.record.kind for one in self._waiting)
        self._waiting.clear()

    def _feed(self) -> None:
        try:
            while (record := self._next()) is not None:
                self._write(record)
        except BaseException as error:  # such as sys.exit in the user's own code, which ends this thread alone
            self._disable(OutputError(f"{type(error).__name__}: {error}"))
        finally:
            try:
                self._close_sink()
            finally:
                self._ended.set()

    def _next(self) -> Record | None:
        with self._changed:
            self._writing = None
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            self._writing = self._waiting.popleft().record
            self._changed.notify_all()
            return self._writing

    def _write(self, record: Record) -> None:
        """Write a record, however often it has to be tried."""
        while not self._disabled:
            try:
                self._sink.write(record)
            except OutputError as error:
                if not error.retry:
                    self._disable(error)
                    return
                if not self._wait_to_retry(str(error)):
                    self.dropped[record.kind] += 1
                    return
            except Exception as error:  # a sink may be the user's own code
                said = str(error) if isinstance(error, MarEdgeError) else f"{type(error).__name__}: {error}"
                self.dropped[record.kind] += 1
                if self._backoff.attempts == 0:
                    self._say(f"{self.name} failed and lost a {record.kind}: {said}")
                self._backoff.attempts += 1
                return
            else:
                self.written += 1
                if self._backoff.attempts:
                    self._backoff.reset()
                    self._say(f"{self.name} works again")
                return

    def _wait_to_retry(self, why: str) -> bool:
        """Wait before the next attempt; return whether there is one."""
        if self._backoff.attempts == 0:
            self._say(f"{self.name} cannot be written: {why}. Trying again")
        pause_s = self._backoff.next_s()
        self.retries += 1
        with self._changed:
            if self._closing:
                return False
            end_s = time.monotonic() + pause_s
            self._changed.wait_for(lambda: self._closing, max(0.0, end_s - time.monotonic()))
        return True

    def _disable(self, error: OutputError) -> None:
        with self._changed:
            self._disabled = True
            self.failure = error
            if self._writing is not None:
                self.dropped[self._writing.kind] += 1
            self._drop_all()
            self._changed.notify_all()
        self._say(f"{self.name} failed and is disabled: {error}")

    def _close_sink(self) -> None:
        try:
            self._sink.close()
        except Exception as error:  # as above
            self._say(f"{self.name} could not be closed: {error}")

    def _say(self, message: str) -> None:
        self._notify(Notice(stream=self.name, code="output", message=message))


def _kinds(sink: Sink) -> frozenset[Kind]:
    wants: object = sink.wants
    known: tuple[Kind, ...] = get_args(Kind)
    if isinstance(wants, str) or not isinstance(wants, Iterable) or not set(wants) <= set(known):
        raise OptionError(f"{sink.name} wants {wants!r}; its 'wants' must be a set of {', '.join(known)}")
    return frozenset(wants)
