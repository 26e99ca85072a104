"""The command line as a person or a program meets it: JSON on stdout, words on stderr, one line for an error."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.conftest import need
from tests.fakes.bundle import write_bundle
from tests.fakes.cameras import PictureCamera
from tests.fakes.command_line import fails_with, mar_edge, records
from tests.fakes.video_files import audio_only, write_video

COMMANDS = (
    "run", "classify", "data", "train", "pretrain", "evaluate", "import", "export", "verify", "profile", "inspect", "models", "cameras",
)  # fmt: skip


def test_help_names_every_command_and_each_has_its_own() -> None:
    done = mar_edge("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert command in done.stdout
        own = mar_edge(command, "--help")
        assert own.returncode == 0
        assert "Usage" in own.stdout


def test_wrong_usage_exits_with_2() -> None:
    for arguments in (["fly"], ["run"], ["run", "--camera", "0", "--source", "demo"], ["run", "--mask", "60", "--source", "demo"],
                      ["classify"], ["classify", "a.mp4", "--views", "many"]):  # fmt: skip
        assert mar_edge(*arguments).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("--source - --source -", 2, "standard input can be read by one stream only"),
        ("--source demo --json-rotate 1MB", 2, "it is for --json; give that, too"),
        ("--source demo --clips-keep 1GB", 2, "it is for --clips; give that, too"),
        ("--source demo --json out.jsonl --json-rotate 100", 1, "'100' is not a size; give a number with a unit"),
        ("--source demo --json out.mp4 --video ./out.mp4", 1, "--video: --json writes to the same place. Choose another one"),
        ("--camera 0 --stdin-format rgb24:640x480:30", 1, "--stdin-format is for frames on standard input"),
    ],
)  # fmt: skip
def test_options_of_run_that_do_not_fit_together(arguments: str, code: int, says: str) -> None:
    done = mar_edge("run", *arguments.split())
    assert done.returncode == code
    assert says in " ".join(done.stderr.replace("│", "").split())
    assert "Traceback" not in done.stderr


def test_run_on_the_demo_gives_json_on_stdout_alone() -> None:
    done = mar_edge("run", "--source", "demo:realtime=no,fps=20", "--json", "-", "--max-seconds", "12")
    assert done.returncode == 0, done.stderr
    lines = records(done.stdout)
    predictions = [line for line in lines if line["type"] == "prediction"]
    assert list(predictions[0]) == [
        "type", "stream", "time_s", "frame", "label", "score", "top", "latency_ms", "inference_ms", "mask", "engine", "reliable",
        "doubt", "warm",
    ]  # fmt: skip
    assert [line["warm"] for line in predictions[:9]] == [*(step / 8 for step in range(1, 9)), 1.0]
    assert [line["reliable"] for line in predictions[:5]] == [False, False, False, True, True]
    assert [line["time_s"] for line in predictions] == sorted(line["time_s"] for line in predictions)
    assert predictions[0]["time_s"] == pytest.approx(0.1, abs=0.05)
    assert predictions[0]["label"] == "still"
    assert lines[-1]["type"] == "summary"
    assert lines[-1]["inferences"] == len(predictions)
    assert lines[-1]["agreement"] > 0.7
    events = [line for line in lines if line["type"] == "event"]
    started, ended = events[:2]
    assert list(ended) == ["type", "phase", "id", "stream", "label", "start_s", "end_s", "score"]
    assert (started["phase"], ended["phase"], started["id"]) == ("start", "end", ended["id"])
    assert "pan_right" in {event["label"] for event in events}
    assert "still" not in {event["label"] for event in events}
    assert "Agreed" in done.stderr


def durations(path: Path) -> tuple[float, int]:
    """Length in seconds from the first frame to the last, and number of frames, as another reader sees them."""
    with av.open(str(path)) as container:
        times = []
        try:
            for frame in container.decode(video=0):
                times.append(frame.time)
        except av.error.FFmpegError:
            pass
    return times[-1] - times[0], len(times)


def check_run(path: Path) -> list[dict[str, Any]]:
    done = mar_edge("run", "--source", path, "--json", "-")
    assert done.returncode == 0, done.stderr
    lines = records(done.stdout)
    summary = lines[-1]
    assert summary["type"] == "summary"
    predictions = [line for line in lines if line["type"] == "prediction"]
    length_s, frames = durations(path)
    if path.name != "corrupted.mp4":
        assert summary["source_s"] == pytest.approx(length_s, abs=0.001)
        assert summary["frames"] == frames
    if summary["source_s"] > 0.2:
        assert predictions
        assert length_s - predictions[-1]["time_s"] < 0.5
    else:
        assert any("shorter than one time step" in line.get("message", "") for line in lines)
    return lines


def test_a_terminal_of_width_0_is_of_unknown_width() -> None:
    for arguments in (["models"], ["inspect", "egomotion"], ["--help"]):
        done = mar_edge(*arguments, columns=0)
        assert done.returncode == 0
        assert "egomotion" in done.stdout + done.stderr or "run" in done.stdout


def test_run_on_every_kind_of_real_clip(real_clips: Path) -> None:
    for folder, pattern in (("asl", "book.mkv"), ("daily", "s2_adl_23.mp4"), ("edge", "video_90.mov")):
        check_run(real_clips / folder / pattern)


def test_run_on_the_damaged_file_warns_and_goes_on(real_clips: Path) -> None:
    lines = check_run(real_clips / "edge" / "corrupted.mp4")
    assert any(line["type"] == "warning" and "damaged" in line["message"] for line in lines)
    assert any(line["type"] == "prediction" for line in lines)


def test_run_in_one_process_on_every_real_file(real_clips: Path, arid: Path) -> None:
    import mar_edge as package

    model = package.load("egomotion")
    files = sorted(
        [*real_clips.rglob("*.mkv"), *real_clips.rglob("*.mp4"), *real_clips.rglob("*.mov"), *arid.rglob("*.mp4")]
    )
    assert len(files) > 200
    for path in files:
        times_s = [result.time_s for result in model.stream(path)]
        length_s, _ = durations(path)
        assert times_s == sorted(times_s)
        if length_s > 1.7 and path.name != "corrupted.mp4":
            assert times_s
            assert 0 <= length_s - times_s[-1] < 0.5


def test_errors_are_one_line_and_exit_1(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video")
    audio_only(tmp_path / "audio.mp4")
    good = write_video(tmp_path / "good.mp4", [index / 10 for index in range(20)])
    for source, says in (
        (tmp_path / "missing.mp4", "no such file"),
        (tmp_path, "is a directory"),
        (tmp_path / "empty.mp4", "is empty"),
        (tmp_path / "text.mp4", "is not a video"),
        (tmp_path / "audio.mp4", "no video stream, only audio"),
    ):
        fails_with(says, "run", "--source", source, "--json", "-")
        fails_with(says, "classify", source)
    fails_with("no camera 9: /dev/video9 does not exist", "run", "--camera", "9")
    fails_with("did you mean 'egomotion'?", "run", "--source", good, "--model", "egomotin")
    fails_with("cannot write", "run", "--source", good, "--json", good / "out.json")
    fails_with("--show needs a display", "run", "--source", good, "--show")
    fails_with("hop 99", "run", "--source", good, "--hop", "99")
    fails_with("budget_ms is 0.0; it must be above 0", "run", "--source", good, "--budget-ms", "0")
    fails_with("has no graph with mask 0", "run", "--source", good, "--mask", "0")
    fails_with("demo has no option 'colour'", "run", "--source", "demo:colour=red")
    fails_with("no such checkpoint", "export", tmp_path / "no.safetensors", "-o", tmp_path / "a.mar")
    fails_with("no such checkpoint", "import", tmp_path / "no.pth", "-o", tmp_path / "a.safetensors")
    fails_with("cannot read the recipe", "train", tmp_path / "no.yaml")
    fails_with("sees the whole picture", "classify", good, "--views", "2x3")


def test_a_bundle_that_was_tampered_with(tmp_path: Path) -> None:
    fails_with("rejects", "run", "--source", "demo", "--model", write_bundle(tmp_path / "a.mar"))
    folder = write_bundle(tmp_path / "b.mar")
    (folder / "mask50-fp32.onnx").write_bytes(b"not a grapH")
    fails_with("is not the file that was exported", "inspect", folder)
    (folder / "mask50-fp32.onnx").unlink()
    fails_with("lacks mask50-fp32.onnx", "inspect", folder)
    fails_with("reads up to 5", "inspect", write_bundle(tmp_path / "c.mar", format=7))


def test_a_short_video_is_told_and_still_classified(tmp_path: Path) -> None:
    short = write_video(tmp_path / "short.mp4", [index / 30 for index in range(15)])
    ran = mar_edge("run", "--source", short, "--json", "-")
    assert ran.returncode == 0
    predictions = [line for line in records(ran.stdout) if line["type"] == "prediction"]
    assert [line["doubt"] for line in predictions] == [f"only {seen} of 8 time steps seen" for seen in (1, 2)]
    done = mar_edge("classify", short, "--json", "-")
    assert done.returncode == 0
    warning, _, prediction = records(done.stdout)
    assert "has 2 time steps without a gap, fewer than the 8 that an answer depends on" in warning["message"]
    assert prediction["type"] == "prediction"
    assert not prediction["reliable"]


def test_a_short_video_is_filled_up_for_a_windowed_model(tmp_path: Path) -> None:
    short = write_video(tmp_path / "short.mp4", [index / 30 for index in range(15)])
    windowed = ["--model", "egomotion_window", "--json", "-"]
    ran = mar_edge("run", "--source", short, *windowed)
    assert any("shorter than one window" in line.get("message", "") for line in records(ran.stdout))
    warning, prediction = records(mar_edge("classify", short, *windowed).stdout)
    assert (
        "the frame at 0.40 s, the last one at the model's 10 frames per second, was repeated 11 times"
        in warning["message"]
    )
    assert prediction["repeated_frames"] > 0


def test_classify_several_clips_and_one_bad(tmp_path: Path, real_clips: Path) -> None:
    good = real_clips / "asl" / "book.mkv"
    done = mar_edge("classify", good, tmp_path / "missing.mp4", good, "--json", tmp_path / "out.json")
    assert done.returncode == 1
    lines = records((tmp_path / "out.json").read_text())
    assert [line["stream"] for line in lines if line["type"] == "prediction"] == [str(good)] * 2
    assert [line["stream"] for line in lines if line["type"] == "warning"] == [str(tmp_path / "missing.mp4")]
    assert "1 of 3 clips could not be classified" in done.stderr


def test_interrupt_ends_with_the_summary_and_130(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "mar_edge", "run", "--source", "demo:loops=forever", "--json", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    end_s = time.monotonic() + 60
    while not (out.exists() and out.read_text().count("\n") >= 3):
        assert process.poll() is None
        assert time.monotonic() < end_s
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert records(out.read_text())[-1]["type"] == "summary"


def test_a_camera_that_is_lost_ends_with_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mar_edge.cli.run import run
    from mar_edge.errors import SourceError
    from mar_edge.runtime.sources import camera as sources

    capture = PictureCamera([np.zeros((48, 64, 3), np.uint8)] * 3)
    capture.may_read.release(1000)
    monkeypatch.setattr(sources, "open_camera", lambda _index: capture)
    with pytest.raises(SourceError, match="camera 0 stopped delivering frames"):
        run(camera=0, max_retries=0, json=str(tmp_path / "out.json"))
    assert records((tmp_path / "out.json").read_text())[-1]["type"] == "summary"
    assert capture.released


def test_outputs_never_replace_videos(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", [index / 10 for index in range(20)])
    before = clip.read_bytes()
    fails_with("was not written by mar-edge as a file of JSON lines", "run", "--source", clip, "--json", clip)
    fails_with("was not written by mar-edge as a file of JSON lines", "classify", clip, "--json", clip)
    assert clip.read_bytes() == before


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -m mar_edge run --source demo:realtime=no --json - | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_inspect_models_and_cameras() -> None:
    card = mar_edge("inspect", "egomotion").stdout
    for word in ("egomotion", "roll_clockwise", "GMACs", "fp32", "parity", "mask 50 %", "Apache-2.0"):
        assert word in card
    assert "egomotion" in mar_edge("models").stdout
    cameras = mar_edge("cameras")
    assert cameras.returncode == 0
    assert cameras.stdout or "no camera found" in cameras.stderr


def test_the_window_shows_the_picture(tmp_path: Path) -> None:
    need(shutil.which("Xvfb") is not None and shutil.which("xvfb-run") is not None, "Xvfb is not installed")
    command = ["xvfb-run", "-a", sys.executable, "-m", "mar_edge", "run", "--source", "demo:fps=20,realtime=no"]
    done = subprocess.run([*command, "--show", "--max-seconds", "3"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_window_draws_labels_on_the_picture() -> None:
    from mar_edge.runtime.results import Prediction
    from mar_edge.runtime.sinks.annotation import annotate

    picture = np.full((240, 320, 3), 90, np.uint8)
    top = (("pan_left", 0.8), ("still", 0.1))
    prediction = Prediction(
        stream="a", time_s=0, frame=0, label="pan_left", score=0.8, top=top, latency_ms=1, mask=50, engine="x"
    )
    drawn = annotate(picture, prediction)
    assert (picture == 90).all()
    assert (drawn[:60] != 90).any()
    assert (drawn[100:] == 90).all()
    assert np.array_equal(annotate(picture, None), picture)


def test_import_and_export_from_the_command_line(golden: Path, tmp_path: Path) -> None:
    from tests.fakes.goldens import write_foreign

    file = write_foreign(golden, "mar_official_tiny", tmp_path)
    (tmp_path / "labels.txt").write_text("\n".join(f"label {index}" for index in range(10)))
    out = tmp_path / "mar.safetensors"
    done = mar_edge(
        "import",
        file,
        "-o",
        out,
        "--labels",
        tmp_path / "labels.txt",
        "--heads",
        "3",
        "--bridge-heads",
        "4",
        "--decoder-heads",
        "4",
    )
    assert done.returncode == 0, done.stderr
    assert "an official MAR checkpoint" in done.stderr
    assert "not used: cls_head.mask_token (never used by MAR)" in done.stderr
    done = mar_edge("export", out, "-o", tmp_path / "mar.mar", "--mask", "75")
    assert done.returncode == 0, done.stderr
    card = mar_edge("inspect", tmp_path / "mar.mar").stdout
    assert "mask75-fp32.onnx" in card
    assert "label 9" in card
    fails_with("mask 60 is not one of", "export", out, "-o", tmp_path / "b.mar", "--mask", "60")
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    fails_with("has 2 different names, but the model has 10", "import", file, "-o", out, "--labels", tmp_path / "labels.txt", "--heads", "3", "--bridge-heads", "4", "--decoder-heads", "4")  # fmt: skip
