"""`mar-edge record`: what a person types, presses, sees and finds in the folder."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.cli.recording import recording_loop
from mar_edge.cli.recording.recording_loop import Plan, RecordingLoop
from mar_edge.cli.views import window
from mar_edge.cli.views.recording_view import RecordingView
from mar_edge.datasets.recording.clip_recorder import ClipRecorder
from mar_edge.datasets.recording.label_folder import LabelFolder
from mar_edge.datasets.recording.live_frames import LiveFrames
from mar_edge.errors import SourceError
from mar_edge.runtime.frame import Frame
from mar_edge.testing import Act, Lost, Play, ScriptedSource, Silence
from tests.fakes.command_line import fails_with, mar_edge, new_process, records
from tests.fakes.shown_frames import check_plays, times_s

DEMO = "demo:size=96x64,fps=20,realtime=no"


def files(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def test_a_timer_makes_a_folder_that_can_be_trained_on(tmp_path: Path) -> None:
    out = tmp_path / "my clips"
    timer = ("--source", DEMO, "-o", out, "--every", "5", "--count", "2")
    done = mar_edge("record", *timer, "--label", "wave", "--json", "-")
    assert done.returncode == 0, done.stderr
    paths = [out / "wave" / f"wave_01_00{number}.mp4" for number in (1, 2)]
    *clips, summary = records(done.stdout)
    assert [(clip["path"], clip["start_s"], clip["frames"], clip["duration_s"]) for clip in clips] == [
        (str(paths[0]), 5.0, 60, 3.0),
        (str(paths[1]), 10.0, 60, 3.0),
    ]
    assert summary == {"type": "summary", "clips": 2, "deleted": 0, "labels": {"wave": 2}}
    assert times_s(paths[0]) == [pytest.approx(number / 20, abs=1e-4) for number in range(60)]
    check_plays(paths[0])
    lines = done.stderr.splitlines()
    assert lines[0] == f"{paths[0]}: 60 frames in 3.00 s"
    assert lines[-2:] == [
        "A model tells classes apart: record another one, with another --label.",
        f"Run: mar-edge data check '{out}'",
    ]
    for label in ("wave", "none"):
        done = mar_edge("record", *timer, "--label", label)
    assert f"2 clips recorded; {out} has 6 clips: none 2, wave 4" in done.stderr
    assert files(out / "wave")[2:] == ["wave_02_001.mp4", "wave_02_002.mp4"]
    checked = mar_edge("data", "check", out)
    assert (checked.returncode, checked.stderr.splitlines()[-1]) == (0, "6 videos can be used")


def test_a_file_that_ends_within_a_clip(tmp_path: Path) -> None:
    done = mar_edge("record", "--source", DEMO, "-o", tmp_path, "--label", "x", "--every", "20", "--seconds", "10")
    assert done.returncode == 0
    assert "warning: the clip was not kept: the source has ended" in done.stderr
    assert files(tmp_path) == ["x/x_01_001.mp4"]


def test_wrong_usage(tmp_path: Path) -> None:
    for says, words in {
        "there is no terminal in which a key could begin a clip; give --every 5": (),
        "a clip takes 3 s, so one cannot begin every 2 s": ("--every", "2"),
        "it is for clips that a key begins": ("--every", "5", "--before", "1"),
        "give either --camera N or --source URI": ("--camera", "0"),
    }.items():
        done = mar_edge("record", "--source", DEMO, "-o", tmp_path, "--label", "wave", *words, columns=300)
        assert done.returncode == 2
        assert says in done.stderr
    fails_with(
        "the label 'a/b' has a slash", "record", "--source", DEMO, "-o", tmp_path, "--label", "a/b", "--every", "5"
    )
    fails_with("camera 77", "record", "--camera", "77", "-o", tmp_path / "new", "--label", "wave", "--every", "5")
    assert files(tmp_path) == []
    assert not (tmp_path / "new").exists()


def test_a_full_disk_ends_it_and_leaves_no_part(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    words = ("--source", "demo:realtime=no", "-o", tmp_path, "--label", "wave", "--every", "5")
    done = new_process("record", *words, preexec_fn=limit)
    assert done.returncode == 1
    assert "wave_01_001.mp4: File too large. Make room, or choose another place" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert files(tmp_path) == []


class Run:
    """A recording in this process, with keys that are pressed at times of the stream."""

    def __init__(
        self,
        out: Path,
        script: list[Act],
        *,
        keys: dict[float, str],
        live: bool = False,
        length_s: float = 0.5,
        windows: window.Windows | None = None,
        act: Callable[[float], None] = lambda _time_s: None,
    ) -> None:
        self.told: list[dict[str, Any]] = []
        waiting = dict(keys)
        now_s = 0.0

        class Frames(LiveFrames):
            def next(self, timeout_s: float) -> Frame | None:
                nonlocal now_s
                frame = super().next(timeout_s)
                now_s = now_s if frame is None else frame.time_s
                act(now_s)
                return frame

        @contextmanager
        def pressed() -> Iterator[Callable[[], str]]:
            yield lambda: "".join(waiting.pop(at_s) for at_s in list(waiting) if at_s <= now_s)

        folder = LabelFolder(out, "wave")
        self.loop = RecordingLoop(
            Frames(ScriptedSource(script, live=live), stall_s=0.3),
            folder,
            ClipRecorder(folder, length_s=length_s, before_s=0.2),
            Plan(length_s=length_s),
            view=RecordingView("wave", ""),
            tell=self.told.append,
            windows=windows,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recording_loop, "terminal_keys", pressed)
            self.loop.run()


def test_keys_record_delete_and_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # a key within a clip does nothing but delete it; the last d finds a whole clip
    keys = {1.0: " ", 1.1: " ", 2.0: "\n", 2.1: "d", 3.0: " ", 4.0: "D", 5.0: " ", 6.0: " ", 6.1: "q"}
    run = Run(tmp_path, [Play(60)], keys=keys)
    assert [record["type"] for record in run.told] == ["clip", "clip", "deleted", "clip"]
    assert [record.get("start_s") for record in run.told] == [pytest.approx(at_s, abs=0.05) for at_s in (0.8, 2.8)] + [
        None,
        pytest.approx(4.8, abs=0.05),
    ]
    assert files(tmp_path) == ["wave/wave_01_001.mp4", "wave/wave_01_002.mp4"]
    lines = capsys.readouterr().err.splitlines()
    assert "the clip was not kept" in lines
    assert f"deleted {tmp_path}/wave/wave_01_002.mp4" in lines
    assert lines[-1] == "the clip that was being recorded was not kept"


@pytest.mark.parametrize(("end", "says"), [(Lost(), "was lost"), (Silence(60), "no frame for 0.3 s")])
def test_a_lost_or_frozen_camera_keeps_whole_clips(tmp_path: Path, end: Act, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        Run(tmp_path, [Play(1.2), end, Play(9)], keys={0.25: " ", 1.0: " "}, live=True)
    assert files(tmp_path) == ["wave/wave_01_001.mp4"]


@pytest.mark.parametrize("length_s", [1.2, 0.9])  # the gap lies within the clip, or at its end
def test_a_gap_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], length_s: float) -> None:
    script: list[Act] = [Play(1.1), Silence(0.7), Play(2)]
    run = Run(tmp_path, script, keys={1.0: " ", 2.5: "q"}, length_s=length_s)
    assert run.told[0]["longest_gap_s"] > 0.6
    assert "warning: it has no frame for 0." in capsys.readouterr().err


def test_an_interrupt_between_two_frames(tmp_path: Path) -> None:
    def act(time_s: float) -> None:
        if time_s > 1.2:
            raise KeyboardInterrupt

    run = Run(tmp_path, [Play(60)], keys={0.3: " ", 1.0: " "}, act=act)
    assert run.loop.interrupted
    assert files(tmp_path) == ["wave/wave_01_001.mp4"]


@contextmanager
def in_terminal(*words: str | Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a program in a terminal of its own; yield it and the person's side of the terminal."""
    person, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        yield process, person
    finally:
        process.kill()
        process.wait()
        os.close(person)
        os.close(terminal)


