"""RTSP from a real server: reading, logins, freezes, restarts, and what is left behind."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from mar_edge.runtime.sources.network.source import NetworkSource
from tests.runtime.sources.network_reading import frames, lost, refused, threads_end
from tests.servers.certificates import self_signed
from tests.servers.rtsp import RtspServer, elementary_stream, need_rtsp

SECRET = "Pa55-word"


@pytest.fixture(scope="module", autouse=True)
def _server_is_installed() -> None:
    need_rtsp()


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    yield
    assert threads_end()


@pytest.fixture(scope="module")
def clip(real_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real clip of 58 pictures."""
    return elementary_stream(real_clips / "asl" / "help.mkv", tmp_path_factory.mktemp("clip") / "clip.h264")


@pytest.mark.parametrize("codec", ["h264", "h264b", "h265", "mjpeg"])
def test_reads_codecs_with_true_times(codec: str) -> None:
    with RtspServer(codec=codec) as server:
        source = NetworkSource(server.url)
        read = frames(source, 22)
    assert source.live
    steps = np.diff([frame.time_s for frame in read])[4:] / 0.04
    assert np.allclose(steps, np.round(steps), atol=0.05) and np.median(steps) < 1.1, "25 per second, few left out"
    assert read[0].size_px == (320, 240)
    assert read[-1].picture.shape == (240, 320, 3)
    ball = [np.argwhere(frame.picture[..., 0] > 200).mean(axis=0) for frame in (read[5], read[-1])]
    assert np.linalg.norm(ball[1] - ball[0]) > 5, "the ball moves"
    assert source.warnings.take() == []


def test_reads_over_udp() -> None:
    with RtspServer() as server:
        assert len(frames(NetworkSource(f"{server.url}#transport=udp"), 5)) == 5
        assert len(frames(NetworkSource(server.url, transport="udp"), 5)) == 5


def test_reads_a_real_clip_again_and_again(clip: Path) -> None:
    with RtspServer(file=clip, fps=120) as server:
        read = frames(NetworkSource(server.url), 75)
    assert read[-1].time_s == pytest.approx(75 / 120, abs=0.15)
    assert read[0].size_px == (640, 480)


def test_a_camera_without_a_clock_has_the_times_of_arrival(clip: Path) -> None:
    with RtspServer(file=clip, fps=30, no_clock=True) as server:
        source = NetworkSource(server.url)
        read = frames(source, 40)
    began_s, ended_s = read[0].arrived_s, read[-1].arrived_s
    assert began_s is not None and ended_s is not None
    assert read[-1].time_s - read[0].time_s == pytest.approx(ended_s - began_s, abs=0.3)
    (warning,) = source.warnings.take()
    assert "time stamps do not rise" in warning


@pytest.mark.parametrize("digest", [False, True])
def test_wrong_password_then_the_right_one(digest: bool) -> None:
    with RtspServer(login=f"admin:{SECRET}", digest=digest) as server:
        without = refused(NetworkSource(server.url))
        wrong = refused(NetworkSource(server.login("admin", f"{SECRET}x")))
        assert frames(NetworkSource(server.login("admin", SECRET)), 3)
        missing = refused(NetworkSource(server.login("admin", SECRET).replace("/stream", "/other")))
    assert (without.code, wrong.code, missing.code) == ("auth", "auth", "not-found")
    assert "asks for a user name" in str(without)
    assert "password is wrong" in str(wrong)


def test_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = self_signed(tmp_path)
    with RtspServer(certificate=pem, login=f"admin:{SECRET}") as server:
        assert refused(NetworkSource(server.url)).code == "unreadable", "it does not answer without encryption"
        address = server.login("admin", SECRET).replace("rtsp:", "rtsps:")
        assert "not signed by a trusted authority" in str(refused(NetworkSource(address)))
        assert len(frames(NetworkSource(f"{address}#verify=no"), 2)) == 2
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        assert len(frames(NetworkSource(address), 2)) == 2


