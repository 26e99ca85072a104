"""Films whose camera move changes, with the class of every time step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.errors import RecipeError
from mar_edge.geometry import Geometry
from mar_edge.reporting import no_progress
from mar_edge.runtime.sources.demo.camera_path import LABELS
from mar_edge.training.synthetic import camera_moves, symmetry
from mar_edge.training.synthetic.camera_moves import CameraMovesPart
from mar_edge.training.synthetic.film_store import FilmStore
from mar_edge.training.synthetic.moves import SHORTEST_S, Moves, draw_moves, draw_path
from mar_edge.training.synthetic.symmetry import Film
from mar_edge.training.synthetic.virtual_camera import Filming, film, film_many, films
from mar_edge.training.synthetic.worlds import drawn_worlds

LONG = Geometry(frames=32, height_px=32, width_px=32)


def part(folder: Path, **changes: Any) -> CameraMovesPart:
    values: dict[str, Any] = {"kind": "camera_moves", "clips": 12, "chunk": 6, "drawn_per_chunk": 2, "cache": folder}
    return CameraMovesPart(**values | changes)


def seen_move(flow: NDArray[np.float32]) -> str:
    """The move that the flow (h, w, 2) of one tubelet shows, each axis in units of its lowest speed."""
    right, down = flow.mean(axis=(0, 1))
    h, w = flow.shape[:2]
    y, x = np.meshgrid((np.arange(h) + 0.5) / h - 0.5, (np.arange(w) + 0.5) / w - 0.5, indexing="ij")
    growth = ((flow[..., 0] - right) * x + (flow[..., 1] - down) * y).sum() / (x**2 + y**2).sum()
    turn = ((flow[..., 1] - down) * x - (flow[..., 0] - right) * y).sum() / (x**2 + y**2).sum()
    strength = {
        ("pan_left", "pan_right"): -right / 0.2,
        ("tilt_up", "tilt_down"): -down / 0.2,
        ("zoom_out", "zoom_in"): growth / 0.1,
        ("roll_counter_clockwise", "roll_clockwise"): -turn / np.deg2rad(8),
    }
    names = max(strength, key=lambda axis: abs(strength[axis]))
    return names[int(strength[names] > 0)]


def test_films_that_do_not_change_are_those_of_before(tmp_path: Path, one_process: None) -> None:
    # numbers of commit 4a5ba31, before moves could change; the next random number proves that as many were drawn
    worlds = list(drawn_worlds(4, 3))
    filming = Filming(geometry=Geometry(height_px=64, width_px=64))
    rng = np.random.default_rng(5)
    greys = [film(label, worlds[0], worlds, filming, rng).clip.mean() for label in LABELS]
    expected = [78.263, 98.972, 132.482, 29.193, 78.144, 142.114, 87.037, 89.916, 112.173, 98.329]
    assert greys == pytest.approx(expected, abs=0.01)
    assert int(rng.integers(1 << 62)) == 1234071993050248865
    data = camera_moves.prepare(part(tmp_path), geometry=filming.geometry, progress=no_progress)
    assert data.digest == "e0d76f1bfea9"
    names = {f"{chunk}.{kind}.npy" for chunk in range(2) for kind in ("clips", "flows", "labels")}
    assert {file.name for file in (tmp_path / "camera_moves-e0d76f1bfea9").iterdir()} == names
    sample = data.sample(3, np.random.default_rng(1))
    assert (sample.label, sample.steps) == (1, None)


def test_a_clip_has_two_or_three_moves_of_at_least_0_6_s(rng: np.random.Generator) -> None:
    counts, pauses = set(), 0
    for _ in range(300):
        moves = draw_moves("pan_left", 3.1, rng)
        counts.add(len(moves.labels))
        assert moves.labels[0] == "pan_left"
        assert all(a != b for a, b in zip(moves.labels, moves.labels[1:], strict=False))
        assert min(moves.durations_s) >= SHORTEST_S
        assert sum(moves.durations_s) == pytest.approx(3.1)
        pauses += len(moves.labels) == 3 and moves.labels[1] == "still"
    assert counts == {2, 3}
    assert 30 < pauses < 120  # of about 150 clips with three moves
    assert {len(draw_moves("still", 1.5, rng).labels) for _ in range(50)} == {2}
    assert draw_moves("still", 1.0, rng) == Moves(("still",), (1.0,))


def test_the_class_is_that_of_the_path_at_each_time(rng: np.random.Generator) -> None:
    moves = Moves(("pan_right", "still", "zoom_in"), (0.7, 0.6, 0.8))
    path = draw_path(moves, 0.0, rng)
    time_s = np.array([0.1, 0.6, 0.75, 1.25, 1.35, 1.9, 2.4])
    assert [LABELS[index] for index in moves.classes(time_s)] == (
        ["pan_right"] * 2 + ["still"] * 2 + ["zoom_in"] * 3
    )  # fmt: skip
    x = [path.at(t)[0] for t in (0.1, 0.6, 0.8, 1.2)]
    zoom = [path.at(t)[2] for t in (0.8, 1.2, 1.4, 2.0)]
    assert x[1] - x[0] > 0.2 * 0.5 * 0.7
    assert abs(x[3] - x[2]) < 0.03
    assert zoom[1] == pytest.approx(zoom[0])
    assert zoom[3] > zoom[2] * 1.1**0.4


def test_long_zooms_are_bounded(rng: np.random.Generator) -> None:
    zooms = [draw_path(Moves(("zoom_in",), (6.5,)), 0.12, rng, largest_zoom=8.0).at(6.5)[2] for _ in range(60)]
    assert 7.0 < max(zooms) < 8.0**1.21
    slow = draw_path(Moves(("zoom_out",), (30.0,)), 0.0, rng, largest_zoom=8.0).at(30.0)[2]
    assert slow < 1 / 8, "a zoom stays a zoom"


@pytest.mark.parametrize("frames", [16, 32, 64])
@pytest.mark.parametrize("names", [(), *((name,) for name in symmetry.SYMMETRIES), symmetry.SYMMETRIES])
def test_steps_say_what_the_flow_of_each_time_step_shows(frames: int, names: tuple[str, ...]) -> None:
    filming = Filming(geometry=replace(LONG, frames=frames, patch_px=8), clean=True, changing=1.0)
    made = films([list(drawn_worlds(2, 1))], [1.0], 10, filming, 7)
    right = wrong = changes = 0
    for one in made:
        changed = symmetry.apply(one, names)
        steps = changed.steps(2)
        assert steps.dtype == np.int64
        assert steps.shape == (frames // 2,) == changed.flow.shape[:1]
        assert changed.label == steps[-1] == changed.classes[-1]
        changes += int((np.diff(steps) != 0).sum())
        for index, step in enumerate(steps):
            within = len(set(changed.classes[2 * index : 2 * index + 2])) == 1
            if within and np.abs(changed.flow[index]).max() > 0 and LABELS[step] not in ("still", "shake"):
                match = seen_move(changed.flow[index]) == LABELS[step]
                right, wrong = right + match, wrong + (not match)
    assert changes >= 10
    assert right > 20 * wrong  # small unwanted moves and wobbles lie over the slowest ones
    assert right > 2 * frames


def test_a_tubelet_across_a_change_has_the_class_of_its_newest_frame_in_either_direction() -> None:
    left, zoom = LABELS.index("pan_left"), LABELS.index("zoom_in")
    classes = np.array([left, left, left, zoom, zoom, zoom])
    one = Film(np.zeros((6, 8, 8, 3), np.uint8), classes, np.zeros((3, 1, 1, 2), np.float32))
    assert one.steps(2).tolist() == [left, zoom, zoom]
    back = symmetry.apply(one, ("reverse",))
    out, to_right = LABELS.index("zoom_out"), LABELS.index("pan_right")
    assert back.steps(2).tolist() == [out, to_right, to_right]
    assert back.label == to_right
    assert symmetry.apply(back, ("reverse",)).classes.tolist() == classes.tolist()


def test_a_share_of_the_clips_changes_and_first_moves_come_in_turn() -> None:
    filming = Filming(geometry=replace(LONG, height_px=16, width_px=16), clean=True, changing=0.5)
    worlds = [list(drawn_worlds(2, 1))]
    made = list(films(worlds, [1.0], 60, filming, 3))
    assert [one.classes[0] for one in made] == [index % len(LABELS) for index in range(60)]
    assert 20 <= sum(len(set(one.classes)) > 1 for one in made) <= 40
    _, labels, _ = film_many(worlds, [1.0], 60, filming, 3)
    assert labels.tolist() == [one.label for one in made]


def test_steps_are_kept_with_the_clips(tmp_path: Path, one_process: None) -> None:
    wanted = part(tmp_path, changing=1.0)
    data = camera_moves.prepare(wanted, geometry=LONG, progress=no_progress)
    (folder,) = tmp_path.iterdir()
    store = FilmStore(folder, [6, 6], changing=True)
    worlds = drawn_worlds(2, 1)  # of the second chunk
    made = list(films([list(worlds)], [1.0], 6, Filming(geometry=LONG, changing=1.0), 1))
    for index, one in enumerate(made):
        kept = store.film(6 + index)
        assert np.array_equal(kept.classes, one.classes)
        assert np.array_equal(kept.clip, one.clip)
        assert store.labels[6 + index] == one.label
    assert data.classes.tolist() == store.labels.tolist()
    sample = data.sample(7, np.random.default_rng(2))
    names = symmetry.draw(np.random.default_rng(2))
    assert sample.steps is not None
    assert sample.steps.tolist() == symmetry.apply(made[1], names).steps(2).tolist()
    assert sample.label == sample.steps[-1]
    assert len(set(sample.steps.tolist())) > 1


@pytest.mark.parametrize("spoil", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-1])])
def test_damaged_classes_are_filmed_again(tmp_path: Path, one_process: None, spoil: Callable[[Path], object]) -> None:
    wanted = part(tmp_path, changing=0.5, clips=4, chunk=2)
    camera_moves.prepare(wanted, geometry=LONG, progress=no_progress)
    (folder,) = tmp_path.iterdir()
    file = folder / "1.classes.npy"
    before = file.read_bytes()
    spoil(file)
    camera_moves.prepare(wanted, geometry=LONG, progress=no_progress)
    assert file.read_bytes() == before


def test_clips_from_before_have_one_class_throughout(tmp_path: Path, one_process: None) -> None:
    camera_moves.prepare(part(tmp_path), geometry=replace(LONG, frames=8), progress=no_progress)
    (folder,) = tmp_path.iterdir()
    store = FilmStore(folder, [6, 6])
    assert store.film(4).classes.tolist() == [4] * 8
    assert store.film(4).steps(2).tolist() == [4] * 4


def test_clips_too_short_for_two_moves_are_refused(tmp_path: Path, one_process: None) -> None:
    short = replace(LONG, frames=14)
    with pytest.raises(RecipeError, match=r"14 frames at 10 frames per second .* use at least 15 frames"):
        camera_moves.prepare(part(tmp_path, changing=0.1), geometry=short, progress=no_progress)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="less than or equal to 1"):
        part(tmp_path, changing=1.5)
