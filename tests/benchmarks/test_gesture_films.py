"""What the measurements of gestures see in films: a model that reads brightness says what each of them shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import accuracy
import cv2
import drawn_delay
import false_events
import numpy as np
import precisions
import pytest
from backgrounds import used_in_training
from contact_sheet import choose_rows, draw_sheet
from drawn_films import GestureFilm, generator
from false_events import Film, Round, find_films, show_all
from judging import CLASSES, NONE
from numpy.typing import NDArray
from real_clips import Watched, check_log, note_look, read_clips, watch_clips
from stroke_end import stroke_end
from watching import changed, film_frames, frames_of, held_around, watch

from mar_edge.bundle import open_bundle
from mar_edge.datasets.fingerprint import TRAINING_VIDEOS, Fingerprints
from mar_edge.errors import DataError, OptionError, SourceError
from tests.benchmarks.gesture_films import DrawnFilm, at, gesture, reader, shows
from tests.conftest import ROOT
from tests.fakes.films import write_film

EIGHT = CLASSES[8]


def drawn(count: int, seed: int) -> Iterator[GestureFilm]:
    """Draw films of every class in turn, as a generator does."""
    for place in range(count):
        label = EIGHT[(place + seed) % 8]
        yield DrawnFilm(shows((NONE, 5.0)), ()) if label == NONE else gesture(label)


@pytest.fixture(scope="module")
def clips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of clips like the real one: four shown right, and a star that is taken for a circle."""
    folder = tmp_path_factory.mktemp("clips")
    rows = ["path,label,group"]
    for place, (label, shown) in enumerate(
        [("tick", "tick"), ("swipe_left", "swipe_left"), ("other", NONE), ("star", "circle"), ("cross", "cross")]
    ):
        write_film(folder / f"{place}.mp4", shows((NONE, 1.0), (shown, 1.2)))
        rows.append(f"{place}.mp4,{label},s{place % 2}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def watched(clips_folder: Path) -> Watched:
    return watch_clips(reader(), read_clips(clips_folder), EIGHT)


def test_events_are_told_when_they_have_lasted() -> None:
    clip = shows((NONE, 1.0), ("tick", 1.4), (NONE, 1.0))
    said = watch(reader(), film_frames(clip, at(clip)), unsmoothed=True)
    (event,) = said.begun
    assert event.label == "tick"
    assert 1.0 < event.start_s < 1.6
    assert event.told_s - event.start_s >= 0.5  # the rule's minimum
    assert said.length_s == pytest.approx(3.3)
    assert said.able_from_s == pytest.approx(0.7)  # half of 16 frames
    assert said.able_s == pytest.approx(3.3 - 0.5)  # from the answer before that to the last one
    assert [EIGHT[row.argmax()] for row in said.scores] == [NONE] * 5 + ["tick"] * 7 + [NONE] * 5  # not smoothed


def test_a_stroke_at_the_end_of_a_clip_is_told_while_its_last_picture_is_held() -> None:
    clip = shows((NONE, 1.0), ("circle", 0.4))
    assert watch(reader(), film_frames(clip, at(clip))).begun == ()
    held = list(held_around(film_frames(clip, at(clip)), after_s=0.8))
    assert [frame.time_s for frame in held[-9:]] == pytest.approx([1.3 + 0.1 * place for place in range(9)])
    assert watch(reader(), held).begun[0].label == "circle"


def test_a_stroke_at_the_begin_is_told_by_a_camera_that_ran_before() -> None:
    clip = np.concatenate([shows((NONE, 0.1)), shows(("circle", 0.8)), shows((NONE, 1.0))])
    assert watch(reader(), film_frames(clip, at(clip))).begun == ()
    held = list(held_around(film_frames(clip, at(clip)), before_s=1.0))
    assert all(after.time_s > before.time_s for before, after in pairwise(held))
    assert held[10].time_s == 0.0  # the times of the film stay
    assert [event.label for event in watch(reader(), held).begun] == ["circle"]


def test_a_single_picture_has_no_rate_to_be_held_at() -> None:
    clip = shows((NONE, 0.1))
    assert len(list(held_around(film_frames(clip, at(clip)), before_s=1.0, after_s=1.0))) == 1


def test_a_frame_that_a_slow_camera_shows_twice_is_pushed_once() -> None:
    frames = list(film_frames(shows((NONE, 0.4)), np.array([0.0, 0.1, 0.1, 0.2])))
    assert [frame.time_s for frame in frames] == [0.0, 0.1, 0.2]


def test_a_film_is_mirrored_and_slowed() -> None:
    clip = shows((NONE, 0.3))
    clip[:, :, 0] = 255
    frames = list(changed(film_frames(clip, at(clip)), mirrored=True, speed=0.5))
    assert [frame.time_s for frame in frames] == pytest.approx([0.0, 0.2, 0.4])
    assert (frames[0].picture[:, -1] == 255).all() and (frames[0].picture[:, 0] < 255).all()


def test_real_clips_are_judged_by_events_and_by_peaks(watched: Watched) -> None:
    for answers in (watched.events(EIGHT), watched.peaks(EIGHT)):
        assert answers.answers == ("tick", "swipe_left", NONE, "circle", "cross")
        assert (answers.right, answers.top1) == (4, 0.8)  # the star is none of the eight classes
    text = accuracy.page(watched, EIGHT, "fake", "Shown once", None)
    assert "| events | 5 | **80.0 %** |" in text and "no log was given" in text
    assert "| star | · | · | · | · | · | 1 | · | · | 1 |" in text
    assert "| clips of the gestures | 3 |" in text


def test_clips_without_a_list_or_of_strange_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"clips.csv cannot be read: .*--data"):
        read_clips(tmp_path)
    (tmp_path / "clips.csv").write_text("path,label\na.mp4,tick\n")
    with pytest.raises(DataError, match="no clips with path, label and group"):
        read_clips(tmp_path)
    (tmp_path / "clips.csv").write_text("path,label,group\na.mp4,wave,s1\n")
    with pytest.raises(DataError, match="has the label 'wave'; expected swipe_left"):
        read_clips(tmp_path)