def test_credentials_appear_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """In no message, no chained exception, and not in FFmpeg's own lines, even if a program switches them on."""
    av.logging.set_level(av.logging.TRACE)
    try:
        with caplog.at_level(1), caplog.at_level(1, logger="libav"):
            with RtspServer(login=f"admin:{SECRET}") as server:
                source = NetworkSource(server.login("admin", SECRET))
                frames(source, 3)
                wrong = refused(NetworkSource(server.login("admin", f"{SECRET}x")))
            gone = refused(source)
            assert threads_end()
    finally:
        av.logging.set_level(None)
    for error in (wrong, gone):
        assert error.__cause__ is None and error.__context__ is None, "FFmpeg's errors hold the address"
    seen = [str(wrong), str(gone), source.name, repr(source), *(thread.name for thread in threading.enumerate())]
    assert SECRET not in "\n".join(seen)
    assert SECRET not in caplog.text
    assert base64.b64encode(f"admin:{SECRET}".encode()).decode() not in caplog.text, "a header of Basic authentication"


def test_nothing_listens() -> None:
    with RtspServer() as server:
        url = server.url
    error = refused(NetworkSource(url))
    assert (error.code, error.retry) == ("refused", True)
    assert f"port {server.port}" in str(error)


def test_unknown_host() -> None:
    error = refused(NetworkSource("rtsp://no-such-camera.invalid/stream"))
    assert error.code == "not-found"
    assert "no-such-camera.invalid" in str(error)


def test_frozen_server() -> None:
    with RtspServer() as server:
        source = NetworkSource(server.url, connect_timeout_s=0.5, read_timeout_s=0.5)
        connection = source.connect()
        server.freeze()
        began_s = time.monotonic()
        assert lost(connection).code == "stalled"
        assert refused(source).code == "timeout"
        assert time.monotonic() - began_s < 4, "both time-outs interrupt what FFmpeg waits for"
        server.resume()
        assert frames(source, 3)


def test_killed_server_comes_back_with_another_size_and_codec() -> None:
    with RtspServer() as server:
        source = NetworkSource(server.url)
        for options, size_px in (({}, (320, 240)), ({"size": "480x270"}, (480, 270)), ({"codec": "h265"}, (480, 270))):
            server.restart(**options)
            connection = source.connect()
            frame = connection.read(2)
            assert frame is not None and frame.size_px == size_px
            assert frame.picture.shape == (size_px[1], size_px[0], 3)
            server.kill()
            assert lost(connection).code == "ended"
            connection.close()
            server.start()
    assert source.warnings.take() == []


def test_nothing_is_left_behind() -> None:
    with RtspServer() as server:
        source = NetworkSource(server.url)
        frames(source, 2)
        assert threads_end()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(2):
            frames(source, 2)
        assert threads_end()
        assert len(os.listdir("/proc/self/fd")) == before


def test_close_wakes_a_read_that_waits() -> None:
    with RtspServer() as server:
        connection = NetworkSource(server.url, read_timeout_s=1.0).connect()
        server.freeze()
        threading.Timer(0.2, connection.close).start()
        began_s = time.monotonic()
        while connection.read(30) is not None:
            pass
        assert time.monotonic() - began_s < 0.9
        connection.close()
        assert connection.read(0) is None


def test_a_slow_reader_gets_the_newest_frame() -> None:
    with RtspServer() as server:
        source = NetworkSource(server.url)
        connection = source.connect()
        late_s = []
        for _ in range(12):
            frame = connection.read(2)
            assert frame is not None and frame.arrived_s is not None
            late_s.append(time.monotonic() - frame.arrived_s)
            time.sleep(0.1)
        connection.close()
    assert source.dropped > 10
    assert np.median(late_s) < 0.1, "about the time between two frames"


def test_a_process_ends_while_the_server_is_silent(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from mar_edge.runtime.sources.network.source import NetworkSource\n"
        "connection = NetworkSource(sys.argv[1]).connect()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "connection.close()\n"
    )
    with RtspServer() as server:
        line = [sys.executable, str(program), server.url]
        with subprocess.Popen(line, stdin=-1, stdout=-1, stderr=-1, text=True, cwd=Path.cwd()) as process:
            assert process.stdout is not None and process.stdin is not None and process.stderr is not None
            process.stdout.readline()
            server.freeze()
            time.sleep(0.1)
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.wait(3) == 0, "it does not wait for FFmpeg's time-out"
            assert process.stderr.read() == ""
