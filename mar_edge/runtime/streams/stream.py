"""Predictions of a source to iterate over, until it ends or is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from types import TracebackType

from mar_edge.reporting import Warn
from mar_edge.runtime.sources.source import Source, Stoppable
from mar_edge.runtime.results import Event, Prediction
from mar_edge.runtime.streams.session import Session


class Stream(Iterator[Prediction]):
    """Predictions of a source in order of time.

    The source is opened with the first prediction, and closed at the end, when the loop is left, and by `stop`.

    Args:
        source: provides the frames.
        session: recognises them.
        on_event: called with every event, including the one that the end of the stream cuts off.
        on_warning: called with what the operator should know.
    """

    def __init__(
        self,
        source: Source,
        session: Session,
        *,
        on_event: Callable[[Event], None] | None = None,
        on_warning: Warn | None = None,
    ) -> None:
        self._source = source
        self._stopped = threading.Event()
        self._running = threading.Lock()  # held while a result is computed
        # a generator without a reference to this object: it is closed as soon as iteration ends
        self._results = _recognise(source, session, self._stopped, on_event, on_warning)

    def __iter__(self) -> Stream:
        """Return itself."""
        return self

    def __next__(self) -> Prediction:
        """Return the next prediction.

        Raises:
            StopIteration: at the end of the source, and once it is stopped.
            SourceError: if the source cannot be opened or read.
        """
        with self._running:
            result = next(self._results)
        if self._stopped.is_set():  # stopped meanwhile, when it could not be closed
            self.stop()
        return result

    def stop(self) -> None:
        """End the stream; any thread may call it, even while another one waits for a prediction.

        The iteration ends after the current inference, and the source is closed. If no thread
        is waiting, it is closed before this returns. Remaining events go to the callbacks, in the thread that closes.
        """
        self._stopped.set()
        if isinstance(self._source, Stoppable):
            self._source.stop()
        if self._running.acquire(blocking=False):
            try:
                self._results.close()
            finally:
                self._running.release()

    close = stop

    def __enter__(self) -> Stream:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


def _recognise(
    source: Source,
    session: Session,
    stopped: threading.Event,
    on_event: Callable[[Event], None] | None,
    on_warning: Warn | None,
) -> Generator[Prediction, None, None]:
    def tell(events: tuple[Event, ...]) -> None:
        if on_event is not None:
            for event in events:
                on_event(event)
        for message in (*source.warnings.take(), *session.warnings.take()):
            if on_warning is not None:
                on_warning(message)

    try:
        with source:
            if stopped.is_set():  # stopped while it was opened, when nothing could be woken yet
                return
            for frame in source:
                if stopped.is_set():
                    return
                result = session.push(
                    frame.picture, frame.time_s, color=frame.color, arrived_s=frame.arrived_s, held=frame.held
                )
                tell(result.events if result else ())
                if result:
                    yield result
    finally:
        tell(session.finish())