def test_every_look_is_noted(tmp_path: Path, watched: Watched) -> None:
    log, bundle = tmp_path / "looks.jsonl", open_bundle("egomotion")
    check_log(log)
    assert [note_look(log, bundle, accuracy.figures(watched, EIGHT)) for _ in range(2)] == [1, 2]
    line = json.loads(log.read_text().splitlines()[1])
    assert line["bundle"] == "egomotion" and len(line["digest"]) == 64
    assert line["events"]["top1"] == 0.8 and line["events"]["recalls"]["tick"] == 1.0
    assert note_look(None, bundle, {}) is None


def test_the_log_stays_outside_of_the_repository(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="inside the repository"):
        check_log(ROOT / "docs" / "looks.jsonl")
    with pytest.raises(OptionError, match="cannot be written"):
        check_log(tmp_path / "no" / "looks.jsonl")


def moving_hand(
    until_s: float, length_s: float, *, shake_px: float = 0.7
) -> tuple[list[NDArray[np.uint8]], list[float]]:
    """Return pictures of a shaking camera with a patch that moves from 0.5 s until some time, and their times at 20 per second."""
    rng = np.random.default_rng(4)
    scene = cv2.GaussianBlur(rng.integers(0, 256, (200, 260, 3), dtype=np.uint8), (0, 0), 4.0)
    scene = cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    pictures, times_s = [], [place / 20 for place in range(round(20 * length_s))]
    for time_s in times_s:
        left, top = 20 + rng.uniform(-shake_px, shake_px, 2)
        view = cv2.getRectSubPix(scene, (192, 144), (left + 96, top + 72))
        x = round(30 + 90 * float(np.clip(time_s, 0.5, until_s) - 0.5))
        view[40:90, x : x + 30] = (230, 180, 150)
        pictures.append(view)
    return pictures, times_s


def test_the_end_of_a_stroke_is_found_although_the_camera_shakes() -> None:
    assert stroke_end(*moving_hand(1.5, 2.5)) == pytest.approx(1.5, abs=0.1)


def test_an_end_that_cannot_be_told_is_not_guessed() -> None:
    assert stroke_end(*moving_hand(1.5, 1.5)) is None  # it moves to the end
    pictures, times_s = moving_hand(1.0, 1.5, shake_px=0.0)
    assert stroke_end(pictures[:1] * 20, times_s[:20]) is None  # nothing moves
    assert stroke_end(pictures[:2], times_s[:2]) is None
    assert stroke_end([], []) is None


def test_rounds_go_on_until_there_is_enough(tmp_path: Path) -> None:
    calm = write_film(tmp_path / "clips" / "calm.mp4", shows((NONE, 4.0)))
    wave = write_film(tmp_path / "data" / "arid" / "wave.mp4", shows((NONE, 2.0), ("tick", 1.2), (NONE, 0.8)))
    (tmp_path / "clips" / "README.md").write_text("no video")
    films = [film for film in find_films(tmp_path, lambda path: path == wave) if film.group != "demo camera"]
    assert [(film.source, film.group, film.used) for film in films] == [
        (calm, "clips", False),
        (wave, "data/arid", True),
    ]
    shown, failed = show_all(reader(), [*films, Film(tmp_path / "gone.mp4", "clips", False)], 20.0)
    assert list(dict.fromkeys(one.round for one in shown)) == [Round(), Round(mirrored=True), Round(0.7)]
    assert "gone.mp4" in "".join(failed)
    text = false_events.page(shown, "fake", "as said", failed)
    assert "| used as backgrounds | 13 | " in text  # 3.9 s twice, and once slowed
    row = next(line for line in text.splitlines() if line.startswith("| never seen in training |"))
    assert row.split(" | ")[3] == "0"
    assert "| data/arid | 1 | 1 | 4 | 13 | " in text and "3 tick |" in text
    assert f"| {wave} | speed 0.7 | tick |" in text
    assert "1 film could not be read to the end" in text


