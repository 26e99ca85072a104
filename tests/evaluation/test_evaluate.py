"""Evaluation: a checkpoint and the bundle made of it say the same, labels are matched, broken files are named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

import mar_edge
from mar_edge.bundle import Bundle
from mar_edge.errors import CheckpointError, DataError, EngineError, MarEdgeError, OptionError
from mar_edge.evaluation.evaluation import evaluate, open_model, read_videos, show
from mar_edge.export.exporter import export
from mar_edge.export.graph import count_macs as count_graph_macs
from mar_edge.geometry import Geometry
from mar_edge.model import checkpoint
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.streaming import StreamingMAR, running_tokens
from mar_edge.runtime.clips.segments import Sampling
from mar_edge.runtime.model import Model
from tests.fakes.bundle import BrightnessEngine, write_bundle
from tests.fakes.command_line import mar_edge as run
from tests.fakes.video_files import audio_only, write_moving, write_video

TINY = ModelConfig(
    geometry=Geometry(frames=8, height_px=32, width_px=32, patch_px=8),
    width=32,
    depth=2,
    heads=2,
    classes=6,
    bridge_width=24,
    bridge_heads=2,
    decoder_width=16,
    decoder_depth=1,
    decoder_heads=2,
)
LABELS = ["Drink", "Jump", "Run", "Sit", "Stand", "Walk"]
INFO = CheckpointInfo(name="tiny", labels=LABELS, rate_fps=10, resize="center_crop", mask_ratio=0.5)
STEADY = [index / 30 for index in range(45)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights whose answers differ from clip to clip."""
    torch.manual_seed(0)
    model = build(TINY)
    for parameter in model.parameters():
        parameter.data *= 1.5
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    checkpoint.save(path, model, TINY, INFO)
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of twelve videos, three of a class that the model takes for another and so on."""
    folder = tmp_path_factory.mktemp("videos")
    rows = ["path,label"]
    for index in range(12):
        write_moving(folder / f"{index}.mp4", STEADY[: 20 + 2 * index], size=(64, 48) if index % 2 else (48, 64))
        rows.append(f"{index}.mp4,{LABELS[index % 5]}")
    (folder / "list.csv").write_text("\n".join(rows))
    return folder / "list.csv"


@pytest.mark.parametrize(
    ("sampling", "mask", "views"), [("dense", 50, None), ("dense", 75, (3, 3)), ("uniform", 0, (2, 3))]
)
def test_a_checkpoint_and_its_bundle_say_the_same(
    weights: Path, videos: Path, tmp_path: Path, sampling: Sampling, mask: int, views: tuple[int, int] | None
) -> None:
    model, config, info = checkpoint.load(weights)
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(path, model, config, replace(info, sampling=sampling))
    export(path, tmp_path / "tiny.mar", masks=[25, mask])
    listed = read_videos(videos, LABELS)
    by_torch, by_graph = (
        evaluate(open_model(place, mask=mask), listed, views=views) for place in (path, tmp_path / "tiny.mar")
    )
    assert np.array_equal(by_torch.predicted, by_graph.predicted)
    assert np.abs(by_torch.scores - by_graph.scores).max() <= 1e-4
    assert len({tuple(row) for row in by_torch.scores.round(4).tolist()}) > 3  # the model does look at the clips
    assert by_torch.windows == by_graph.windows
    assert by_torch.windows == (12 * views[0] * views[1] if views else by_torch.windows)
    assert by_torch.targets.tolist() == [index % 5 for index in range(12)]
    assert by_torch.absent == ("Walk",)


def test_a_checkpoint_is_a_model_like_any_other(weights: Path, videos: Path, tmp_path: Path) -> None:
    model = open_model(weights)
    clip = videos.parent / "11.mp4"
    export(weights, tmp_path / "tiny.mar")
    bundle = mar_edge.load(tmp_path / "tiny.mar")
    assert (model.labels, model.variant.mask, model.engine.name) == (LABELS, 50, "torch")
    assert model.variant.gmacs * 1e9 == count_graph_macs(bundle.engine.path)
    ours, theirs = ([(p.time_s, p.score) for p in each.stream(clip, hop=2)] for each in (model, bundle))
    assert len(ours) > 2
    assert np.allclose(ours, theirs, atol=1e-4)


def test_a_streaming_checkpoint_is_evaluated_step_by_step(videos: Path, tmp_path: Path) -> None:
    config = replace(TINY, temporal="causal", input_norm="step")
    torch.manual_seed(0)
    causal = build(config).eval()
    for parameter in causal.parameters():
        parameter.data *= 1.5
    path = tmp_path / "causal.safetensors"
    checkpoint.save(path, causal, config, INFO)
    model = open_model(path, mask=75)
    assert model.spec.streaming and model.masks == (0, 25, 50, 75)
    result = evaluate(model, read_videos(videos, LABELS), views=(1, 3))
    assert result.windows == 12 * 3
    assert len({tuple(row) for row in result.scores.round(4).tolist()}) > 3
    with pytest.raises(OptionError, match="use 1x1"):
        evaluate(model, read_videos(videos, LABELS), views=(2, 1))
    # step by step is what the model does in one pass
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (2, 24, 32, 32, 3), dtype=np.uint8)
    visible = running_tokens(config.geometry, 0.75, 12)
    assert isinstance(causal, StreamingMAR)
    with torch.inference_mode():
        expected = causal.every_step(torch.from_numpy(clip), visible).numpy()
    assert np.abs(model.engine.every_step(clip) - expected).max() <= 1e-5 * np.abs(expected).max()
    states = [model.engine.new_state() for _ in clip]
    together = np.stack([model.engine.step(clip[:, 2 * step : 2 * step + 2], states) for step in range(12)], axis=1)
    assert np.abs(together - expected).max() <= 1e-5 * np.abs(expected).max()
    session = model.session()
    found = [session.push(frame, index / 10, color="rgb") for index, frame in enumerate(clip[0])]
    assert sum(one is not None for one in found) == 12
    session.set_mask(0)
    assert session.mask == 0 and session.push(clip[1, 0], 2.4) is None
    after = session.push(clip[1, 1], 2.5)
    assert after is not None and after.mask == 0


def test_sampling_goes_from_checkpoint_to_bundle_and_old_bundles_are_dense(weights: Path, tmp_path: Path) -> None:
    model, config, info = checkpoint.load(weights)
    checkpoint.save(tmp_path / "u.safetensors", model, config, replace(info, sampling="uniform"))
    assert checkpoint.load(tmp_path / "u.safetensors")[2].sampling == "uniform"
    assert export(tmp_path / "u.safetensors", tmp_path / "u.mar").bundle.manifest.sampling == "uniform"
    assert "sampling" not in json.loads((write_bundle(tmp_path / "old.mar") / "manifest.json").read_text())
    assert Bundle(tmp_path / "old.mar").manifest.sampling == "dense"
    checkpoint.save(tmp_path / "odd.safetensors", model, config, replace(info, sampling="odd"))  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="sampling"):
        open_model(tmp_path / "odd.safetensors")


def uniform(folder: Path) -> tuple[Model, Callable[[], list[list[int]]]]:
    """Return a model of 4 frames that samples uniformly, and what it saw: the frames' numbers in each window."""
    engine = BrightnessEngine(folder, sampling="uniform", resize="center_crop")
    model = Model(engine)

    def seen() -> list[list[int]]:
        windows = [[round(frame.mean() / 10) for frame in window[0]] for window in engine.seen]
        engine.seen.clear()
        return windows

    return model, seen


