"""Drawn clips of hands that gesture."""

from __future__ import annotations

import json
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from mar_edge.errors import RecipeError
from mar_edge.geometry import Geometry
from mar_edge.reporting import no_progress
from mar_edge.runtime.sources.demo.hand import draw_hand
from mar_edge.training.optical_flow import FLOW_CHANNELS
from mar_edge.training.synthetic import film_store
from mar_edge.training.synthetic.gestures import clips as gestures
from mar_edge.training.synthetic.gestures.acts import perform
from mar_edge.training.synthetic.gestures.arm import draw_arm, paint_arm
from mar_edge.training.synthetic.gestures.clips import GestureClips, GesturesPart
from mar_edge.training.synthetic.gestures.cutouts import Cutout, cutout, read_cutouts
from mar_edge.training.synthetic.gestures.film import film_gestures
from mar_edge.training.synthetic.gestures.hand_path import Stage
from mar_edge.training.synthetic.gestures.performance import NAMED_AFTER_S, NAMED_UNTIL_S, RATE_HZ
from mar_edge.training.synthetic.gestures.shapes import (
    FURTHER,
    GESTURES,
    OTHERS,
    SWIPE_TILT_DEG,
    SWIPES,
    draw_shape,
)
from mar_edge.training.synthetic.virtual_camera import Filming
from mar_edge.training.synthetic.worlds import drawn_worlds

LABELS = ("none", *GESTURES)
SMALL = Geometry(frames=64, height_px=32, width_px=32)