def wait_for(person: int, says: str, process: subprocess.Popen[bytes]) -> None:
    """Read what is on the screen until something is."""
    seen, end_s = "", time.monotonic() + 60
    while says not in seen:
        assert time.monotonic() < end_s, seen
        assert process.poll() is None or select.select([person], [], [], 0.2)[0], seen
        if select.select([person], [], [], 0.2)[0]:
            seen += os.read(person, 65536).decode(errors="replace")


def test_a_person_at_a_terminal(tmp_path: Path) -> None:
    out = tmp_path / "clips"
    words = ("--source", "demo:size=96x64,loops=forever", "-o", out, "--label", "wave", "--seconds", "0.5")
    with in_terminal("-m", "mar_edge", "record", *words) as (process, person):
        before = termios.tcgetattr(person)
        wait_for(person, "0 clips", process)
        assert not termios.tcgetattr(person)[3] & (termios.ICANON | termios.ECHO)
        os.write(person, b" ")
        wait_for(person, "wave_01_001.mp4: ", process)
        os.write(person, b" ")
        wait_for(person, "RECORDING", process)
        process.send_signal(signal.SIGTERM)
        wait_for(person, "Run: mar-edge data check", process)
        assert process.wait(20) == 130
        assert termios.tcgetattr(person) == before
    assert files(out) == ["wave/wave_01_001.mp4"]


