"""The table of several streams, in terminals of any width; and what is printed where there is no terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from mar_edge.cli.views.live_view import LiveView
from mar_edge.cli.views.terminal import Terminal
from mar_edge.console import Console
from mar_edge.runtime.results import Prediction, StreamStatus

CAMERAS = [f"rtsp://***@192.168.1.{number}:554/stream1" for number in (10, 11, 12)]


def drawn(width: int, *streams: StreamStatus, predictions: tuple[Prediction, ...] = ()) -> list[str]:
    """Return the rows of a table, without what surrounds it."""
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    view = LiveView("mar-edge", "", console)
    for prediction in predictions:
        view.note(prediction)
    console.print(view.picture(streams))
    lines = [line.strip("│ ") for line in file.getvalue().splitlines() if line.startswith("│")]
    assert all(len(line) <= width for line in file.getvalue().splitlines())
    return lines[1:]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_cameras_are_told_apart_at_any_width(width: int) -> None:
    lost = StreamStatus(stream=CAMERAS[0], model="m", state="lost", code="refused", message="nothing listens")
    rows = drawn(width, lost, *(StreamStatus(stream=name, model="m", state="live") for name in CAMERAS[1:]))
    assert len(rows) == 3  # each in one line
    assert "lost (refused)" in rows[0]
    begins = [row.split()[0].startswith(f"192.168.1.{number}:") for row, number in zip(rows, (10, 11, 12), strict=True)]
    assert all(begins) or width <= 60


def test_a_lost_stream_does_not_show_what_it_saw_before() -> None:
    seen = tuple(
        Prediction(
            stream=name, time_s=1.0, frame=1, label="pan_left", score=0.9, top=(("pan_left", 0.9),), latency_ms=1,
            inference_ms=1, mask=50, engine="fake",
        )
        for name in ("a", "b")
    )  # fmt: skip
    states = StreamStatus(stream="a", model="m", state="live"), StreamStatus(stream="b", model="m", state="lost")
    live, lost = drawn(100, *states, predictions=seen)
    assert "pan_left" in live
    assert "pan_left" not in lost


def test_one_stream_shows_its_mask_and_how_much_a_streaming_model_has_seen() -> None:
    first = Prediction(
        stream="a", time_s=1.0, frame=1, label="pan_left", score=0.9, top=(("pan_left", 0.9),), latency_ms=1,
        mask=50, engine="fake", streaming=True, warm=0.25,
    )  # fmt: skip
    state = StreamStatus(stream="a", model="m", state="live")
    assert any("25% of the window seen" in row and "mask" not in row for row in drawn(200, state, predictions=(first,)))
    later = replace(first, mask=75, warm=1.0, reused=True)
    rows = drawn(200, state, predictions=(first, later))
    assert any("mask 75 %   still" in row and "seen" not in row for row in rows)


def test_a_summary_is_one_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal("", "", events=True)
    with terminal:
        terminal.write(StreamStatus(stream="x" * 90, model="m", state="ended", frames=3))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("median latency - ms")
    assert "reused" not in line


def test_a_summary_counts_the_steps_that_did_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal("", "", events=True) as terminal:
        terminal.write(StreamStatus(stream="a", model="m", state="ended", frames=390, inferences=43, reused=22))
    assert "a: 390 frames, 43 inferences, 22 reused, 0 events" in capsys.readouterr().err
