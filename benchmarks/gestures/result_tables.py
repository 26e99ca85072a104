"""Results of the gestures' measurements as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from judging import Answers
from numpy.typing import NDArray

from mar_edge.evaluation.intervals import Interval


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(share: float) -> str:
    """Return a share, such as `90.1 %`."""
    return f"{100 * share:.1f} %"


def between(interval: Interval) -> str:
    """Return an interval of a share, such as `85.0 to 93.8 %`."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def summary(answers: Mapping[str, Answers]) -> str:
    """Return top-1 and macro recall of each way to answer, with their intervals."""
    head = ["answer", "clips", "top-1", "95 % (Wilson)", "95 % (by scene)", "macro recall", "95 % (by scene)"]
    rows = [
        [
            name,
            str(len(one.truths)),
            f"**{percent(one.top1)}**",
            between(one.top1_interval95),
            between(one.top1_interval95_by_group),
            f"**{percent(one.macro_recall)}**",
            between(one.macro_interval95),
        ]
        for name, one in answers.items()
    ]
    return table(head, rows)


def recalls(answers: Mapping[str, Answers]) -> str:
    """Return the recall of every class, with its interval (Wilson), for each way to answer."""
    head = ["class", "clips", *(part for name in answers for part in (f"{name}: recall", "95 % (Wilson)"))]
    rows = []
    for parts in zip(*(one.per_class for one in answers.values()), strict=True):
        row = [parts[0].label, str(parts[0].clips)]
        for part in parts:
            told = part.accuracy is not None and part.interval95 is not None
            row += [percent(part.accuracy or 0.0), between(part.interval95 or (0, 0))] if told else ["no clips", ""]
        rows.append(row)
    return table(head, rows)


def confusion(rows: Sequence[str], columns: Sequence[str], counts: NDArray[np.int64]) -> str:
    """Return a confusion table: what clips show downwards, what was answered across, in clips."""
    body = [
        [row, *(str(count) if count else "·" for count in line), str(int(line.sum()))]
        for row, line in zip(rows, counts, strict=True)
    ]
    return table(["shown \\ answered", *columns, "clips"], body)


def quantile(times_s: Sequence[float], share: float, count: int | None = None) -> str:
    """Return a quantile of times; what is missing up to `count` counts as endless."""
    count = len(times_s) if count is None else count
    rank = min(int(share * count), count - 1)
    return f"{sorted(times_s)[rank]:.2f} s" if 0 <= rank < len(times_s) else "never"


def give(text: str, out: Path | None) -> None:
    """Print a page, and write it to a file if there is one."""
    print(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
