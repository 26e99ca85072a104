"""Which sampling rates suit clips of some lengths."""

from __future__ import annotations

import pytest

from mar_edge.datasets.clip_lengths import lengths


def test_clips_shorter_than_a_window_are_counted() -> None:
    found = lengths([1.0, 2.0, 3.0, 4.0], [5, 10, 16], frames=16)
    assert [(row.rate_fps, row.window_s, row.short) for row in found.rows] == [(5, 3.2, 3), (10, 1.6, 1), (16, 1.0, 0)]
    assert found.suggested_fps == 10
    assert found.said.startswith(
        "data.rate_fps: 10 suits these clips: 16 frames cover 1.60 s, and 1 of 4 clips is shorter"
    )
    assert found.to_json("train.csv")["rates"][1] == {"rate_fps": 10.0, "window_s": 1.6, "short": 1}


def test_long_clips_are_not_sampled_too_slowly() -> None:
    assert lengths([60.0] * 3).suggested_fps == 7.5
    assert lengths([60.0] * 3, [2, 4]).suggested_fps == 4


def test_rates_above_that_of_the_clips_are_left_out() -> None:
    assert max(row.rate_fps for row in lengths([2.0], source_fps=[14.985]).rows) == 15
    assert [row.rate_fps for row in lengths([2.0], source_fps=[2.0]).rows] == [4]


def test_clips_of_ten_frames() -> None:
    found = lengths([1 / 3] * 5, source_fps=[30.0] * 5)
    assert found.suggested_fps is None
    assert "5 of 5 clips are shorter than 16 frames even at 30 frames per second; the median is 0.33 s" in found.said
    assert "model.frames" in found.said


@pytest.mark.parametrize(
    ("durations_s", "rates_fps", "frames"), [([], [5], 16), ([1.0], [], 16), ([1.0], [0], 16), ([1.0], [5], 0)]
)
def test_nothing_to_count(durations_s: list[float], rates_fps: list[float], frames: int) -> None:
    with pytest.raises(ValueError, match="positive rates"):
        lengths(durations_s, rates_fps, frames)
