"""What a person sees and hears while clips are recorded: one line that is drawn in place, and a bell."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.live import Live

from mar_edge.console import Console, literal

COUNTED_S = 3
"""Seconds that are counted down aloud."""

_EVERY_S = 0.1
_BAR_CELLS = 20


class RecordingView:
    """A line on the state of a recording, where stderr is a terminal; messages appear above it.

    Args:
        title: of the line.
        keys: the keys that a person may press; empty for none.

    Attributes:
        text: what the line says besides its title and the keys.
    """

    def __init__(self, title: str, keys: str) -> None:
        self.console = Console()
        self.text = ""
        self._title, self._keys = title, keys
        self._live: Live | None = None
        self._shown = ""
        self._counted = 0
        self._drawn_s = 0.0

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Draw the line until the end, where it disappears."""
        if not self.console.is_terminal:
            yield
            return
        self._live = Live(
            console=self.console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        try:
            with self.console.drawing(self._live):
                yield
        finally:
            self._live = None

    def say(self, line: str, style: str | None = None) -> None:
        """Print a line."""
        self.console.say(line, style)

    def bell(self) -> None:
        """Let the terminal ring."""
        if self.console.is_terminal:
            self.console.bell()

    def connecting(self, name: str) -> None:
        """Show that the source is being opened."""
        self._show(f"opening {name}", "dim")

    def waiting(self, counts: str) -> None:
        """Show that a key is waited for."""
        self._show(counts, "green")

    def counting_down(self, counts: str, left_s: float) -> None:
        """Show when the next clip begins, and ring for each of the last seconds.

        Args:
            counts: how many clips there are.
            left_s: time until then, seconds.
        """
        left = max(1, math.ceil(left_s))
        if left > COUNTED_S:
            self._show(f"{counts}  next clip in {left} s", "yellow")
        else:
            self._show(f"{counts}  " + " ".join(str(one) for one in range(COUNTED_S, left - 1, -1)), "bold yellow")
            if left != self._counted:
                self.bell()
        self._counted = left

    def recording(self, counts: str, recorded_s: float, length_s: float) -> None:
        """Show how far a clip is.

        Args:
            counts: how many clips there are.
            recorded_s: how much of it is recorded, seconds.
            length_s: its length, seconds.
        """
        cells = min(_BAR_CELLS, int(_BAR_CELLS * recorded_s / length_s))
        bar = "#" * cells + "-" * (_BAR_CELLS - cells)
        self._counted = 0
        self._show(f"{counts}  RECORDING {bar} {recorded_s:.1f} of {length_s:g} s", "bold red")

    def _show(self, text: str, style: str) -> None:
        self.text = text
        now_s = time.monotonic()
        if self._live is None or text == self._shown or now_s - self._drawn_s < _EVERY_S:
            return
        self._shown, self._drawn_s = text, now_s
        line = literal(f"{self._title}: ", style="bold").append_text(literal(text, style=style))
        line.no_wrap = True
        if self._keys:
            line.append_text(literal("", f"  {self._keys}", style="dim"))
        self._live.update(line, refresh=True)
