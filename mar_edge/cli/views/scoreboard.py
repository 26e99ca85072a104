"""Compares recognition with the script of sources that have one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rich.table import Table

from mar_edge.console import Console, literal
from mar_edge.counting import counted


@dataclass
class _Segment:
    label: str
    start_s: float
    end_s: float
    seen: Counter[str] = field(default_factory=Counter)


class Scoreboard:
    """Compares predictions with a script.

    A window that spans two moves of the script has no single right answer; only windows within one
    move count.

    Args:
        window_s: length of a window in seconds.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._segments: list[_Segment] = []

    @property
    def total(self) -> int:
        """Number of counted predictions."""
        return sum(segment.seen.total() for segment in self._segments)

    @property
    def agreement(self) -> float:
        """Share of them that agree with the script."""
        return sum(segment.seen[segment.label] for segment in self._segments) / max(1, self.total)

    def add(self, time_s: float, truth: str, since_s: float, label: str) -> None:
        """Add a prediction.

        Args:
            time_s: when its window ends, seconds.
            truth: what is shown then.
            since_s: since when.
            label: what was recognised.
        """
        if not self._segments or self._segments[-1].start_s != since_s:
            if self._segments:
                self._segments[-1].end_s = since_s
            self._segments.append(_Segment(truth, since_s, time_s))
        segment = self._segments[-1]
        segment.end_s = time_s
        if time_s - self._window_s >= since_s:
            segment.seen[label] += 1

    def print(self, console: Console) -> None:
        """Print the comparison."""
        table = Table(title="Scripted and recognised moves", title_justify="left")
        for column, justify in (("time", "right"), ("scripted", "left"), ("recognised", "left"), ("agreed", "right")):
            table.add_column(column, justify=justify)  # type: ignore[arg-type]
        for segment in self._segments:
            seen = segment.seen.total()
            said = ", ".join(f"{label} {count}" for label, count in segment.seen.most_common(3)) or "-"
            share = f"{segment.seen[segment.label]}/{seen}"
            style = "green" if seen and segment.seen[segment.label] > seen / 2 else "red"
            table.add_row(
                f"{segment.start_s:.1f}-{segment.end_s:.1f} s",
                segment.label,
                said,
                literal(share, style=style),
            )
        console.print(table)
        console.print(
            literal("Agreed: ")
            + literal(f"{self.agreement:.1%}", style="bold")
            + f" of {counted(self.total, 'prediction')} that lie {self._window_s:g} s or more within a move."
        )
