"""The built-in model of gestures: what it promises, on a small sample. The full figures are in docs/results/gestures.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

import mar_edge
from mar_edge.bundle import BUILTIN, open_bundle
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.results import EventStarted
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.source import Reading

GESTURES = ["swipe_left", "swipe_right", "swipe_up", "swipe_down", "circle", "tick", "cross"]


@pytest.fixture(scope="module")
def model() -> mar_edge.Model:
    return mar_edge.load("gestures", threads=1)


def events(model: mar_edge.Model, frames: Iterable[Frame], *, mirror: bool = False) -> list[str]:
    """Return the classes of the events that begin, by the model's own rule."""
    session = model.session(mirror=mirror)
    said = [session.push(frame.picture, frame.time_s, color=frame.color) for frame in frames]
    return [event.label for one in said if one for event in one.events if isinstance(event, EventStarted)]


def show(*strokes: str, mirrored: bool = False) -> Iterator[Frame]:
    """Film the hand of the demo camera, which training never saw, and which rests between its strokes."""
    script = [("none", 3.0)]
    for stroke in strokes:
        script += [(stroke, 0.8), ("none", 2.0)]
    demo = DemoSource(show="gestures", size_px=(320, 240), fps=20, realtime=False, script=script)
    for frame in Reading(demo):
        yield frame.mirrored() if mirrored else frame


def test_it_is_what_it_says(model: mar_edge.Model) -> None:
    spec = model.spec
    assert model.labels == ["none", *GESTURES]
    assert (spec.idle_label, spec.licence, spec.trained_mask, spec.clip_answer) == ("none", "Apache-2.0", 50, "peak")
    assert spec.events is not None
    assert spec.description.startswith("Experimental") and "people who face the camera" in spec.description
    assert open_bundle("gestures").variant().parity.max_abs_error <= 1e-4
    assert sum(path.stat().st_size for path in (BUILTIN / "gestures.mar").iterdir()) <= 8_000_000


def test_it_tells_gestures_of_a_hand_that_it_never_saw(model: mar_edge.Model) -> None:
    said = events(model, show(*GESTURES))
    assert len(set(said) & set(GESTURES)) >= 4


def test_a_camera_that_mirrors_is_undone(model: mar_edge.Model) -> None:
    told = events(model, show(*GESTURES))
    assert events(model, show(*GESTURES, mirrored=True), mirror=True) == told
    assert events(model, show(*GESTURES, mirrored=True)) != told


def test_a_moving_camera_makes_no_gestures(model: mar_edge.Model) -> None:
    demo = DemoSource(size_px=(320, 240), fps=20, realtime=False)
    assert events(model, Reading(demo)) == []
