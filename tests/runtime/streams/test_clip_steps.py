"""A streaming model on whole clips: it runs through them from an empty state, and what counts is what it says of a full band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.errors import OptionError
from mar_edge.runtime.clips import whole_clip
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.model import Model
from mar_edge.runtime.streams.smoothing import softmax
from mar_edge.testing import numbered
from tests.fakes.stateful_engine import StatefulEngine
from tests.fakes.video_files import write_video


def frames(count: int) -> NDArray[np.uint8]:
    return np.stack([numbered(index, (32, 32)) for index in range(count)])


@pytest.mark.parametrize("count", [40, 41, 16])
def test_the_answer_is_the_mean_from_the_first_full_band_on(count: int) -> None:
    engine, other = StatefulEngine(), StatefulEngine()
    result = Model(engine).classify(frames(count))
    assert [ran.frames for ran in engine.ran] == [(step, step + 1) for step in range(0, count - 1, 2)]
    assert [ran.step for ran in engine.ran] == list(range(count // 2))
    logits = other.every_step(frames(count)[None, : count // 2 * 2])[0]
    expected = softmax(logits[7:]).mean(axis=0)
    assert list(result.scores.values()) == pytest.approx(expected.tolist())
    assert (result.views, result.repeated_frames, result.warnings, result.reliable) == (1, 0, (), True)


@pytest.mark.parametrize(("count", "steps", "reliable"), [(14, 7, True), (9, 4, True), (7, 3, False), (2, 1, False)])
def test_of_a_shorter_clip_the_last_step_counts_and_it_is_said(count: int, steps: int, reliable: bool) -> None:
    engine, other = StatefulEngine(), StatefulEngine()
    result = Model(engine).classify(frames(count))
    assert len(engine.ran) == steps
    expected = softmax(other.every_step(frames(count)[None, : 2 * steps])[0])[-1]
    assert list(result.scores.values()) == pytest.approx(expected.tolist())
    assert "without a gap, fewer than the 8 that an answer depends on" in result.warnings[0]
    assert (result.reliable, result.repeated_frames) == (reliable, 0)
    assert result.doubt is None or "time steps seen" in result.doubt


def test_a_single_picture_is_repeated_to_a_step() -> None:
    engine = StatefulEngine()
    result = Model(engine).classify(frames(1))
    assert [ran.frames for ran in engine.ran] == [(0, 0)]
    assert result.repeated_frames == 1 and not result.reliable
    assert "its last frame was repeated" in result.warnings[0]


def test_a_break_in_a_file_empties_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's pictures may change their size."""
    engine = StatefulEngine()
    path = write_video(tmp_path / "v.mp4", [0.0, 0.1])
    read = [
        Frame(
            picture=numbered(index, (32, 32 + 16 * (index > 20))),
            size_px=(32, 32 + 16 * (index > 20)),
            time_s=index / 10,
        )
        for index in range(42)
    ]
    monkeypatch.setattr(whole_clip, "read_steady_frames", lambda path, warn: iter(read))
    result = Model(engine).classify(path)
    assert [ran.step for ran in engine.ran] == [*range(10), *range(10)]
    assert [len(ran.seen) for ran in engine.ran[10:12]] == [0, 1]
    assert [ran.frames[0] for ran in engine.ran] == [*range(0, 20, 2), *range(21, 41, 2)]
    assert "changes of size" in result.warnings[0].replace("change of", "changes of")


def test_every_crop_has_a_state_of_its_own(tmp_path: Path) -> None:
    engine = StatefulEngine()
    engine.spec = engine.spec.model_copy(update={"resize": "center_crop"})
    engine.max_batch = 2
    path = write_video(tmp_path / "v.mp4", [index / 10 for index in range(24)], size=(64, 32))
    result = Model(engine).classify(path, views=(1, 3))
    assert result.views == 3
    assert engine.batches == [2, 1] * 12  # as many crops at once as the engine takes
    assert [ran.step for ran in engine.ran] == [step for step in range(12) for _ in range(3)]


def test_a_uniform_model_sees_each_view_from_an_empty_state(tmp_path: Path) -> None:
    engine = StatefulEngine()
    engine.spec = engine.spec.model_copy(update={"sampling": "uniform"})
    result = Model(engine).classify(frames(64), views=(2, 1))
    assert result.views == 2
    assert [ran.step for ran in engine.ran] == [*range(8), *range(8)]
    assert engine.ran[0].frames == (0, 4) and engine.ran[8].frames == (2, 6)


def test_several_clips_of_one_video_are_refused() -> None:
    with pytest.raises(OptionError, match="runs through the whole clip once, so views 5x1 are not supported; use 1x1"):
        Model(StatefulEngine()).classify(frames(40), views=(5, 1))
    with pytest.raises(OptionError, match="crops are not supported; use views 1x1"):
        Model(StatefulEngine()).classify(frames(40), views=(5, 3))
