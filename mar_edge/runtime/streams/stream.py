"""Predictions of a source to iterate over, until it ends or is stopped."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType

from mar_edge.reporting import Warn
from mar_edge.runtime.results import Event, EventEnded, EventStarted, Notice, Prediction, Record
from mar_edge.runtime.streams.runner import Runner


class Stream(Iterator[Prediction]):
    """Predictions of the one stream of a runner, in order of time.

    The source is opened with the first prediction, and closed at the end, when the loop is left, and by `stop`. It is read
    and recognised in threads of its own: a loop that is slower than a live source gets the newest prediction each time, with
    the events of those that it missed.

    Args:
        runner: with one stream, not started yet.
        on_event: called with every event, including the one that the end of the stream cuts off.
        on_warning: called with what the operator should know.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        on_event: Callable[[Event], None] | None = None,
        on_warning: Warn | None = None,
    ) -> None:
        self._runner = runner
        self._on_event = on_event
        self._on_warning = on_warning
        self._records = iter(runner)
        self._turn = threading.Lock()  # held while a result is waited for
        self._stopped = False
        weakref.finalize(self, _leave, runner)  # the runner's threads do not know this object

    def __iter__(self) -> Stream:
        """Return itself."""
        return self

    def __next__(self) -> Prediction:
        """Return the next prediction.

        Raises:
            StopIteration: at the end of the source, and once it is stopped.
            SourceError: if the source cannot be opened or read.
            EngineError: if the engine fails.
        """
        with self._turn:
            for record in self._records:
                if isinstance(record, Prediction):
                    return record
                self._tell(record)
        errors = () if self._stopped else self._runner.errors().values()
        self.stop()
        for error in errors:
            raise error
        raise StopIteration

    def stop(self) -> None:
        """End the stream; any thread may call it, even while another one waits for a prediction.

        The iteration ends after the current inference, and the source is closed before this returns, unless it hangs.
        Remaining events go to the callbacks, in the thread that takes the last result.
        """
        self._stopped = True
        self._runner.stop()
        if self._turn.acquire(blocking=False):
            try:
                for record in self._records:
                    self._tell(record)
            finally:
                self._turn.release()

    close = stop

    def __enter__(self) -> Stream:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _tell(self, record: Record) -> None:
        if isinstance(record, (EventStarted, EventEnded)) and self._on_event is not None:
            self._on_event(record)
        elif isinstance(record, Notice) and self._on_warning is not None:
            self._on_warning(record.message)


def _leave(runner: Runner) -> None:
    """Stop a runner whose stream is of no use to anybody any more."""
    if threading.current_thread().name.startswith("mar-edge"):  # which may be one that the runner would wait for
        threading.Thread(target=runner.stop, name="mar-edge stops", daemon=True).start()
    else:
        runner.stop()
