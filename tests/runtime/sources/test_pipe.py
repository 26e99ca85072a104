"""Videos through real pipes: named ones, standard input, and those without a writer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from mar_edge.errors import SourceError, SourceTimeoutError
from mar_edge.runtime.sources.file import FileSource
from mar_edge.runtime.sources.open import clip_file, open_source
from mar_edge.runtime.sources.pipe import PipeSource
from mar_edge.runtime.sources.source import Reading
from tests.conftest import need
from tests.fakes.command_line import new_process
from tests.fakes.films import moving_square, write_film

FRAMES = 60


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film as MPEG-TS."""
    return write_film(tmp_path_factory.mktemp("film") / "film.ts", moving_square("right", 0, frames=FRAMES))


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def write(pipe: Path, data: bytes) -> threading.Thread:
    """Write into a pipe, in a thread; a reader that goes away is no error."""

    def run() -> None:
        with suppress(BrokenPipeError):
            pipe.write_bytes(data)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_named_pipe_gives_what_the_file_gives(film: Path, pipe: Path, no_thread_left: None) -> None:
    source = open_source(str(pipe))
    assert isinstance(source, PipeSource)
    assert not source.live
    expected = list(Reading(FileSource(film)))
    writer = write(pipe, film.read_bytes())
    with Reading(source) as reading:
        frames = list(reading)
    writer.join()
    assert len(frames) == FRAMES
    assert [frame.time_s for frame in frames] == [frame.time_s for frame in expected]
    assert all(np.array_equal(one.picture, other.picture) for one, other in zip(frames, expected, strict=True))


def test_a_reader_that_leaves_closes_the_pipe(film: Path, pipe: Path, no_thread_left: None) -> None:
    writer = write(pipe, film.read_bytes() * 50)
    with Reading(open_source(pipe)) as frames:
        next(frames)
    writer.join(5)
    assert not writer.is_alive()


def test_a_pipe_without_a_writer_says_that_it_waits_and_ends(pipe: Path, no_thread_left: None) -> None:
    source = PipeSource(pipe, timeout_s=1.3)
    began_s = time.monotonic()
    with (
        Reading(source) as frames,
        pytest.raises(SourceError, match="no program has opened this pipe for writing for 1.3 s; start") as error,
    ):
        next(frames)
    assert (error.value.code, error.value.retry) == ("timeout", False)
    assert 1.2 < time.monotonic() - began_s < 3
    assert source.warnings.take() == [f"{pipe}: waiting for a program that writes into it, up to 1.3 s; Ctrl-C stops"]


def test_a_silent_writer_is_waited_for(film: Path, pipe: Path, no_thread_left: None) -> None:
    source = PipeSource(pipe, timeout_s=0.5)
    with Reading(source) as frames:
        writer = os.open(pipe, os.O_WRONLY)

        def run() -> None:
            time.sleep(1.5)
            with os.fdopen(writer, "wb") as stream:
                stream.write(film.read_bytes())

        thread = threading.Thread(target=run)
        thread.start()
        connection = frames._connection
        with pytest.raises(SourceTimeoutError, match="no frame for 0.1 s"):
            connection.read(0.1)
        assert len(list(frames)) == FRAMES
        thread.join()
    assert source.warnings.take() == [f"{pipe}: waiting for data from the program that writes into it; Ctrl-C stops"]


def test_a_waiting_pipe_is_stopped_from_another_thread(pipe: Path, no_thread_left: None) -> None:
    connection = PipeSource(pipe).connect()
    timer = threading.Timer(0.2, connection.close)
    timer.start()
    began_s = time.monotonic()
    assert connection.read(30) is None
    assert time.monotonic() - began_s < 1
    timer.join()
    connection.close()
    assert connection.read(30) is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ended before the first byte"),
        (b"no video at all " * 1000, "is not a video that can be read from a pipe.*Matroska.*Run: ffmpeg"),
    ],
)
def test_a_pipe_without_a_video(pipe: Path, data: bytes, says: str, no_thread_left: None) -> None:
    writer = write(pipe, data)
    with pytest.raises(SourceError, match=says) as error, Reading(open_source(pipe)) as frames:
        list(frames)
    assert not error.value.retry
    writer.join()


def test_an_ordinary_mp4_says_what_to_do(
    pipe: Path, tmp_path: Path, rng: np.random.Generator, no_thread_left: None
) -> None:
    noise = rng.integers(0, 256, (30, 160, 160, 3), dtype=np.uint8)  # too large to be held until its index comes
    film = write_film(tmp_path / "film.mp4", noise)
    writer = write(pipe, film.read_bytes())
    with (
        pytest.raises(SourceError, match="Run: ffmpeg -i IN -c copy -f mpegts -"),
        Reading(open_source(pipe)) as frames,
    ):
        list(frames)
    writer.join()


def test_whole_clips_do_not_come_through_pipes(pipe: Path) -> None:
    for spec in (str(pipe), pipe):
        with pytest.raises(SourceError, match="is not a video file.*Run: mar-edge run --source"):
            clip_file(spec)


def test_run_through_stdin(film: Path, tmp_path: Path) -> None:
    for spec in ("-", "/dev/stdin", "pipe:0"):
        with film.open("rb") as stream, subprocess.Popen(["cat"], stdin=stream, stdout=subprocess.PIPE) as cat:
            done = new_process("run", "--source", spec, stdin=cat.stdout)
        assert done.returncode == 0, done.stderr
        assert f"stdin: {FRAMES} frames" in done.stderr
    with film.open("rb") as stream:
        done = new_process("run", "--source", "-", stdin=stream)
    assert f"{FRAMES} frames" in done.stderr, done.stderr
    for options in ({"stdin": subprocess.DEVNULL}, {"preexec_fn": lambda: os.close(0)}):
        done = new_process("run", "--source", "-", **options)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "stdin" in done.stderr
        assert "Run: ffmpeg" in done.stderr


def test_a_pipe_of_the_shell(film: Path) -> None:
    need(shutil.which("bash") is not None, "bash is not installed")
    command = f"{sys.executable} -m mar_edge run --source <(cat {film})"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"{FRAMES} frames" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_waiting_is_interrupted(pipe: Path, number: int, code: int) -> None:
    command = [sys.executable, "-m", "mar_edge", "run", "--source", str(pipe), "--json", "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "waiting for a program that writes into it" in line
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=10)
    assert process.returncode == code
    assert "Traceback" not in stderr
    assert '"type": "summary"' in stdout


def test_max_seconds_holds_for_a_pipe_that_gives_nothing(pipe: Path) -> None:
    done = new_process("run", "--source", pipe, "--max-seconds", "2")
    assert done.returncode == 0, done.stderr
    assert "no frame arrived" in done.stderr