STUCK = """
import signal, time
from mar_edge.cli.recording.keys import terminal_keys
from mar_edge.cli.second_signal import end_at_second
signal.signal(signal.SIGTERM, lambda *_: None)
end_at_second([signal.SIGTERM])
with terminal_keys():
    print("ready", flush=True)
    while True:
        time.sleep(1)
"""


def test_the_terminal_is_restored_when_a_second_signal_ends_it_at_once() -> None:
    with in_terminal("-c", STUCK) as (process, person):
        before = termios.tcgetattr(person)
        wait_for(person, "ready", process)
        assert termios.tcgetattr(person) != before
        process.send_signal(signal.SIGTERM)
        wait_for(person, "a second Ctrl-C or signal ends it at once", process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
        assert termios.tcgetattr(person) == before


def test_the_countdown_is_seen_and_heard(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mar_edge.cli.views.recording_view._EVERY_S", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    view = RecordingView("wave", "q: end")
    view.console._force_terminal = view.console.is_interactive = True
    with view.drawing():
        for left_s in (4.5, 4.1, 2.9, 2.5, 1.9, 0.9, 0.0):
            view.counting_down("0 of 2 clips", left_s)
        view.recording("0 of 2 clips", 1.5, 3.0)
    seen = capsys.readouterr().err
    assert seen.count("\a") == 3
    assert [
        text in seen for text in ("next clip in 5 s", "0 of 2 clips  3 2 1", "##########---------- 1.5 of 3 s")
    ] == [True] * 3


def test_keys_of_the_window_count_and_it_shows_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [-1] * 40 + [ord(" ")] + [-1] * 40 + [ord("q")]
    pictures: list[NDArray[np.uint8]] = []
    captions: list[str] = []
    for name, act in {
        "namedWindow": lambda *_: None,
        "resizeWindow": lambda *_: None,
        "destroyAllWindows": lambda: None,
        "getWindowProperty": lambda *_: 1.0,
        "imshow": lambda _title, picture: pictures.append(picture),
        "putText": lambda _picture, text, *_: captions.append(text),
        "waitKey": lambda _wait_ms: keys.pop(0),
    }.items():
        monkeypatch.setattr(cv2, name, act)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(window, "_check_display", lambda: None)
    run = Run(tmp_path, [Play(60)], keys={}, windows=window.Windows())
    assert [record["type"] for record in run.told] == ["clip"]
    assert keys == []
    assert any("RECORDING" in text for text in captions)
    assert any(text == "0 clips" for text in captions)
    assert pictures
