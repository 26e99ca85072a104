"""What a model of brief actions answers to a clip: the answer that names one most surely, from the first step to after the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.clips.clip_answers import peak_of
from mar_edge.runtime.clips.whole_clip import WholeClip
from mar_edge.runtime.model import Model
from mar_edge.testing import FakeEngine

BAND = 16


class Gestures(FakeEngine):
    """Names a swipe the more surely the brighter the newest picture is, and the surer still where it stands still."""

    def __init__(self, answer: str = "peak", *, streaming: bool = True, frames: int = BAND) -> None:
        super().__init__(labels=("none", "swipe", "tick"), streaming=streaming, frames=frames)
        self.spec = self.spec.model_copy(update={"clip_answer": answer})

    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        super()._infer(frames)
        bright = frames[:, -1].mean(axis=(1, 2, 3)) / 25
        stands = np.array([np.array_equal(clip[-1], clip[-2]) for clip in frames])
        zeros = np.zeros_like(bright)
        return np.stack([zeros + 3, bright, np.where(stands, 2 * bright, 0)], axis=1).astype(np.float32)


def clip(*levels: int) -> NDArray[np.uint8]:
    """Pictures of so many grey levels, all different."""
    pictures = np.stack([np.full((32, 32, 3), level, np.uint8) for level in levels])
    pictures[:, 0, 0, 0] = np.arange(len(levels))
    return pictures


def test_a_clip_of_one_second_gets_the_surest_of_all_its_steps_without_a_warning() -> None:
    result = Model(Gestures()).classify(clip(0, 0, 200, 200, 0, 0, 0, 0, 0, 0))  # in the second step, of a band of 8
    assert (result.label, result.reliable, result.warnings, result.repeated_frames) == ("swipe", True, (), 0)
    assert result.score > 0.98
    mean = Model(Gestures("mean")).classify(clip(0, 0, 200, 200, 0, 0, 0, 0, 0, 0))
    assert mean.label == "none" and mean.warnings


def test_the_last_picture_is_held_for_what_is_named_only_when_it_is_over() -> None:
    engine = Gestures()
    result = Model(engine).classify(clip(*[20] * 9, 200, 200))  # 11 frames: the last one begins a step
    assert result.label == "tick"  # which needs two pictures that are the same
    assert len(engine.clips) == (11 + 8) // 2
    assert all(np.array_equal(step[1], clip(*[20] * 9, 200, 200)[-1]) for step in engine.clips[5:])


def test_where_no_step_names_an_action_the_answer_is_the_idle_class() -> None:
    result = Model(Gestures()).classify(clip(*[10] * 12))
    assert (result.label, result.warnings) == ("none", ())


@pytest.mark.parametrize(("pictures", "reliable"), [(4, False), (5, True)])
def test_only_a_clip_of_too_few_pictures_is_in_doubt(pictures: int, reliable: bool) -> None:
    result = Model(Gestures()).classify(clip(*[200] * pictures))
    assert result.reliable is reliable
    assert result.doubt == (None if reliable else "only 4 distinct pictures in a window of 16 frames")
    assert len(result.warnings) == (not reliable)


def test_windows_overlap_and_the_last_one_ends_after_the_clip() -> None:
    engine = Gestures(streaming=False, frames=8)
    result = Model(engine).classify(clip(*[0] * 12, *[200] * 3))
    assert (result.label, result.views, result.warnings) == ("tick", 5, ())
    firsts = [int(window[0, 0, 0, 0]) for window in engine.clips]
    assert firsts == [0, 4, 8, 12, 14]  # of 15 pictures and 8 that hold the last one: the rest is shown, too
    short = Model(Gestures(streaming=False, frames=32)).classify(clip(*[200] * 6))
    assert (short.views, short.warnings, short.reliable) == (1, (), True)
    wanted = Gestures(streaming=False, frames=8)
    assert Model(wanted).classify(clip(*[0] * 12), views=(2, 1)).views == 2  # the user's own choice of windows


def test_every_part_of_a_clip_is_held_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = WholeClip(clip(*range(20)), Gestures().spec)
    samples = list(whole._samples())
    broken = [(sample, index == 10) for index, (sample, _) in enumerate(samples)]
    monkeypatch.setattr(whole, "_samples", lambda: iter(broken))
    steps = list(whole.time_steps())
    assert [step.begins for step in steps] == [True, *[False] * 8, True, *[False] * 8]
    assert np.array_equal(steps[8].frames[0, 1], clip(*range(20))[9])


def test_the_peak_is_the_likeliest_class_but_the_idle_one() -> None:
    logits = np.array([[9, 1, 0], [0, 4, 0], [0, 5, 5], [9, 9, 0]], np.float32)
    assert peak_of(logits, idle=0) == 1  # 5 of two classes alike, and 9 beside the idle one, are less sure
    assert peak_of(logits, idle=None) == 0


@pytest.mark.parametrize("changes", [{"sampling": "uniform"}, {"labels": ["none"]}])
def test_a_model_that_cannot_answer_with_its_peak(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="dense sampling, and a class other than the idle one"):
        ModelSpec.model_validate(Gestures().spec.model_dump() | changes)
