"""The stream's time never restarts, whatever the source's clock does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mar_edge.runtime.streams.batching import BatchChoice
from mar_edge.runtime.streams.clock import JUMP_S, LAG_S, StreamClock


def run(frames: list[tuple[float, float]], clock: StreamClock | None = None) -> list[tuple[float, bool]]:
    clock = clock or StreamClock()
    return [clock.stream_time(time_s, arrived_s) for time_s, arrived_s in frames]


def test_frames_keep_the_spacing_of_the_source_and_not_of_their_arrival() -> None:
    late = [100.0, 100.05, 100.3, 100.31, 100.32]
    told = run([(7 + index / 10, arrived_s) for index, arrived_s in enumerate(late)])
    assert [time_s for time_s, _ in told] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert not any(jumped for _, jumped in told)


def test_a_lost_connection_takes_its_time() -> None:
    clock = StreamClock()
    assert run([(5.0, 100.0), (5.1, 100.1)], clock)[-1][0] == pytest.approx(0.1)
    clock.connected()
    told = run([(0.0, 130.0), (0.1, 130.1)], clock)
    assert [time_s for time_s, _ in told] == pytest.approx([30.0, 30.1])
    assert not any(jumped for _, jumped in told)


@pytest.mark.parametrize("step_s", [-3600.0, -0.5, JUMP_S + 1, 86_400.0])
def test_a_jump_of_the_clock_is_found_and_does_not_show(step_s: float) -> None:
    told = run([(index / 10 + step_s * (index >= 3), 100 + index / 10) for index in range(6)])
    assert [jumped for _, jumped in told] == [False, False, False, True, False, False]
    assert [time_s for time_s, _ in told] == pytest.approx([index / 10 for index in range(6)], abs=0.01)


def test_a_clock_that_stands_still_does_not_fall_behind_for_ever() -> None:
    told = run([(index / 1000, 100 + index / 10) for index in range(400)])
    assert 40 - told[-1][0] < LAG_S + 1
    assert 2 <= sum(jumped for _, jumped in told) <= 5


def test_a_recording_has_its_own_time() -> None:
    assert StreamClock().stream_time(12.5, None) == (12.5, False)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 100), st.booleans()), max_size=60))
def test_time_never_goes_backwards(steps: list[tuple[float, float, bool]]) -> None:
    clock = StreamClock()
    arrived_s, last_s = 1000.0, 0.0
    for time_s, pause_s, connects in steps:
        arrived_s += pause_s
        if connects:
            clock.connected()
        told_s, _ = clock.stream_time(time_s, arrived_s)
        assert told_s >= last_s
        last_s = told_s


def use(choice: BatchChoice, cost_s: dict[int, float], waiting: int, inferences: int = 60) -> list[int]:
    sizes = []
    for _ in range(inferences):
        sizes.append(choice.size(waiting))
        choice.note(sizes[-1], cost_s[sizes[-1]])
    return sizes


def test_batches_are_used_only_where_they_are_faster() -> None:
    slower = BatchChoice()
    sizes = use(slower, {1: 0.01, 2: 0.02, 4: 0.04, 8: 0.08}, waiting=8)
    assert slower.best == 1 and sizes.count(2) == 5 and sizes[-1] == 1
    faster = BatchChoice()
    assert use(faster, {1: 0.01, 2: 0.012, 4: 0.016, 8: 0.03}, waiting=8)[-1] == 4
    assert use(BatchChoice(2), {1: 0.01, 2: 0.012}, waiting=8)[-1] == 2
    assert set(use(BatchChoice(1), {1: 0.01}, waiting=8)) == {1}


def test_a_batch_is_never_larger_than_what_waits() -> None:
    choice = BatchChoice()
    use(choice, {1: 0.01, 2: 0.012, 4: 0.016, 8: 0.03}, waiting=8)
    assert [choice.size(waiting) for waiting in (1, 2, 3, 4, 5)] == [1, 2, 3, 4, 4]
