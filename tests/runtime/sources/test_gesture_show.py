"""The demo's gestures: the strokes, the way of the hand, what is seen, and scripts that cannot be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mar_edge.errors import SourceError
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.demo.gesture_show import SCRIPT, GestureShow
from mar_edge.runtime.sources.demo.hand_path import HandPath
from mar_edge.runtime.sources.demo.strokes import SHAPES, stroke
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.sources.source import Reading


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize(
    ("label", "direction"),
    [("swipe_left", (-1, 0)), ("swipe_right", (1, 0)), ("swipe_up", (0, -1)), ("swipe_down", (0, 1))],
)
def test_a_swipe_goes_where_it_says_in_the_picture(label: str, direction: tuple[int, int], seed: int | None) -> None:
    path = stroke(label, None if seed is None else np.random.default_rng(seed), points=20)
    assert path.shape == (20, 2)
    assert path[-1] - path[0] == pytest.approx(direction, abs=0.35)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert steps == pytest.approx(steps.mean())


def test_a_circle_closes_in_either_sense() -> None:
    senses = set()
    for seed in range(8):
        path = stroke("circle", np.random.default_rng(seed), points=90) - 0.5
        assert path[0] == pytest.approx(path[-1])
        assert np.linalg.norm(path, axis=1) == pytest.approx(0.5, rel=0.4)
        turns = np.diff(np.unwrap(np.arctan2(path[:, 1], path[:, 0])))
        assert abs(turns.sum()) == pytest.approx(2 * np.pi, rel=0.02)
        senses.add(bool(turns.sum() > 0))
    assert senses == {False, True}


def test_a_tick_turns_up_and_a_cross_crosses_itself() -> None:
    tick = stroke("tick", points=50)
    lowest = int(tick[:, 1].argmax())
    assert 0 < lowest < 25 and tick[lowest, 0] > tick[0, 0]  # a short stroke down-right, then a longer one
    assert tick[-1, 0] > tick[lowest, 0] and tick[-1, 1] < tick[0, 1]
    cross = stroke("cross", points=200)
    first, last = cross[:70], cross[-70:]
    assert np.linalg.norm(first[:, None] - last[None], axis=-1).min() < 0.02


def test_the_hand_rests_about_each_stroke_and_strokes_are_faster_than_returns() -> None:
    way = HandPath(np.random.default_rng(5), SCRIPT, reach=4 / 3)

    def speed(begin_s: float, end_s: float) -> float:
        """Largest speed over 0.1 s, picture heights per second."""
        times_s = np.arange(begin_s, end_s, 0.1)
        places = np.stack([way.at(float(time_s)) for time_s in times_s])
        return float(np.linalg.norm(np.diff(places, axis=0), axis=1).max() / 0.1)

    time_s = 0.0
    for label, seconds in (part[:2] for part in SCRIPT):
        if label in SHAPES:
            assert speed(time_s - 0.5, time_s - 0.05) < 0.1
            assert speed(time_s + seconds + 0.05, time_s + seconds + 0.5) < 0.1
            assert speed(time_s, time_s + seconds) > 0.8
            middle = way.at(time_s + seconds / 2)
            assert np.abs(middle / (2 / 3, 0.5)).max() < 1, "the stroke lies within the picture"
        time_s += seconds
    assert way.at(0.0)[1] > 0.55 < way.at(time_s)[1], "the hand comes from below, and leaves there"


def test_gestures_are_filmed_with_their_truth() -> None:
    script = (("none", 1.5), ("circle", 0.5), ("none", 1.0))
    demo = DemoSource(show="gestures", size_px=(80, 60), fps=10, realtime=False, script=script, loops=2, seed=1)
    frames = list(Reading(demo))
    assert [frame.truth for frame in frames] == (["none"] * 15 + ["circle"] * 5 + ["none"] * 10) * 2
    pictures = np.stack([frame.picture for frame in frames]).astype(int)
    assert pictures.shape == (60, 60, 80, 3)
    assert np.array_equal(pictures[:30], pictures[30:])
    changed = (np.abs(pictures - pictures[0]).max(axis=-1) > 40).mean(axis=(1, 2))
    assert changed[1] < 0.01, "nothing is there at first"
    assert changed[13:22].min() > 0.03, "the hand is seen before, in and after its stroke"
    again = next(iter(Reading(DemoSource(show="gestures", size_px=(80, 60), realtime=False, script=script, seed=2))))
    assert not np.array_equal(again.picture, frames[0].picture)


def test_the_show_is_an_option_of_the_address() -> None:
    demo = open_source("demo:show=gestures,size=320x240,fps=15,realtime=no")
    assert isinstance(demo, DemoSource)
    assert {part[0] for part in demo.script} == {"none", *SHAPES}
    assert (demo.size_px, demo.fps, demo.idle_truth, demo.truth_at(2.7)) == ((320, 240), 15, "none", "swipe_right")
    camera = open_source("demo")
    assert isinstance(camera, DemoSource)
    assert camera.idle_truth is None
    with pytest.raises(SourceError, match="demo has no show 'dance'; use camera or gestures"):
        open_source("demo:show=dance")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ((), "is empty; use none, swipe_left"),
        ((("wave", 1.0),), r"has unknown labels \['wave'\]; use none, swipe_left"),
        ((("none", 2.0), ("circle", 1.0)), "is none, circle; begin and end with none, and put it between"),
        ((("none", 2.0), ("circle", 1.0), ("tick", 1.0), ("none", 2.0)), "begin and end with none"),
        ((("none", 2.0), ("none", 2.0)), "is none, none; begin and end with none, and put it between"),
        ((("none", 2.0), ("circle", 1.0), ("none", 0.5)), "has none for 0.5 s; give it 1 s or more"),
        ((("none", 2.0), ("circle", 0.1), ("none", 2.0)), "has circle for 0.1 s; give it 0.3 to 10 s"),
        ((("none", 2.0, 1.0),), r"has speeds; write \(label, seconds\)"),
    ],
)
def test_a_script_of_gestures_that_cannot_be(script: Sequence[tuple[str, float]], says: str) -> None:
    with pytest.raises(SourceError, match=f"demo script.*{says}"):
        GestureShow(script)


def test_a_move_of_the_camera_needs_its_speed() -> None:
    with pytest.raises(SourceError, match="demo script has no speed for pan_left; write"):
        DemoSource(script=(("still", 1.0), ("pan_left", 1.0)))
    assert DemoSource(script=(("still", 1.0),)).length_s == 1
