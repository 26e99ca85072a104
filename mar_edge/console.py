"""The console: everything that the command line prints for people goes through it, as text and nothing else.

rich reads markup (`[red]`, `[link=...]`) and emoji codes in strings, and passes control sequences on to the terminal. Here
a string is one line of literal text, see `printable`. Colours come only from styles that our code gives.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO

import rich.console
from rich.live import Live
from rich.progress import Progress, ProgressColumn, Task
from rich.segment import Segment
from rich.text import Text

from mar_edge.printable import printable, printable_lines


def literal(*lines: str, style: str = "") -> Text:
    """Return literal text with a style, for cells and titles; each argument is one line."""
    return Text("\n".join(map(printable, lines)), style=style)


class Console(rich.console.Console):
    """A console on which every string is one line of literal text.

    Args:
        stderr: print to stderr, for people; otherwise to stdout.
        file: print to this file instead.
        options: of rich's console, such as `width`.
    """

    def __init__(self, *, stderr: bool = True, file: IO[str] | None = None, **options: Any) -> None:
        stream = sys.stderr if stderr else sys.stdout
        super().__init__(
            stderr=stderr,
            # the command line's own streams escape control sequences, except those of a console
            file=file or getattr(stream, "rich_proxied_file", stream),
            markup=False,
            emoji=False,
            highlight=False,
            **options,
        )

    def say(self, line: str, style: str | None = None) -> None:
        """Print one line; it is not wrapped, so that it can be searched and copied."""
        self.print(line, style=style, soft_wrap=True)

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string to literal text."""
        return super().render_str(printable(text), **{**options, "markup": False, "emoji": False, "highlight": False})

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of anything that rich can draw, without control characters of its texts."""
        for segment in super().render(renderable, options):
            if segment.control:  # of rich, such as moving the cursor
                yield segment
            else:
                yield segment._replace(text=printable_lines(segment.text))

    @contextmanager
    def drawing(self, display: Live | Progress) -> Iterator[None]:
        """Keep something drawn in place; lines that are written to the standard streams meanwhile appear above it.

        Args:
            display: created with `redirect_stdout=False, redirect_stderr=False`: rich would read their colours and links.
        """
        streams = sys.stdout, sys.stderr
        if self.is_terminal:
            sys.stdout, sys.stderr = (_Above(self, stream) for stream in streams)
        try:
            with display:
                yield
        finally:
            for above in (sys.stdout, sys.stderr):
                if isinstance(above, _Above):
                    above.close()
            sys.stdout, sys.stderr = streams

    @contextmanager
    def bar(self, *columns: ProgressColumn, **options: Any) -> Iterator[Progress]:
        """Draw a progress bar.

        Args:
            columns: its columns; `Field` for texts.
            options: of rich's `Progress`.
        """
        bar = Progress(*columns, console=self, redirect_stdout=False, redirect_stderr=False, **options)
        with self.drawing(bar):
            yield bar


class Field(ProgressColumn):
    """A column of a progress bar with a text of the task.

    Args:
        name: of a field of the task; by default its description.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__()
        self._name = name

    def render(self, task: Task) -> Text:
        """Return the text."""
        return literal(task.description if self._name is None else str(task.fields[self._name]))


class _Above(io.TextIOBase):
    """A standard stream while something is drawn in place: its lines are printed above the drawing."""

    def __init__(self, console: Console, stream: TextIO) -> None:
        self._console, self._stream = console, stream
        self._rest = ""

    def write(self, content: str, /) -> int:
        *lines, self._rest = (self._rest + content).split("\n")
        for line in lines:
            self._console.say(line)
        return len(content)

    def close(self) -> None:
        if self._rest:
            self._console.say(self._rest)
            self._rest = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