def test_an_hour_needs_films(tmp_path: Path) -> None:
    film = write_film(tmp_path / "calm.mp4", shows((NONE, 0.5)))
    with pytest.raises(SourceError, match=r"in all rounds, and 3600 s are wanted. Lower --hour"):
        show_all(reader(), [Film(film, "clips", False)], 3600.0)


def test_backgrounds_are_those_of_the_provenance_or_as_given(tmp_path: Path) -> None:
    spec = reader().spec
    films = [tmp_path / "clips" / "asl" / name for name in ("yes.mkv", "no.mkv")] + [
        tmp_path / "clips" / "daily" / "a.mp4"
    ]
    used, source = used_in_training(spec)
    assert used is None and "name them with --background" in source
    recipe = {"data": {"videos": ["../shared/clips/asl"], "videos_held_out": ["no.mkv"]}}
    used, source = used_in_training(spec.model_copy(update={"provenance": {"recipe": recipe}}))
    assert used is not None and [used(film) for film in films] == [True, False, False]
    assert "clips/asl, without 1 that were held out (no.mkv)" in source
    used, _ = used_in_training(spec, [Path("../elsewhere/clips/daily")])
    assert used is not None and [used(film) for film in films] == [False, False, True]
    film = write_film(tmp_path / "a.mp4", shows((NONE, 0.3)))
    known = {TRAINING_VIDEOS: Fingerprints.of([film]).text}
    used, _ = used_in_training(spec.model_copy(update={"provenance": known}))
    assert used is not None and used(film) and not used(films[0])


def test_drawn_films_are_told_after_their_strokes() -> None:
    told = drawn_delay.tell(reader(), drawn(16, 0), EIGHT)
    assert told.answers == told.truths == [*EIGHT, *EIGHT]
    assert told.strokes == len(told.delays_s) == 14
    assert all(0.5 <= delay_s <= 1.2 for delay_s in told.delays_s)  # smoothing, and the rule's minimum of 0.5 s
    text = drawn_delay.page(told, EIGHT, "fake")
    assert "| strokes | 14 |" in text and "| false events | 0, 0.0 an hour" in text
    assert "| swipe_up | 2 | 100.0 % |" in text


def test_other_shapes_are_negatives() -> None:
    told = drawn_delay.tell(reader(), [gesture("tick", strokes=[("square", 1.0, 2.0)])], EIGHT)
    assert (told.truths, told.answers, told.strokes, told.false) == ([NONE], ["tick"], 0, 1)


def test_a_generator_that_draws_nothing_or_is_not_there_is_refused() -> None:
    with pytest.raises(OptionError, match="drew no film"):
        drawn_delay.tell(reader(), [], EIGHT)
    for name in ("mar_edge.nothing:films", "mar_edge.testing:films", "mar_edge", ""):
        with pytest.raises(OptionError, match="there is no generator"):
            generator(name)
    assert generator(f"{__name__}:drawn") is drawn


def test_contact_sheet_has_a_row_for_each_class() -> None:
    rows = choose_rows(drawn(20, 3), EIGHT)
    assert list(rows) == list(EIGHT) and {len(frames) for frames in rows.values()} == {12}
    assert rows["tick"][-1].mean() == shows(("tick", 0.1)).mean()  # 0.3 s after the stroke
    sheet = draw_sheet(rows, 40)
    assert sheet.shape == (8 * 42 + 2, 110 + 12 * 42, 3)
    with pytest.raises(OptionError, match=r"no film shows swipe_left, .*Draw more with --count"):
        choose_rows([DrawnFilm(shows((NONE, 1.0)), ())], EIGHT)


def test_precisions_are_compared_with_fp32_of_their_mask(watched: Watched) -> None:
    whole = open_bundle("egomotion").variant()
    small = whole.model_copy(update={"precision": "int8", "file": "small.onnx"})
    other = whole.model_copy(update={"precision": "fp16", "file": "other.onnx"})
    right = watched.events(EIGHT)
    wrong = type(right)(EIGHT, right.truths, (NONE, *right.answers[1:]), right.groups)
    text = precisions.compared(
        [whole, small, other],
        {whole.file: {"events": right}, small.file: {"events": wrong}},
        {whole.file: 1.25, small.file: 0.5, other.file: None},
        {other.file: "no kernel"},
    )
    assert "| 1.25 | events | 80.0 % | 37.6 to 96.4 % | +0.0 | 100.0 % |" in text
    assert "| 0.50 | events | 60.0 % |" in text and "| -20.0 | 80.0 % |" in text
    assert "| - | does not run | no kernel |" in text


def test_the_demo_camera_is_read_to_its_end() -> None:
    frames = list(frames_of("demo:realtime=no,size=64x48,fps=2"))
    assert len(frames) == 96 and frames[-1].time_s == pytest.approx(47.5)
