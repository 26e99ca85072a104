"""Which steps of a still scene are skipped, and that none is while something moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mar_edge.errors import FrameError, OptionError
from mar_edge.geometry import Geometry
from mar_edge.masking import cell_running_mask
from mar_edge.runtime.clips.preprocess import preprocess
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.streams.saving.skip_gate import THRESHOLD, SkipGate

Frames = NDArray[np.uint8]

SMALL = Geometry(height_px=64, width_px=64)
ALL = list(range(16))
SETTLE = 7  # still steps that run first, with a band of eight


def visible(geometry: Geometry, step: int, ratio: float = 0.5) -> NDArray[np.intp]:
    return np.flatnonzero(cell_running_mask((4, *geometry.grid[1:]), ratio)[step % 4])


def scene(seed: int = 0, geometry: Geometry = SMALL) -> Frames:
    shape = (geometry.height_px, geometry.width_px, 3)
    return np.random.default_rng(seed).integers(60, 190, shape, dtype=np.uint8)


def filmed(picture: Frames) -> Frames:
    return np.stack([picture, picture])


def run(gate: SkipGate, steps: list[Frames], geometry: Geometry = SMALL) -> list[bool]:
    """Do what a stream does; return which steps were skipped."""
    skipped = []
    for index, frames in enumerate(steps):
        skipped.append(gate.still(frames, visible(geometry, index)))
        if not skipped[-1]:
            gate.processed(frames)
    return skipped


def settled(picture: Frames, **options: int) -> SkipGate:
    """Return a gate that skips the scene from now on."""
    gate = SkipGate(geometry=SMALL, **options)
    for _ in range(gate.settle_steps + 1):
        assert not gate.still(filmed(picture), ALL)
        gate.processed(filmed(picture))
    return gate


def test_a_still_scene_is_skipped_once_the_band_shows_nothing_else() -> None:
    steps = [filmed(scene(1))] * 3 + [filmed(scene(2))] * 30
    skipped = run(SkipGate(geometry=SMALL), steps)
    assert not any(skipped[: 3 + 1 + SETTLE])
    assert skipped[3 + 1 + SETTLE :] == ([True] * 6 + [False]) * 3 + [True]


@pytest.mark.parametrize("most", [1, 4])
def test_at_most_so_many_are_skipped_in_a_row(most: int) -> None:
    gate = settled(scene(), max_skipped=most)
    assert run(gate, [filmed(scene())] * 12) == ([True] * most + [False]) * (12 // (most + 1)) + [True] * (
        12 % (most + 1)
    )


@given(st.integers(0, 15), st.integers(0, 1), st.integers(0, 3), st.sampled_from([0.0, 0.25, 0.5, 0.75]))
def test_a_change_is_seen_where_the_mask_shows_it(place: int, frame: int, phase: int, ratio: float) -> None:
    gate = settled(scene())
    row, column = divmod(place, 4)
    frames = filmed(scene())
    frames[frame, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += np.uint8(THRESHOLD + 1)
    seen = visible(SMALL, phase, ratio)
    assert gate.still(frames, seen) == (place not in seen)


def test_a_difference_of_the_threshold_is_still_and_one_above_is_not() -> None:
    for change, still in ((2, True), (3, False)):
        gate = settled(scene())
        assert gate.still(filmed(scene() + np.uint8(change)), ALL) == still
        assert gate.difference == pytest.approx(change, abs=0.2)  # the averages are rounded


def test_a_flicker_in_time_with_the_steps_is_seen() -> None:
    frames = np.stack([scene(), scene() + np.uint8(10)])
    assert not any(run(SkipGate(geometry=SMALL), [frames] * 30))


def test_slow_drift_adds_up_until_it_is_seen() -> None:
    gate = settled(scene(), max_skipped=100)
    skipped = run(gate, [filmed(scene() + np.uint8(level)) for level in range(1, 10)])
    assert skipped == [True, True] + [False] * 7  # 1 and 2 levels from what ran; then it runs until it is settled again


def test_the_end_of_a_motion_is_run_until_it_has_left_the_band() -> None:
    gate = settled(scene(1))
    assert gate.still(filmed(scene(1)), ALL)
    skipped = run(gate, [filmed(scene(2))] * 12)
    assert skipped.index(True) == 1 + SETTLE


def test_after_a_reset_everything_runs_anew() -> None:
    gate = settled(scene())
    gate.reset()
    assert gate.difference is None and run(gate, [filmed(scene())] * 12).index(True) == 1 + SETTLE


def test_a_step_that_ran_without_being_asked_about_unsettles() -> None:
    gate = settled(scene(), settle_steps=2)
    gate.processed(filmed(scene()))
    assert run(gate, [filmed(scene())] * 3) == [False, False, True]


def test_the_frames_may_be_used_again_after_a_step_ran() -> None:
    gate = settled(scene())
    frames = filmed(scene())
    gate.processed(frames)
    frames[:] = 0
    assert not gate.still(frames, ALL) and gate.difference is not None and gate.difference > 50


def test_an_odd_patch_and_a_tubelet_of_one_frame() -> None:
    geometry = Geometry(frames=4, height_px=30, width_px=30, tubelet_frames=1, patch_px=15)
    gate = SkipGate(geometry=geometry)
    picture = scene(0, geometry)[None]
    skipped = run(gate, [picture] * 6, geometry)
    assert skipped == [False] * 4 + [True, True]
    assert not gate.still(picture + np.uint8(5), [3])


@pytest.mark.parametrize("size_px", [64, 224])
def test_sensor_noise_of_a_still_camera_does_not_prevent_skipping(size_px: int) -> None:
    geometry = Geometry(height_px=size_px, width_px=size_px)
    rng = np.random.default_rng(0)
    picture = np.asarray(rng.integers(0, 256, (60, 80, 3)).repeat(8, 0).repeat(8, 1), np.uint8)

    def photo() -> Frames:
        noisy = np.clip(picture + rng.normal(0, 12, picture.shape).astype(np.float32), 0, 255).astype(np.uint8)
        return preprocess(noisy, height_px=size_px, width_px=size_px, resize="stretch")

    skipped = run(SkipGate(geometry=geometry), [np.stack([photo(), photo()]) for _ in range(12)], geometry)
    assert skipped == [False] * (1 + SETTLE) + [True] * 4


def test_of_the_demo_camera_only_still_moments_are_skipped() -> None:
    demo = DemoSource(
        size_px=(320, 240), fps=10, realtime=False, script=[("still", 3, 0), ("pan_right", 2, 0.3)], loops=2
    )
    filming = demo.connect()
    frames = []
    while (frame := filming.read(1.0)) is not None:
        frames.append(
            (frame.truth, preprocess(frame.picture, height_px=64, width_px=64, resize="stretch", color="rgb"))
        )
    steps = [np.stack([frames[i][1], frames[i + 1][1]]) for i in range(0, len(frames), 2)]
    skipped = run(SkipGate(geometry=SMALL), steps)
    assert {frames[2 * index][0] for index, skip in enumerate(skipped) if skip} == {"still"}
    assert sum(skipped) == 2 * (15 - 1 - SETTLE - 1)  # of twice 15 still steps; one runs after six


def test_a_signing_person_before_a_still_camera_is_never_skipped(real_clips: Path) -> None:
    geometry = Geometry()
    reading = open_source(real_clips / "asl" / "book.mkv").connect()
    frames: list[Frames] = []
    while (frame := reading.read(5.0)) is not None:
        frames.append(preprocess(frame.picture, height_px=224, width_px=224, resize="stretch", color=frame.color))
    reading.close()
    steps = [np.stack(frames[index : index + 3 : 2]) for index in range(0, len(frames) - 3, 4)]  # 15 frames per second
    gate = SkipGate(geometry=geometry, settle_steps=0)
    assert len(steps) > 20 and not any(run(gate, steps, geometry))
    wall = [0, 13]  # the upper corners, in which nothing moves
    gate.reset()
    gate.processed(steps[0])
    assert [gate.still(frames, wall) for frames in steps[1:7]] == [True] * 6


@pytest.mark.parametrize(
    "frames",
    [scene(), filmed(scene()).astype(np.float32), filmed(scene())[:, :32], None, filmed(scene())[:1]],
)
def test_frames_of_another_form_are_refused(frames: Frames) -> None:
    gate = SkipGate(geometry=SMALL)
    with pytest.raises(FrameError, match=r"must be uint8 \(2, 64, 64, 3\), not"):
        gate.still(frames, ALL)
    with pytest.raises(FrameError, match="must be uint8"):
        gate.processed(frames)


@pytest.mark.parametrize("threshold", [0, -1, 256, float("nan")])
def test_a_threshold_that_is_no_difference_of_grey_levels_is_refused(threshold: float) -> None:
    with pytest.raises(OptionError, match="skip threshold"):
        SkipGate(threshold, geometry=SMALL)


def test_counts_of_steps_must_be_possible() -> None:
    with pytest.raises(OptionError, match="max_skipped is 0"):
        SkipGate(geometry=SMALL, max_skipped=0)
    with pytest.raises(OptionError, match="settle_steps is -1"):
        SkipGate(geometry=SMALL, settle_steps=-1)
    with pytest.raises(OptionError, match="no place is visible"):
        SkipGate(geometry=SMALL).still(filmed(scene()), [])
