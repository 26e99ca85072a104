"""How a command ends that cannot end by itself: by a signal, or by an error of the machine, told in one line."""

from __future__ import annotations

import errno
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from mar_edge.errors import MarEdgeError

STOPS = (signal.SIGTERM, signal.SIGHUP)
"""What a service manager sends, and a terminal that closes."""

_FULL = "Make room, or choose another place"
_NEXT_STEPS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: "Choose a place that can be written to",
    errno.EACCES: "Choose a place that you may read and write",
    errno.EPERM: "Choose a place that you may read and write",
    errno.EIO: "Look at the disk, or choose another place",
    errno.EMFILE: "Raise the limit with: ulimit -n 1024",
    errno.ENFILE: "Close other programs",
    errno.ENOMEM: "Close other programs",
}
"""Errors of the machine; any other OSError is a fault of ours, and keeps its traceback."""


def exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the process with 128 + their number, and everything be cleaned up."""
    _on_stops(lambda number: sys.exit(128 + number))


def interrupt_on_signals() -> None:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, but only once: a terminal may send several while the rest is written."""

    def interrupt(_number: int) -> None:
        for stop in STOPS:
            signal.signal(stop, signal.SIG_IGN)
        raise KeyboardInterrupt

    _on_stops(interrupt)


def _on_stops(act: Callable[[int], Any]) -> None:
    def handle(number: int, _frame: FrameType | None) -> None:
        act(number)

    if threading.current_thread() is not threading.main_thread():  # signals go nowhere else
        return
    for stop in STOPS:
        if signal.getsignal(stop) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(stop, handle)


def one_line(error: BaseException) -> str | None:
    """Return what to print of an error; None for a fault of ours."""
    if isinstance(error, MarEdgeError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "there is not enough memory. Close other programs"
    if isinstance(error, OSError) and error.errno in _NEXT_STEPS:
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror}. {_NEXT_STEPS[error.errno]}"
    return None


def print_thread_errors_in_one_line() -> None:
    """Let an error of the machine in a thread be one line, and none where its owner raises it again."""

    def tell(failed: threading.ExceptHookArgs) -> None:
        line = one_line(failed.exc_value) if failed.exc_value is not None else None
        if type(failed.thread).__module__.startswith("tensorboard."):
            return  # its writer keeps the error for the next call
        if line is None:
            threading.__excepthook__(failed)
        else:
            print(f"mar-edge: {line}", file=sys.stderr)

    threading.excepthook = tell
