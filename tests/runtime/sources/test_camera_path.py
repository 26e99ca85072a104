"""Directions: what the camera's operator says must be what the picture does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.geometry import Geometry
from mar_edge.runtime.sources.demo.camera_path import LABELS, CameraPath, Motion, content_flow, motion_of, view_affine
from mar_edge.runtime.sources.demo.camera_show import SCRIPT
from mar_edge.runtime.sources.demo.scene import dead_leaves, draw_scene
from mar_edge.training.synthetic import symmetry
from mar_edge.training.synthetic.moves import SPEEDS, draw_motion
from mar_edge.training.synthetic.virtual_camera import Filming, film, film_many, frame_times
from mar_edge.training.synthetic.worlds import World, drawn_worlds

SIDE = 96
SMALL = Geometry(frames=8, height_px=32, width_px=32)


def views(motion: Motion, seconds: float = 1.0) -> list[NDArray[np.uint8]]:
    """The picture at the beginning and at the end of a motion."""
    scene = cv2.GaussianBlur(dead_leaves(np.random.default_rng(0), 512), (0, 0), 1.5)
    path = CameraPath([(seconds, motion)], np.random.default_rng(1))
    out = []
    for time_s in (0.0, seconds):
        matrix = view_affine(
            path.at(time_s), view_px=(SIDE, SIDE), aspect=1, scene_center_px=(256, 256), scene_px_per_width=160
        )
        view = cv2.warpAffine(scene, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        out.append(np.asarray(view, np.uint8))
    return out


def content_motion(motion: Motion) -> NDArray[np.float64]:
    """The 2x3 similarity by which the content of the picture moves, found from the pixels alone."""
    grey = [cv2.cvtColor(view, cv2.COLOR_RGB2GRAY) for view in views(motion)]
    points = cv2.goodFeaturesToTrack(grey[0], 80, 0.01, 4)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        grey[0], grey[1], points, np.empty_like(points), winSize=(21, 21), maxLevel=3
    )
    kept = found.ravel() == 1
    matrix, _ = cv2.estimateAffinePartial2D(points[kept], moved[kept])
    return np.asarray(matrix)


def middle_shift(matrix: NDArray[np.float64]) -> tuple[float, float]:
    middle = np.array([SIDE / 2, SIDE / 2])
    right, down = matrix[:, :2] @ middle + matrix[:, 2] - middle
    return float(right), float(down)


@pytest.mark.parametrize(
    ("label", "right", "down"), [("pan_left", 1, 0), ("pan_right", -1, 0), ("tilt_up", 0, 1), ("tilt_down", 0, -1)]
)
def test_content_moves_against_pan_and_tilt(label: str, right: int, down: int) -> None:
    shift = middle_shift(content_motion(motion_of(label, 0.1)))
    assert shift == pytest.approx((right * 0.1 * SIDE, down * 0.1 * SIDE), abs=0.7)


@pytest.mark.parametrize(("label", "scale"), [("zoom_in", 1.2), ("zoom_out", 1 / 1.2)])
def test_zoom_in_makes_content_grow(label: str, scale: float) -> None:
    matrix = content_motion(motion_of(label, 0.2))
    assert np.hypot(matrix[0, 0], matrix[1, 0]) == pytest.approx(scale, rel=0.02)
    assert middle_shift(matrix) == pytest.approx((0, 0), abs=1)


@pytest.mark.parametrize(("label", "degrees"), [("roll_clockwise", -10), ("roll_counter_clockwise", 10)])
def test_roll_clockwise_turns_content_counter_clockwise(label: str, degrees: float) -> None:
    matrix = content_motion(motion_of(label, 10))
    # y runs down, so a positive angle of this matrix is clockwise on the screen
    assert np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])) == pytest.approx(degrees, abs=0.7)
    assert middle_shift(matrix) == pytest.approx((0, 0), abs=1)


def test_still_is_still_and_shake_comes_back() -> None:
    before, after = views(motion_of("still", 0))
    assert np.array_equal(before, after)
    path = CameraPath([(20.0, motion_of("shake", 0.03))], np.random.default_rng(0))
    poses = np.array([path.at(time_s) for time_s in np.arange(0, 20, 0.05)])
    assert np.abs(poses[:, :2].mean(axis=0)).max() < 0.01
    assert poses[:, :2].std() == pytest.approx(0.03, rel=0.3)


def test_a_path_follows_its_segments() -> None:
    path = CameraPath([(1.0, motion_of("pan_right", 0.5)), (2.0, motion_of("zoom_in", 0.5))], np.random.default_rng(0))
    assert path.at(1.0)[:3] == pytest.approx((0.5, 0, 1), abs=0.01)
    assert path.at(3.0)[:3] == pytest.approx((0.5, 0, 1.5**2), abs=0.02)
    assert path.at(99.0) == path.at(3.01)


def test_the_demo_shows_every_label() -> None:
    assert {part[0] for part in SCRIPT} == set(LABELS)


def test_filming_is_repeatable_and_balanced() -> None:
    worlds = [drawn_worlds(3, seed=1)]
    filming = Filming(geometry=SMALL)
    clips, labels, flows = film_many(worlds, [1.0], 20, filming, seed=5)
    again, _, _ = film_many(worlds, [1.0], 20, filming, seed=5)
    assert clips.shape == (20, 8, 32, 32, 3)
    assert np.array_equal(clips, again)
    assert flows.shape == (20, 4, 2, 2, 2)
    assert np.bincount(labels).tolist() == [2] * 10
    assert not np.array_equal(clips, film_many(worlds, [1.0], 20, filming, seed=6)[0])


def test_frame_times_come_from_cameras_of_10_to_60_frames_a_second(rng: np.random.Generator) -> None:
    for _ in range(200):
        times_s = frame_times(Filming(geometry=Geometry(height_px=64, width_px=64)), rng)
        assert len(times_s) == 16
        assert times_s[0] == 0
        assert (np.diff(times_s) >= 0).all()
        assert 1.35 <= times_s[-1] <= 1.65


@pytest.mark.parametrize("label", LABELS)
def test_speeds_stay_in_the_promised_ranges(label: str, rng: np.random.Generator) -> None:
    for _ in range(100):
        motion = draw_motion(label, 0.0, rng)
        kind = label.split("_")[0]
        if kind == "still":
            assert abs(motion.right_per_s) + abs(motion.down_per_s) < 0.1
            continue
        low, high = SPEEDS[kind]
        speed = {
            "pan": abs(motion.right_per_s),
            "tilt": abs(motion.down_per_s),
            "zoom": max(motion.zoom_per_s, 1 / (1 + motion.zoom_per_s) - 1),
            "roll": abs(motion.roll_deg_per_s),
            "shake": motion.jitter,
        }[kind]
        assert low * 0.999 <= speed <= high * 1.001


@pytest.mark.parametrize("name", symmetry.SYMMETRIES)
@pytest.mark.parametrize("label", LABELS)
def test_symmetries_change_labels_as_the_pixels_say(name: str, label: str) -> None:
    # film the label plainly, apply the symmetry, and see whether the optical flow is that of the new label
    if label in ("still", "shake"):
        classes = np.full(2, LABELS.index(label))
        empty = symmetry.Film(np.zeros((2, 8, 8, 3), np.uint8), classes, np.zeros((1, 2, 2, 2), np.float32))
        assert symmetry.apply(empty, (name,)).label == LABELS.index(label)
        return
    speed = {"pan": 0.1, "tilt": 0.1, "zoom": 0.2, "roll": 10}[label.split("_")[0]]
    classes = np.full(2, LABELS.index(label))
    film = symmetry.Film(np.stack(views(motion_of(label, speed))), classes, true_flow(label, speed))
    changed = symmetry.apply(film, (name,))
    new = LABELS[changed.label]
    assert flow(changed.clip) == pytest.approx(flow(np.stack(views(motion_of(new, speed)))), abs=0.12)
    assert np.abs(changed.flow - true_flow(new, speed)).max() < 0.03


def true_flow(label: str, speed: float) -> NDArray[np.float32]:
    """Flow (1, 4, 4, 2) of a motion over one second."""
    path = CameraPath([(1.0, motion_of(label, speed))], np.random.default_rng(0))
    down, right = np.meshgrid((np.arange(4) + 0.5) / 4 - 0.5, (np.arange(4) + 0.5) / 4 - 0.5, indexing="ij")
    places = np.stack([right, down], axis=-1)
    return content_flow(path.at(0.0), path.at(1.0), aspect=1.0, places=places)[None].astype(np.float32)


def test_the_true_flow_is_what_the_pixels_do() -> None:
    motion = Motion(right_per_s=0.08, down_per_s=-0.05, zoom_per_s=0.15, roll_deg_per_s=8)
    matrix = content_motion(motion)
    path = CameraPath([(1.0, motion)], np.random.default_rng(1))
    places = np.array([[-0.3, -0.2], [0.0, 0.0], [0.25, 0.3]])
    pixels = (places + 0.5) * SIDE
    seen = (pixels @ matrix[:, :2].T + matrix[:, 2] - pixels) / SIDE
    assert content_flow(path.at(0.0), path.at(1.0), aspect=1.0, places=places) == pytest.approx(seen, abs=0.01)


def flow(clip: NDArray[np.uint8]) -> list[float]:
    """(shift right, shift down, growth, turn) between two frames, each of the order of 0.2."""
    grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in clip]
    points = cv2.goodFeaturesToTrack(grey[0], 80, 0.01, 4)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        grey[0], grey[1], points, np.empty_like(points), winSize=(21, 21), maxLevel=3
    )
    kept = found.ravel() == 1
    matrix, _ = cv2.estimateAffinePartial2D(points[kept], moved[kept])
    right, down = middle_shift(matrix)
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    return [2 * right / SIDE, 2 * down / SIDE, float(np.log(scale)), float(np.arctan2(matrix[1, 0], matrix[0, 0]))]


def test_real_footage_gets_no_noise_and_no_objects(rng: np.random.Generator) -> None:
    world = World.of(draw_scene(rng)[None], [0.0], "test")
    clean = [
        film("still", world, [world], Filming(geometry=SMALL, clean=True), np.random.default_rng(s)).clip
        for s in range(12)
    ]
    # half of all still clips do not move at all; then nothing else may change either
    assert sum(np.array_equal(clip, np.broadcast_to(clip[0], clip.shape)) for clip in clean) >= 2


def test_a_video_world_plays_forth_and_back() -> None:
    frames = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((4, 64, 64, 3), np.uint8)
    world = World.of(frames, [0.0, 0.1, 0.2, 0.3], "test")
    assert [int(world.at(time_s, 0)[0, 0, 0]) for time_s in np.arange(0, 0.95, 0.1)] == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
