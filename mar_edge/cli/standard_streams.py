"""Standard streams that may be closed, full or gone: what is printed never ends a command with a traceback.

stdout carries results, so that what cannot be written there is an error in one line. stderr carries words for people,
which are dropped where nobody can read them.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from mar_edge.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Output(io.FileIO):
    """A descriptor that fails once, and takes everything from then on.

    Python would try to write what is still buffered again at its end, and fail again.
    """

    def __init__(self, descriptor: int, fail: Callable[[OSError], None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._fail = fail
        self._lost = False

    def write(self, data: ReadableBuffer) -> int:
        """Write bytes; return how many."""
        if not self._lost:
            try:
                return super().write(data)
            except OSError as error:
                self._lost = True
                self._fail(error)
        return memoryview(data).nbytes


def open_standard_streams() -> None:
    """Give stdin, stdout and stderr something behind them, and let failures be handled here.

    What is closed gets the null device: else the next file that is opened would take its number, and whatever a library
    prints would go into that file.
    """
    if sys.stdin is None:
        sys.stdin = open(_descriptor(0, os.O_RDONLY), closefd=False)  # noqa: SIM115 - stays open
    if sys.stdout is sys.__stdout__:
        # open for reading: what is written fails, as it should without a stdout
        sys.stdout = _wrap(sys.stdout, _descriptor(1, os.O_RDONLY), _fail)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _wrap(sys.stderr, _descriptor(2, os.O_WRONLY), lambda _error: None)


def _descriptor(number: int, flags: int) -> int:
    """Return a standard descriptor, or a null device in its place if it is closed."""
    closed = (sys.stdin, sys.stdout, sys.stderr)[number] is None
    try:
        os.fstat(number)
        if not closed:
            return number
        return os.open(os.devnull, flags)  # a file has taken the number
    except OSError:
        found = os.open(os.devnull, flags)
        if found != number:
            os.dup2(found, number)
            os.close(found)
        os.set_inheritable(number, True)
        return number


def _wrap(stream: TextIO | None, descriptor: int, fail: Callable[[OSError], None]) -> TextIO:
    """Return a text stream; what the terminal cannot show becomes a question mark."""
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, fail)),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="replace",
        line_buffering=descriptor == 2 or os.isatty(descriptor),
    )


def _fail(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        raise OutputError("the reader of stdout went away") from error
    raise OutputError(f"cannot write to stdout: {error.strerror}. Send it to another place") from error