def test_uniform_models_see_the_whole_video(tmp_path: Path) -> None:
    """A video of 16 frames, each as bright as ten times its number: segments of four."""
    model, seen = uniform(tmp_path / "fake.mar")
    path = write_video(tmp_path / "v.mp4", [index / 30 for index in range(16)], size=(64, 64))
    result = model.classify(path)
    assert seen() == [[2, 6, 10, 14]]  # the middles
    assert (result.views, result.repeated_frames) == (1, 0)
    model.classify(path, views=(2, 1))
    assert seen() == [[0, 4, 8, 12], [2, 6, 10, 14]]  # beginnings and middles, as the paper's two
    assert model.classify(path, views=(2, 3)).views == 6
    seen()
    frames = np.stack([np.full((32, 32, 3), 10 * index, np.uint8) for index in range(16)])
    model.classify(frames)
    assert seen() == [[2, 6, 10, 14]]
    model.classify(frames, views=(2, 1))
    assert seen() == [[0, 4, 8, 12], [2, 6, 10, 14]]


def test_uniform_models_and_videos_shorter_than_a_window(tmp_path: Path) -> None:
    model, seen = uniform(tmp_path / "fake.mar")
    path = write_video(tmp_path / "v.mp4", [0, 1 / 30], size=(64, 64))
    result = model.classify(path)
    assert seen() == [[0, 0, 1, 1]]
    assert result.repeated_frames == 2
    model.classify(np.zeros((1, 32, 32, 3), np.uint8))
    assert seen() == [[0, 0, 0, 0]]
    with pytest.raises(mar_edge.FrameError, match="a clip must be a path"):
        model.classify(np.zeros((4, 32, 32), np.uint8))
    with pytest.raises(mar_edge.SourceError, match="no such file"):
        model.classify(tmp_path / "none.mp4")


