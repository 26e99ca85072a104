"""Ends a command on a signal, or on an error of the machine, which is reported in one line."""

from __future__ import annotations

import errno
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from mar_edge.cli.second_signal import end_at_second
from mar_edge.cli.standard_streams import print_line
from mar_edge.errors import MarEdgeError

STOPS = (signal.SIGTERM, signal.SIGHUP)
"""Signals of a service manager and of a closing terminal."""

_FULL = "Make room, or choose another path"
_NEXT_STEPS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: "Choose a path that can be written to",
    errno.EACCES: "Choose a path that you may read and write",
    errno.EPERM: "Choose a path that you may read and write",
    errno.EIO: "Check the disk, or choose another path",
    errno.EMFILE: "Raise the limit with: ulimit -n 1024",
    errno.ENFILE: "Close other programs",
    errno.ENOMEM: "Close other programs",
}
"""Errors of the machine; any other OSError is a bug of mar-edge, and keeps its traceback."""


_received: list[int] = []
_unhandled = threading.Lock()
"""Taken by the first signal: in one step, because a second one can interrupt the handler of the first anywhere."""


def exit_on_signals() -> None:
    """Let the first signal end the process after cleaning up, with 128 + its number, and a second one at once."""

    def leave(number: int) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    _on_first((signal.SIGINT, *STOPS), leave)
    end_at_second((signal.SIGINT, *STOPS))


def stopped_by() -> int | None:
    """Return the signal that `exit_on_signals` is ending the process for; None if none came.

    A library that is interrupted may turn the exit into an error of its own.
    """
    return _received[0] if _received else None


def code_of_interruption(error: ImportError) -> int | None:
    """Return the exit code if an error comes from a signal: a library whose loading is interrupted raises it; otherwise None."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, (KeyboardInterrupt, SystemExit)):
        seen = seen.__cause__ or seen.__context__
    if seen is None or not _received:
        return None
    return 130 if isinstance(seen, KeyboardInterrupt) else 128 + _received[0]


def interrupt_on_signals() -> None:
    """Handle SIGTERM and SIGHUP like Ctrl-C."""

    def interrupt(_number: int) -> None:
        raise KeyboardInterrupt

    _on_first(STOPS, interrupt)


def _on_first(signals: Sequence[signal.Signals], act: Callable[[int], Any]) -> None:
    """Act on the first signal. Those that follow do not disturb the cleaning up."""

    def handle(number: int, _frame: FrameType | None) -> None:
        _received.append(number)
        if _unhandled.acquire(blocking=False):
            act(number)

    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        return
    for one in signals:
        if signal.getsignal(one) is not signal.SIG_IGN:  # as set by nohup
            signal.signal(one, handle)


def one_line(error: BaseException) -> str | None:
    """Return the line to print for an error; None for a bug of mar-edge."""
    if isinstance(error, MarEdgeError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "there is not enough memory. Close other programs"
    if isinstance(error, OSError) and error.errno in _NEXT_STEPS:
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror}. {_NEXT_STEPS[error.errno]}"
    return None


def print_thread_errors_in_one_line() -> None:
    """Print an error of the machine in a thread as one line, unless its owner raises it again."""

    def tell(failed: threading.ExceptHookArgs) -> None:
        line = one_line(failed.exc_value) if failed.exc_value is not None else None
        if type(failed.thread).__module__.startswith("tensorboard."):
            return  # its writer keeps the error for the next call
        if line is None:
            threading.__excepthook__(failed)
        else:
            print_line(f"mar-edge: {line}")

    threading.excepthook = tell
