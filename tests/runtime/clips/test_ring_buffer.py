"""The window against a plain list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mar_edge.runtime.clips.ring_buffer import RingBuffer


@given(st.integers(1, 9), st.lists(st.one_of(st.integers(0, 255), st.just("clear")), max_size=60))
def test_equals_a_list(frames: int, actions: list[int | str]) -> None:
    ring = RingBuffer(frames, (2, 3, 3))
    plain: list[int | str] = []
    for action in actions:
        if action == "clear":
            ring.clear()
            plain.clear()
        else:
            ring.push(np.full((2, 3, 3), action, np.uint8))
            plain.append(action)
        assert len(ring) == min(frames, len(plain))
        assert ring.full == (len(plain) >= frames)
        if ring.full:
            assert ring.window()[:, 0, 0, 0].tolist() == plain[-frames:]


def test_the_window_is_contiguous_and_not_copied() -> None:
    ring = RingBuffer(4, (2, 2, 3))
    for value in range(7):
        ring.push(np.full((2, 2, 3), value, np.uint8))
        if ring.full:
            window = ring.window()
            assert window.flags.c_contiguous
            assert window.base is not None


def test_a_window_that_is_not_full_is_refused() -> None:
    ring = RingBuffer(3, (2, 2, 3))
    ring.push(np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="1 of 3"):
        ring.window()


def test_a_picture_is_written_in_place_before_the_window_shows_it() -> None:
    ring = RingBuffer(3, (2, 2, 3))
    for value in range(5):
        ring.push(np.full((2, 2, 3), value, np.uint8))
    ring.place[:] = 9
    assert ring.window()[:, 0, 0, 0].tolist() == [2, 3, 4]
    ring.push(ring.place)
    assert ring.window()[:, 0, 0, 0].tolist() == [3, 4, 9]
    for _ in range(2):
        ring.push(np.full((2, 2, 3), 1, np.uint8))
        assert ring.window()[2, 0, 0, 0] == 1