@pytest.fixture
def bright(tmp_path: Path) -> Model:
    """A model that tells dark, light and bright apart."""
    engine = BrightnessEngine(tmp_path / "fake.mar")
    return Model(engine)


def write_grey(path: Path, level: int) -> Path:
    """Write a video of one grey level."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(8):
            picture: NDArray[np.uint8] = np.full((48, 64, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_list(folder: Path, rows: list[tuple[str, str]]) -> Path:
    path = folder / "list.csv"
    path.write_text("path,label\n" + "".join(f"{name},{label}\n" for name, label in rows))
    return path


def test_labels_by_name_by_number_and_by_folder(bright: Model, tmp_path: Path) -> None:
    for kind, level in (("dark", 0), ("bright", 255)):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for index in range(2):
            write_grey(tmp_path / "data" / kind / f"{index}.mp4", level)
    rows = [("dark/0.mp4", "dark"), ("bright/0.mp4", "bright"), ("dark/1.mp4", "bright"), ("bright/1.mp4", "bright")]
    numbers = {"dark": "0", "bright": "2"}
    named = evaluate(bright, read_videos(write_list(tmp_path / "data", rows), bright.labels))
    assert named.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 2]]
    assert named.absent == ("light",)
    numbered = write_list(tmp_path / "data", [(name, numbers[label]) for name, label in rows])
    assert evaluate(bright, read_videos(numbered, bright.labels)).confusion.tolist() == named.confusion.tolist()
    numbered.unlink()
    folders = evaluate(bright, read_videos(tmp_path / "data", bright.labels))
    assert folders.confusion.tolist() == [[2, 0, 0], [0, 0, 0], [0, 0, 2]]
    assert folders.top1 == 1


def test_unknown_labels_are_told_once_with_the_nearest(bright: Model, tmp_path: Path) -> None:
    listed = write_list(tmp_path, [("a.mp4", "dark"), ("b.mp4", "brigth"), ("c.mp4", "brigth"), ("d.mp4", "xyz")])
    with pytest.raises(DataError) as caught:
        read_videos(listed, bright.labels)
    said = str(caught.value)
    assert said.count("brigth") == 1
    assert "'brigth' (line 3, did you mean 'bright'?)" in said
    assert "'xyz' (line 5)" in said
    assert "It knows dark, light, bright" in said
    with pytest.raises(DataError, match="'3'"):
        read_videos(write_list(tmp_path, [("a.mp4", "3")]), bright.labels)


def test_broken_files_are_all_named_before_any_work_or_left_out(bright: Model, tmp_path: Path) -> None:
    write_grey(tmp_path / "good.mp4", 0)
    (tmp_path / "empty.mp4").write_bytes(b"")
    audio_only(tmp_path / "audio.mp4")
    listed = write_list(tmp_path, [(f"{name}.mp4", "dark") for name in ("empty", "good", "missing", "audio")])
    videos = read_videos(listed, bright.labels)
    with pytest.raises(DataError) as caught:
        evaluate(bright, videos)
    said = str(caught.value)
    for words in ("3 of 4 videos", "empty.mp4", "missing.mp4", "audio.mp4", "list.csv:2", "--skip-broken"):
        assert words in said
    assert not bright.engine.seen  # type: ignore[attr-defined]
    kept = evaluate(bright, videos, skip_broken=True)
    assert kept.names == ("good.mp4",)
    assert len(kept.broken) == 3
    assert kept.top1 == 1
    none = read_videos(write_list(tmp_path, [("empty.mp4", "dark")]), bright.labels)
    with pytest.raises(DataError, match="1 of 1 video cannot be read"):
        evaluate(bright, none, skip_broken=True)


def test_nothing_is_lost_without_a_word(bright: Model, tmp_path: Path) -> None:
    for name in ("dark/0.mp4", "dark/1", "bright/0.mp4", "bright/.1.mp4"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        write_grey(tmp_path / "film.mp4", 255 if "bright" in name else 0).rename(tmp_path / "data" / name)
    (tmp_path / "data" / "bright" / "notes.txt").write_text("sunny")
    (tmp_path / "data" / "light").symlink_to("bright")
    result = evaluate(bright, read_videos(tmp_path / "data", bright.labels))
    assert result.names == ("bright/0.mp4", "dark/0.mp4", "dark/1", "light/0.mp4")
    left_out, twice = result.warnings[:2]
    assert f"{tmp_path / 'data'}: 4 left out: bright/.1.mp4 (is hidden), bright/notes.txt (" in left_out
    assert twice.endswith(": 1 file is listed under two classes: light/0.mp4 is bright/0.mp4")
    (tmp_path / "data" / "dark" / "0.mp4").write_bytes(b"")
    (tmp_path / "data" / "dark" / "1").unlink()
    with pytest.raises(DataError, match=r"no video is left of the class dark: .*dark/0\.mp4 is empty"):
        evaluate(bright, read_videos(tmp_path / "data", bright.labels), skip_broken=True)
    (tmp_path / "data" / "dark" / "0.mp4").unlink()
    with pytest.raises(DataError, match=r"the class folder .*dark contains no video; add some, or remove the folder"):
        read_videos(tmp_path / "data", bright.labels)


def test_labels_that_only_look_like_the_models_are_refused_with_the_nearest(bright: Model, tmp_path: Path) -> None:
    rows = [("a.mp4", "DARK"), ("b.mp4", "bri\u200bght"), ("c.mp4", "_light_")]
    with pytest.raises(DataError) as caught:
        read_videos(write_list(tmp_path, rows), bright.labels)
    for near in ("dark", "bright", "light"):
        assert f"did you mean '{near}'?" in str(caught.value)
    doubtful = read_videos(write_list(tmp_path, [("a.mp4", "1"), ("b.mp4", "02")]), bright.labels)
    assert [video.label for video in doubtful.videos] == [1, 2]
    assert doubtful.remarks == (
        f"{tmp_path / 'list.csv'}: the labels are numbers that start at 1, so class 0 has no video; classes are counted "
        "from 0",
    )


def test_views_that_cannot_be_made_are_told_before_any_work(bright: Model, tmp_path: Path) -> None:
    videos = read_videos(write_list(tmp_path, [("missing.mp4", "dark")]), bright.labels)
    for views, says in (((0, 1), "views 0x1"), ((2, 2), "with 1 or 3 crops"), ((5, 3), "crops are not supported")):
        with pytest.raises(OptionError, match=says):
            evaluate(bright, videos, views=views)


def test_short_clips_and_damage_are_counted(bright: Model, tmp_path: Path, real_clips: Path) -> None:
    write_video(tmp_path / "short.mp4", [0, 0.1])
    (tmp_path / "damaged.mp4").write_bytes((real_clips / "edge" / "corrupted.mp4").read_bytes())
    listed = write_list(tmp_path, [("short.mp4", "dark"), ("damaged.mp4", "dark")])
    told: list[tuple[str, int, int]] = []
    result = evaluate(bright, read_videos(listed, bright.labels), progress=lambda *state: told.append(state))
    assert result.short == 1
    assert any(message.startswith("damaged.mp4: ") and "damaged" in message for message in result.warnings)
    assert told[0] == ("checking", 0, 2)
    assert told[-1] == ("classifying", 2, 2)


def test_models_that_cannot_be_opened(weights: Path, tmp_path: Path) -> None:
    wrong = {
        "model.pth": "Run: mar-edge import|mar-edge import .*model.pth",
        "model.onnx": "name the bundle's folder",
        "none.safetensors": "no such checkpoint",
        "damaged.safetensors": "not a readable safetensors file",
        "foreign.safetensors": "is not a mar-edge checkpoint. Run: mar-edge import",
        "pretrained.safetensors": "pre-trained only and has no classifier",
        "egomotin": "did you mean 'egomotion'",
    }
    (tmp_path / "model.pth").write_bytes(b"weights")
    (tmp_path / "damaged.safetensors").write_bytes(weights.read_bytes()[:1000])
    save_file({"weight": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    plain = replace(TINY, classifier="none", classes=0)
    checkpoint.save(tmp_path / "pretrained.safetensors", build(plain), plain, replace(INFO, labels=[]))
    for name, says in wrong.items():
        with pytest.raises(MarEdgeError, match=says):
            open_model(name if "." not in name else tmp_path / name)
    options: list[tuple[dict[str, Any], type[MarEdgeError], str]] = [
        (
            {"engine": "onnxruntime"},
            EngineError,
            "runs in torch, not in onnxruntime; for onnxruntime run: mar-edge export",
        ),
        ({"mask": 40}, OptionError, "mask 40 is invalid"),
        ({"precision": "int8"}, OptionError, "not in int8"),
        ({"threads": 0}, OptionError, "threads 0"),
    ]
    for given, kind, says in options:
        with pytest.raises(kind, match=says):
            open_model(weights, **given)
    odd = replace(TINY, geometry=Geometry(frames=8, height_px=24, width_px=24, patch_px=8))
    checkpoint.save(tmp_path / "odd.safetensors", build(odd), odd, INFO)
    with pytest.raises(mar_edge.GeometryError, match="mask cells"):
        open_model(tmp_path / "odd.safetensors")
    assert open_model(tmp_path / "odd.safetensors", mask=0).variant.mask == 0


def test_frames_to_look_at(videos: Path, tmp_path: Path) -> None:
    assert show(videos.parent / "1.mp4").shape == (8, 48, 64, 3)
    path = write_video(tmp_path / "v.mp4", [index / 30 for index in range(16)])
    assert [round(frame.mean() / 10) for frame in show(path, 4)] == [2, 6, 10, 14]


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run("evaluate", *arguments, columns=80)


def test_the_command_prints_writes_json_and_a_report(weights: Path, videos: Path, tmp_path: Path) -> None:
    done = command(weights, "--data", videos, "--views", "2x3", "--json", "-", "--report", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
    *told, summary = [json.loads(line) for line in done.stdout.splitlines()]
    clips = [line for line in told if line["type"] == "prediction"]
    assert len(clips) == 12
    assert all(next(iter(clip)) == "type" and clip["type"] == "prediction" for clip in clips)
    assert {clip["truth"] for clip in clips} == set(LABELS[:5])
    assert (summary["type"], summary["clips"], summary["windows"], summary["views"]) == ("evaluation", 12, 72, "2x3")
    assert (summary["engine"], summary["mask"], len(summary["sha256"])) == ("torch", 50, 64)
    right = sum(clip["label"] == clip["truth"] for clip in clips)
    assert summary["top1"] == pytest.approx(right / 12, abs=1e-5)
    for words in ("top-1", "top-5", "95 % interval", "mean class accuracy", "calibration error", "72 views", "Classes without clips: Walk", "6 Walk"):  # fmt: skip
        assert words in done.stderr
    assert max(len(line) for line in done.stderr.splitlines()[1:-1] if not line.startswith("warning: ")) <= 80
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "tiny: evaluation" in page
    assert "image/jpeg" in page


def test_the_command_and_many_classes_with_long_names(tmp_path: Path) -> None:
    labels = [f"Pretending to put something [red] number {index} onto a surface" for index in range(40)]
    torch.manual_seed(1)
    config = replace(TINY, classes=40)
    checkpoint.save(tmp_path / "m.safetensors", build(config), config, replace(INFO, labels=labels))
    rows = []
    for index in range(24):
        write_video(tmp_path / f"{index}.mp4", [frame / 10 for frame in range(3)])
        rows.append((f"{index}.mp4", str(index)))
    done = command(tmp_path / "m.safetensors", "--data", write_list(tmp_path, rows))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "The 20 worst of 24 classes" in done.stderr
    assert "Most confused" in done.stderr
    assert "[red]" in done.stderr
    assert "24 clips have fewer frames than a window" in done.stderr
    assert "Classes without clips:" in done.stderr


def test_the_command_tells_errors_in_one_line(weights: Path, videos: Path, tmp_path: Path) -> None:
    cases: list[tuple[list[str | Path], str]] = [
        ([weights, "--data", tmp_path / "none.csv"], "no such file or folder"),
        (["egomotion", "--data", videos], "labels that the model does not know: 'Drink' (line 2)"),
        ([weights, "--data", videos, "--views", "2x2"], "with 1 or 3 crops"),
        ([weights, "--data", videos, "--engine", "onnxruntime"], "mar-edge export"),
        ([weights, "--data", videos, "--report", tmp_path / "r.mp4"], "a report is an HTML file"),
        ([weights, "--data", videos, "--json", videos], "was not written by mar-edge as a file of JSON lines"),
        ([tmp_path, "--data", videos], "has no manifest.json"),
    ]
    for arguments, says in cases:
        done = command(*arguments)
        lines = [line for line in done.stderr.splitlines() if line.startswith("mar-edge: ")]
        assert done.returncode == 1, done.stderr
        assert len(lines) == 1 and says in lines[0], done.stderr
        assert "Traceback" not in done.stderr
    assert command(weights).returncode == 2
    assert command(weights, "--data", videos, "--views", "many").returncode == 2
    assert "--skip-broken" in command("--help").stdout


def test_a_bundle_is_judged_without_torch(tmp_path: Path) -> None:
    """On a robot there is none."""
    write_grey(tmp_path / "clip.mp4", 100)
    listed = write_list(tmp_path, [("clip.mp4", "still")])
    code = (
        "import sys; sys.modules['torch'] = None; from mar_edge.cli.main import main;"
        f"sys.argv = ['mar-edge', 'evaluate', 'egomotion', '--data', {str(listed)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "top-1" in done.stderr
