"""Standard streams that may be closed or full: output never ends a command with a traceback.

stdout carries results, so a failed write there is an error in one line. stderr carries messages for people,
which are dropped if it cannot be written.

Whatever Python code writes there, such as messages of libraries, warnings and tracebacks, loses its control characters, see
`printable`. Only a console may move the cursor and set colours.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from mar_edge.errors import OutputError
from mar_edge.printable import printable, printable_lines


def ignore_zero_width() -> None:
    """Take a width of 0 as unknown, as terminals mean it; rich and typer would print nothing."""
    for name in ("COLUMNS", "LINES"):
        if os.environ.get(name, "").strip("0 ") == "":
            os.environ.pop(name, None)


class _Stream(io.TextIOWrapper):
    """A text stream that reports one failure, and drops all later text.

    Python would try to write buffered text again at exit, and fail again. Failures are handled at this level, and
    not below the buffer: with a signal in between, the buffer would be written twice.
    """

    def __init__(self, descriptor: int, encoding: str, fail: Callable[[OSError], None]) -> None:
        super().__init__(
            io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)),
            encoding=encoding,
            errors="replace",  # characters that the terminal does not support become question marks
            line_buffering=descriptor == 2 or os.isatty(descriptor),
        )
        self._fail = fail

    @property
    def rich_proxied_file(self) -> _Terminal:
        """The stream for rich's consoles, which look for this name."""
        return _Terminal(self)

    def write(self, text: str, /) -> int:
        """Write text with its control characters as escapes."""
        self.write_unchanged(printable_lines(text))
        return len(text)

    def write_unchanged(self, text: str) -> None:
        """Write text that may contain control sequences."""
        with self._failing():
            super().write(text)

    def flush(self) -> None:
        """Write the buffered text."""
        with self._failing():
            super().flush()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            self._fail(error)


class _Terminal:
    """A stream for a console, whose own control sequences stay."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write_unchanged(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def print_line(line: str, *, stdout: bool = False) -> None:
    """Print one line of text where no console is needed: an error, or a line of a short list."""
    print(printable(line), file=sys.stdout if stdout else sys.stderr)


def open_standard_streams() -> None:
    """Ensure that stdin, stdout and stderr are open, and handle their failures here.

    A closed one gets the null device: otherwise the next opened file would get its descriptor, and the output of a library
    would be written to that file.
    """
    if sys.stdin is None:
        sys.stdin = open(_descriptor(0, os.O_RDONLY), closefd=False)  # noqa: SIM115 - stays open
    if sys.stdout is sys.__stdout__:
        # open for reading: writing fails, as it should without a stdout
        sys.stdout = _Stream(_descriptor(1, os.O_RDONLY), _encoding(sys.stdout), _fail)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _Stream(_descriptor(2, os.O_WRONLY), _encoding(sys.stderr), lambda _error: None)


def _descriptor(number: int, flags: int) -> int:
    """Return a standard descriptor, or a null device in its place if it is closed."""
    closed = (sys.stdin, sys.stdout, sys.stderr)[number] is None
    try:
        os.fstat(number)
        if not closed:
            return number
        return os.open(os.devnull, flags)  # another file uses the descriptor
    except OSError:
        found = os.open(os.devnull, flags)
        if found != number:
            os.dup2(found, number)
            os.close(found)
        os.set_inheritable(number, True)
        return number


def _encoding(stream: TextIO | None) -> str:
    return "utf-8" if stream is None else stream.encoding


def _fail(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        raise OutputError("the reader of stdout has closed the pipe") from error
    raise OutputError(f"cannot write to stdout: {error.strerror}. Redirect it to another file") from error
