"""The live view in the terminal: top labels as bars for one stream, a table for several; rates, latency, drops, events."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Literal

from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mar_edge.console import Console, literal
from mar_edge.counting import counted
from mar_edge.runtime.results import EventEnded, EventStarted, Prediction, StreamStatus

BAR_CELLS = 32
RATE_S = 2.0
"""Frame rates are taken over this time."""

FRAMES = ("source", "invalid")
"""Causes for which frames are dropped, and not windows."""

_COLUMNS: dict[str, tuple[Literal["left", "right"], int]] = {
    "stream": ("left", 0),
    "state": ("left", 0),
    "recognised": ("left", 0),
    "score": ("right", 60),
    "frames/s": ("right", 70),
    "latency": ("right", 90),
    "dropped": ("left", 60),
    "reconnects": ("right", 110),
}
"""Columns of the table: their side, and the width of a terminal that has room for them."""

_WHOLE = ("state", "score", "frames/s", "latency", "reconnects")
_ADDRESS = re.compile(r"^[a-z]+://(?:\*\*\*@)?(?=.)")

_STATE_STYLES = {"connecting": "dim", "live": "green", "lost": "bold red", "ended": "dim"}


class LiveView:
    """Draws the state of all streams in place.

    Args:
        title: of the frame.
        foot: below it.
        console: the console to draw on.
    """

    def __init__(self, title: str, foot: str, console: Console) -> None:
        self._title, self._foot, self._console = title, foot, console
        self._predictions: dict[str, Prediction] = {}
        self._running: dict[str, EventStarted] = {}
        self._masks: dict[str, int] = {}  # the first mask of each stream, which the foot tells
        self._events: deque[EventEnded] = deque(maxlen=4)
        self._rates: dict[str, deque[tuple[float, int]]] = {}
        self._live = Live(
            console=console, auto_refresh=False, transient=False, redirect_stdout=False, redirect_stderr=False
        )
        self._drawing = console.drawing(self._live)

    def __enter__(self) -> LiveView:
        """Start drawing."""
        self._drawing.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing; the last state stays visible."""
        self._drawing.__exit__(kind, error, trace)

    def note(self, record: Prediction | EventStarted | EventEnded) -> None:
        """Take over a result, without drawing."""
        if isinstance(record, Prediction):
            self._predictions[record.stream] = record
            self._masks.setdefault(record.stream, record.mask)
        elif isinstance(record, EventStarted):
            self._running[record.stream] = record
        else:
            self._running.pop(record.stream, None)
            self._events.append(record)

    def draw(self, streams: Sequence[StreamStatus]) -> None:
        """Draw the present state."""
        self._live.update(self.picture(streams), refresh=True)

    def picture(self, streams: Sequence[StreamStatus]) -> Panel:
        """Return what `draw` draws."""
        now_s = time.monotonic()
        for one in streams:
            seen = self._rates.setdefault(one.stream, deque())
            seen.append((now_s, one.frames))
            while len(seen) > 2 and now_s - seen[0][0] > RATE_S:
                seen.popleft()
        body: list[RenderableType] = [self._one(streams[0]) if len(streams) == 1 else self._table(streams)]
        several = len(streams) > 1
        for event in self._events:
            where = f"{event.stream}  " if several else ""
            line = f"{event.start_s:7.2f} - {event.end_s:.2f} s  {where}{event.label}  {event.score:.2f}"
            body.append(literal(line, style="cyan"))
        for started in self._running.values():
            where = f"{started.stream}  " if several else ""
            body.append(literal(f"{started.start_s:7.2f} -        s  {where}{started.label}", style="bold cyan"))
        return Panel(
            Group(*body),
            title=literal(self._title),
            subtitle=literal(self._foot),
            title_align="left",
            subtitle_align="left",
            width=None if several else 78,
        )

    def _one(self, stream: StreamStatus) -> Group:
        shown = self._predictions.get(stream.stream)
        bars = Table.grid(padding=(0, 1))
        for rank, (label, score) in enumerate(shown.top if shown else ()):
            style = "bold green" if rank == 0 else "dim"
            filled = round(score * BAR_CELLS)
            bar = literal("█" * filled, style="green" if rank == 0 else "blue") + literal(
                "░" * (BAR_CELLS - filled), style="dim"
            )
            bars.add_row(literal(label, style=style), bar, f"{score:5.1%}")
        if shown is None:
            bars.add_row(literal("filling the window …" if stream.frames else f"{stream.state} …", style="dim"))
        state = f"{stream.source_s:7.2f} s   {self._rate(stream)} frames/s   latency {_latency(shown)}   {drops(stream.dropped)}"
        if stream.reconnects:
            state += f"   reconnects {stream.reconnects}"
        if shown is not None and shown.mask != self._masks[shown.stream]:
            state += f"   mask {shown.mask} %"
        if shown is not None and shown.warm < 1:
            state += f"   {shown.warm:.0%} of the window seen"
        if shown is not None and shown.reused:
            state += "   still"
        if shown is not None and shown.truth is not None:
            state += f"   scripted: {shown.truth}"
        lost = [literal(f"{stream.state}: {stream.message}", style="bold red")] if stream.state == "lost" else []
        return Group(bars, literal(""), literal(state), *lost)

    def _table(self, streams: Sequence[StreamStatus]) -> Table:
        table = Table(box=None, pad_edge=False)
        columns = [name for name, (_, needed) in _COLUMNS.items() if self._console.width >= needed]
        for name in columns:
            # a narrow terminal shortens names and labels, which are still told apart then; half a number would be wrong
            table.add_column(name, justify=_COLUMNS[name][0], no_wrap=name in _WHOLE)
        for one in streams:
            shown = self._predictions.get(one.stream) if one.state != "lost" else None  # not what it showed before
            cells: dict[str, RenderableType] = {
                "stream": literal(_short(one.stream)),
                "state": _state(one),
                "recognised": literal(shown.label if shown else "-", style="bold green"),
                "score": f"{shown.score:.1%}" if shown else "-",
                "frames/s": self._rate(one),
                "latency": _latency(shown),
                "dropped": drops(one.dropped).removesuffix(" dropped"),
                "reconnects": str(one.reconnects),
            }
            table.add_row(*(cells[name] for name in columns))
        return table

    def _rate(self, stream: StreamStatus) -> str:
        (first_s, first), (last_s, last) = self._rates[stream.stream][0], self._rates[stream.stream][-1]
        return f"{(last - first) / (last_s - first_s):.0f}" if last_s > first_s else "-"


def _short(name: str) -> str:
    """Return the part of an address in which cameras differ."""
    return _ADDRESS.sub("", name, count=1)


def _state(stream: StreamStatus) -> Text:
    why = f" ({stream.code})" if stream.code else ""
    return literal(f"{stream.state}{why}", style=_STATE_STYLES[stream.state])


def _latency(prediction: Prediction | None) -> str:
    return f"{prediction.latency_ms:.0f} ms" if prediction else "-"


def drops(dropped: Mapping[str, int]) -> str:
    """Return what was lost in words, as `0 dropped` or `3 frames and 1 window dropped`."""
    frames = sum(count for cause, count in dropped.items() if cause in FRAMES)
    windows = sum(dropped.values()) - frames
    return f"{counted(frames, 'frame')} and {counted(windows, 'window')} dropped" if windows else f"{frames} dropped"
