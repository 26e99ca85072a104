"""The engine for users' tests, as a streaming model: a real state, and every step is recorded."""

from __future__ import annotations

import numpy as np
import pytest

from mar_edge.errors import EngineError, FrameError
from mar_edge.testing import FakeEngine


def step(brightness: int) -> np.ndarray:
    """One time step of a stream."""
    return np.full((1, 2, 32, 32, 3), brightness, np.uint8)


def test_it_answers_every_step_and_keeps_a_state() -> None:
    engine = FakeEngine(streaming=True)
    assert engine.spec.streaming
    state = engine.new_state()
    for number, brightness in enumerate([10, 100, 250] * 4):
        logits = engine.step(step(brightness), [state])
        assert engine.spec.labels[int(logits.argmax())] == ("dark", "light", "bright")[number % 3]
        assert state.warm == min(number + 1, 8) / 8
    assert [int(clip.max()) for clip in engine.clips] == [10, 100, 250] * 4
    assert engine.clips[0].shape == (2, 32, 32, 3)
    assert engine.inferences == state.step == 12
    # the newest seven steps are in the state, each in its slot
    kept = state.fetch()[0].reshape(7, -1)
    assert np.allclose(kept, np.array([[10, 100, 250][number % 3] / 255 for number in state.held])[:, None])
    assert sorted(state.held) == list(range(5, 12))


def test_a_clip_is_answered_step_by_step() -> None:
    engine = FakeEngine(streaming=True)
    clip = np.concatenate([step(10), step(250)], axis=1)
    assert engine.every_step(clip).argmax(axis=2).tolist() == [[0, 2]]
    assert engine.infer(clip).argmax() == 2
    with pytest.raises(FrameError, match="not of whole time steps"):
        engine.infer(clip[:, :3])
    with pytest.raises(EngineError, match="sees whole clips and keeps no state"):
        FakeEngine().new_state()