@pytest.fixture(scope="session")
def hands_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cut-outs as users have them."""
    folder = tmp_path_factory.mktemp("hands")
    rng = np.random.default_rng(3)
    entries = []
    for number, pose in enumerate(("pointing", "open", "fist", "pointing")):
        rgba, landmarks = draw_hand(rng, 96, pose)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
        entries.append({"file": f"{number}.png", "source": "drawn", "landmarks": landmarks.tolist()})
    (folder / "landmarks.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def hands(hands_folder: Path) -> list[Cutout]:
    return read_cutouts(hands_folder)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    inline = lambda task, jobs, **_: ((index, task(job)) for index, job in enumerate(jobs))  # noqa: E731
    monkeypatch.setattr(film_store, "over_all_cores", inline)


def part(folder: Path, cutouts: Path, **changes: Any) -> GesturesPart:
    values: dict[str, Any] = {
        "kind": "gestures",
        "clips": 8,
        "chunk": 4,
        "drawn_per_chunk": 2,
        "cache": folder,
        "hands": (cutouts,),
    }
    return GesturesPart(**values | changes)


def stage(**changes: Any) -> Stage:
    values: dict[str, Any] = {
        "aspect": 4 / 3,
        "hand": 0.4,
        "home": np.array([0.6, 0.5]),
        "away": np.array([0.7, 1.9]),
        "size": 0.4,
    }
    return Stage(**{**values, "sweeps": True, **changes})


@pytest.mark.parametrize("name", [*GESTURES, *FURTHER, *OTHERS])
def test_every_shape_is_connected_and_about_as_large_as_its_unit(name: str, rng: np.random.Generator) -> None:
    for _ in range(50):
        legs = draw_shape(name, rng)
        for one, next_one in pairwise(legs):
            assert np.allclose(one[-1], next_one[0])
        size = np.ptp(np.concatenate(legs), axis=0).max()
        assert 0.2 < size < 2.2


@pytest.mark.parametrize(("name", "axis"), list(zip(SWIPES, [(-1, 0), (1, 0), (0, -1), (0, 1)], strict=True)))
def test_a_swipe_goes_along_its_axis(name: str, axis: tuple[int, int], rng: np.random.Generator) -> None:
    for _ in range(100):
        (leg,) = draw_shape(name, rng)
        way = leg[-1] - leg[0]
        assert np.hypot(*way) == pytest.approx(1)
        assert way @ axis > np.cos(np.deg2rad(SWIPE_TILT_DEG + 0.1))


def test_a_tick_goes_down_right_and_then_further_up_right(rng: np.random.Generator) -> None:
    for _ in range(100):
        down, up = (leg[-1] - leg[0] for leg in draw_shape("tick", rng))
        assert down[1] > 0
        assert up[1] < 0
        assert np.hypot(*up) > np.hypot(*down)


def test_a_circle_goes_round_either_way(rng: np.random.Generator) -> None:
    turns = []
    for _ in range(100):
        points = np.concatenate(draw_shape("circle", rng))
        angle = np.unwrap(np.arctan2(*(points - points.mean(axis=0)).T[::-1]))
        turns.append((angle[-1] - angle[0]) / 2 / np.pi)
    assert all(0.8 < abs(turn) < 2.4 for turn in turns)
    assert 20 < sum(turn > 0 for turn in turns) < 80


def test_a_gesture_is_named_after_its_stroke_for_a_while(rng: np.random.Generator) -> None:
    seen = set()
    for _ in range(120):
        acts = perform(stage(), 6.4, rng)
        assert len(acts.path) >= 6.4 * RATE_HZ
        assert np.isfinite(acts.path).all()
        for stroke, follower in zip_longest(acts.strokes, acts.strokes[1:]):
            moments = np.array(
                [stroke.end_s - 0.05, stroke.end_s + NAMED_AFTER_S + 0.01, stroke.end_s + NAMED_UNTIL_S + 0.01]
            )
            before, named, after = acts.classes(moments, LABELS)
            if stroke.label in GESTURES and follower is None:
                assert LABELS[named] == stroke.label
                assert after == 0
                seen.add(stroke.label)
            elif follower is None:
                assert named == 0
            assert before == 0 or len(acts.strokes) > 1
    assert seen == set(GESTURES)


def test_the_path_shows_the_stroke(rng: np.random.Generator) -> None:
    swipes = 0
    for _ in range(60):
        acts = perform(stage(sweeps=False), 6.4, rng)
        for stroke in acts.strokes:
            if stroke.label in SWIPES:
                way = acts.at(stroke.end_s)[0] - acts.at(stroke.start_s)[0]
                axis = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[stroke.label[6:]]
                assert way @ axis > 0.9 * np.hypot(*way) > 0.15
                swipes += 1
    assert swipes > 20


def test_a_negative_hand_makes_no_gesture(rng: np.random.Generator) -> None:
    strokes = [stroke.label for _ in range(100) for stroke in perform(stage(), 6.4, rng, negative=True).strokes]
    assert len(strokes) > 20
    assert not set(strokes) & set(GESTURES)


def test_people_draw_quickly_and_slowly(rng: np.random.Generator) -> None:
    done = [stroke for _ in range(150) for stroke in perform(stage(), 12.0, rng).strokes]
    swipes_s = [stroke.end_s - stroke.start_s for stroke in done if stroke.label in SWIPES]
    quick_s, usual_s, slow_s = np.quantile(swipes_s, [0.1, 0.5, 0.9])
    assert quick_s < 0.6
    assert 0.5 < usual_s < 1.5
    assert slow_s > 1.6


def test_some_swipes_begin_at_the_edge_of_the_picture(rng: np.random.Generator) -> None:
    begins = []
    for _ in range(200):
        done = perform(stage(), 8.0, rng)
        begins += [done.at(stroke.start_s)[0][1] for stroke in done.strokes if stroke.label == "swipe_up"]
    lowest = np.array(begins)
    assert 0.05 < (lowest > 0.92).mean() < 0.5
    assert lowest.max() < 1.3  # part of the hand, or its finger, is seen


def test_cutouts_know_wrist_colour_and_pointing(hands: list[Cutout]) -> None:
    assert [hand.points for hand in hands] == [True, False, False, True]
    for hand in hands:
        assert hand.wrist[1] > hand.palm[1]  # hands are upright
        assert 5 < hand.width_px < hand.length_px
        assert (hand.rgba[..., :3] <= hand.rgba[..., 3:]).all()


def test_a_ragged_cutout_is_left_out(rng: np.random.Generator) -> None:
    rgba, landmarks = draw_hand(rng, 96, "open")
    assert cutout(rgba, landmarks.astype(np.float64)) is not None
    rgba[10:60, :, :] = (90, 200, 90, 255)  # a piece of the background
    assert cutout(rgba, landmarks.astype(np.float64)) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "data.hands needs a folder of cut-outs"),
        ("{", "is no list of files with landmarks"),
        ('[{"file": "a.png"}]', "is no list of files with landmarks"),
        ('[{"file": "a.png", "landmarks": [[1, 2]]}]', "does not have 21 landmarks"),
        ("[]", "no usable hands"),
    ],
)
def test_a_folder_that_has_no_hands_is_reported(tmp_path: Path, content: str | None, problem: str) -> None:
    if content is not None:
        (tmp_path / "landmarks.json").write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError, match=problem):
        read_cutouts(tmp_path)


def test_a_picture_without_alpha_is_reported(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    entries = [{"file": "a.png", "landmarks": [[0, 0]] * 21}]
    (tmp_path / "landmarks.json").write_text(json.dumps(entries), encoding="utf-8")
    with pytest.raises(RecipeError, match="alpha channel"):
        read_cutouts(tmp_path)


@pytest.mark.parametrize("aspect", [0.75, 1.0, 16 / 9])
def test_an_arm_is_where_its_hand_and_elbow_are(hands: list[Cutout], aspect: float, rng: np.random.Generator) -> None:
    for _ in range(8):
        arm = draw_arm(tuple(hands), 0.4, rng)
        layer = paint_arm(arm, 0, np.array([aspect / 2, 0.4]), np.array([aspect / 2, 1.4]), 0.0, aspect, 96)
        rows, columns = np.nonzero(layer[..., 3] > 128)
        assert abs(columns.mean() - 48) < 20  # above the elbow
        assert rows.max() == 95  # the arm comes from below
        assert rows.min() < 40
        assert (layer[..., :3] <= 255).all()


def moved(clip: NDArray[np.uint8]) -> float:
    return float(np.abs(np.diff(clip.astype(np.float64), axis=0)).mean())


def test_a_film_moves_where_its_hand_does(hands: list[Cutout]) -> None:
    worlds = drawn_worlds(2, 1)
    made = [
        film_gestures(worlds, worlds[0], hands, Filming(geometry=SMALL), LABELS, np.random.default_rng([5, number]))
        for number in range(12)
    ]
    assert {film.clip.shape for film in made} == {SMALL.clip_shape}
    assert len({label for film in made for label in film.classes.tolist()}) > 4
    assert all(moved(film.clean) > 0.05 for film in made)
    again = film_gestures(worlds, worlds[0], hands, Filming(geometry=SMALL), LABELS, np.random.default_rng([5, 3]))
    assert np.array_equal(again.clip, made[3].clip)
    assert again.strokes == made[3].strokes


def test_clips_are_filmed_once_and_mirrored_with_their_classes(
    tmp_path: Path, hands_folder: Path, one_process: None
) -> None:
    data = part(tmp_path, hands_folder, others=0.2)
    made = gestures.prepare(data, geometry=SMALL, progress=no_progress)
    assert made.labels == LABELS
    assert len(made.classes) == 8
    files = sorted((tmp_path / f"gestures-{made.digest.split()[0]}").iterdir())
    times = [file.stat().st_mtime_ns for file in files]
    again = gestures.prepare(data, geometry=SMALL, progress=no_progress)
    assert [file.stat().st_mtime_ns for file in files] == times
    for index in range(8):
        samples = [made.sample(index, np.random.default_rng(seed)) for seed in range(6)]
        steps = samples[0].steps
        assert steps is not None
        assert steps.shape == (32,)
        assert samples[0].label == steps[-1]
        assert np.array_equal(again.sample(index, np.random.default_rng(0)).clip, samples[0].clip)
        for sample in samples:
            assert sample.flow is not None
            _check_mirrored(made, samples[0].clip, steps, samples[0].flow, sample)


def _check_mirrored(
    made: GestureClips, clip: NDArray[np.uint8], steps: NDArray[np.int64], flow: Any, sample: Any
) -> None:
    if np.array_equal(sample.clip, clip):
        assert np.array_equal(sample.steps, steps)
        return
    assert np.array_equal(sample.clip, clip[:, :, ::-1])
    swap = {"swipe_left": "swipe_right", "swipe_right": "swipe_left"}
    names = [made.labels[step] for step in steps]
    assert "tick" not in names
    assert [made.labels[step] for step in sample.steps] == [swap.get(name, name) for name in names]
    horizontal = [0, 2, 4, 7, 9]
    others = [1, 3, 5, 6, 8, 10]
    assert np.allclose(sample.flow[..., horizontal], -flow[:, :, ::-1, horizontal], atol=1e-6)
    assert np.allclose(sample.flow[..., others], flow[:, :, ::-1, others], atol=1e-6)


def test_tokens_know_where_the_hand_is() -> None:
    geometry = Geometry(frames=4, height_px=32, width_px=32)
    places = np.array([[0.2, 0.5], [0.3, 0.5], [5, 5], [6, 6]])
    known = gestures.motion(np.zeros(geometry.clip_shape, np.uint8), places, geometry)
    hand = known[:, :, :, FLOW_CHANNELS:]
    assert (hand[0, ..., 0] > 0).all()
    assert hand[0, 0, 0, 1:3] == pytest.approx(0.02 * np.array([0.3 - 0.25, 0.5 - 0.25]))
    assert hand[0, 1, 1, 3:] == pytest.approx([0.1, 0])
    assert (hand[1] == 0).all()  # out of sight


def test_a_folder_without_a_list_is_reported_before_filming(tmp_path: Path, hands_folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match="data.hands needs a folder of cut-outs"):
        gestures.prepare(part(tmp_path, tmp_path / "empty"), geometry=SMALL, progress=no_progress)


def test_further_shapes_become_classes_of_the_same_films(tmp_path: Path, hands_folder: Path, one_process: None) -> None:
    made = gestures.prepare(part(tmp_path, hands_folder), geometry=SMALL, progress=no_progress)
    further = part(tmp_path, hands_folder, further=("star", "caret", "square"))
    assert further.labels == (*LABELS, "square", "caret", "star")
    more = gestures.prepare(further, geometry=SMALL, progress=no_progress)
    assert len(list(tmp_path.iterdir())) == 1
    assert more.digest != made.digest
    found = 0
    for index in range(8):
        fewer, all_ = (source.sample(index, np.random.default_rng(1)).steps for source in (made, more))
        assert fewer is not None
        assert all_ is not None
        assert np.array_equal(fewer, np.where(all_ < len(LABELS), all_, 0))
        found += int((all_ >= len(LABELS)).sum())
    assert found


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hands": ()}, "hands"),
        ({"others": 0.6, "negatives": 0.4}, "leaves no gestures"),
        ({"weights": (0, 0, 0)}, "are all 0"),
        ({"further": ("heart",)}, "further"),
    ],
)
def test_a_part_that_makes_no_sense_is_refused(
    tmp_path: Path, hands_folder: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        part(tmp_path, hands_folder, **changes)
