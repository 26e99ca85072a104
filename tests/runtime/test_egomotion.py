"""The model that ships: what it promises, on a small sample. The full figures are in docs/explanation/egomotion.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mar_edge
from mar_edge.bundle import BUILTIN, open_bundle
from mar_edge.runtime.sources.demo.camera_path import LABELS
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.training.synthetic.virtual_camera import Filming, film_many
from mar_edge.training.synthetic.worlds import drawn_worlds, video_worlds
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def model() -> mar_edge.Model:
    return mar_edge.load("egomotion", threads=1)


def test_it_is_what_it_says(model: mar_edge.Model) -> None:
    assert model.labels == list(LABELS)
    assert model.spec.idle_label == "still"
    assert model.spec.licence == "Apache-2.0"
    assert model.spec.trained_mask == 50
    assert open_bundle("egomotion").variant().parity.max_abs_error <= 1e-4
    size = sum(path.stat().st_size for path in (BUILTIN / "egomotion.mar").iterdir())
    assert size <= 8_000_000


def test_the_files_in_the_package_are_bundle_files_only() -> None:
    for path in BUILTIN.rglob("*"):
        assert path.is_dir() or path.suffix in (".onnx", ".json", ".md"), path


def test_it_tells_moves_over_unseen_scenes(model: mar_edge.Model) -> None:
    filming = Filming(geometry=model.spec.geometry, rate_fps=model.spec.rate_fps, margin=0.0)
    clips, truth, _ = film_many([drawn_worlds(30, 31337)], [1.0], 200, filming, 31337)
    right = model.engine.infer(clips).argmax(axis=1) == truth
    assert right.mean() >= 0.90  # 95 % over 2,000 clips; a sample of 200 may lie lower


def test_it_tells_moves_over_real_footage(model: mar_edge.Model, real_clips: Path) -> None:
    worlds = video_worlds(sorted((real_clips / "daily").glob("*.mp4"))[:4])
    filming = Filming(geometry=model.spec.geometry, rate_fps=model.spec.rate_fps, margin=0.0, clean=True)
    clips, truth, _ = film_many([worlds], [1.0], 200, filming, 4242)
    right = model.engine.infer(clips).argmax(axis=1) == truth
    assert right.mean() >= 0.85  # 90 % over all footage; a sample of 200 may lie lower


def test_a_camera_that_stands_still_is_still_though_people_move(model: mar_edge.Model, real_clips: Path) -> None:
    labels = [
        result.label
        for name in ("s1_fall_13.mp4", "s2_fall_12.mp4", "s2_adl_23.mp4")
        for result in model.stream(real_clips / "daily" / name, smoothing_s=0)
    ]
    assert len(labels) > 80
    assert labels.count("still") / len(labels) >= 0.9


@pytest.mark.parametrize("fps", [10, 15, 25, 60])
@pytest.mark.parametrize("size_px", [(320, 240), (640, 360)])
def test_cameras_of_any_rate_and_size_agree(model: mar_edge.Model, fps: float, size_px: tuple[int, int]) -> None:
    script = (("pan_left", 4.0, 0.5), ("roll_clockwise", 4.0, 20.0), ("zoom_out", 4.0, 0.3))
    right = total = 0
    demo = DemoSource(size_px=size_px, fps=fps, realtime=False, script=script)
    for result in model.stream(demo, smoothing_s=0):
        if demo.truth_at(result.time_s) == demo.truth_at(max(0.0, result.time_s - 1.6)):
            total += 1
            right += result.label == demo.truth_at(result.time_s)
    assert total >= 20
    assert right / total >= 0.8


def test_a_whole_clip(model: mar_edge.Model, real_clips: Path) -> None:
    result = model.classify(real_clips / "daily" / "s2_adl_23.mp4")
    assert result.label == "still"
    assert result.views == 1  # one stream from its beginning to its end
    assert sum(result.scores.values()) == pytest.approx(1)
    assert result.top(3)[0][0] == "still"
    frames = np.zeros((20, 90, 120, 3), np.uint8)
    assert model.classify(frames).views == 1


def test_the_robot_example_runs() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "runtime" / "robot_loop.py"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "the camera does: pan_right" in done.stdout
    assert "it did: zoom_in from" in done.stdout


def test_classify_says_what_it_cannot_do(model: mar_edge.Model, real_clips: Path) -> None:
    with pytest.raises(mar_edge.OptionError, match="with 1 or 3 crops"):
        model.classify(real_clips / "asl" / "yes.mkv", views=(2, 2))
    with pytest.raises(mar_edge.FrameError, match="a clip must be a path, or frames"):
        model.classify(np.zeros((20, 90, 120), np.uint8))
    for wrong in ({"mask": "50"}, {"mask": 40}, {"threads": 0}, {"threads": "2"}):
        with pytest.raises(mar_edge.OptionError, match=next(iter(wrong))):
            mar_edge.load("egomotion", **wrong)
    assert mar_edge.load(Path("egomotion")).spec.name == "egomotion"
    with pytest.raises(mar_edge.EngineError, match="unknown engine 'abacus'"):
        mar_edge.load("egomotion", engine="abacus")
