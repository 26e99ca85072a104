"""MJPEG, HLS and video files from a web server, and bodies that are damaged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest

from mar_edge.errors import SourceError
from mar_edge.runtime.sources.network.source import NetworkSource
from mar_edge.runtime.video.reader import read_frames
from tests.fakes.ffmpeg import ffmpeg, pan
from tests.fakes.hostile.mutation import change_bytes
from tests.runtime.sources.network_reading import frames, lost, refused, threads_end
from tests.servers.certificates import self_signed
from tests.servers.web import MJPEG, HttpServer, endless, hls, multipart, paced, whole

PICTURES = [cv2.imencode(".jpg", np.full((48, 64, 3), level, np.uint8))[1].tobytes() for level in range(0, 250, 10)]
PLAYLIST = "application/vnd.apple.mpegurl"


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    yield
    assert threads_end()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same second and a half as MP4 with its index at either end, and as MPEG-TS."""
    folder = tmp_path_factory.mktemp("films")
    for name, options in (("index_last.mp4", []), ("index_first.mp4", ["-movflags", "+faststart"]), ("film.ts", [])):
        pan(folder / name, "-c:v", "libx264", "-g", 10, *options, seconds=1.5)
    return folder


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four segments of HLS, of one second each."""
    folder = tmp_path_factory.mktemp("segments")
    named = ["-hls_list_size", 0, "-hls_segment_filename", folder / "%d.ts"]
    pan(folder / "all.m3u8", "-c:v", "libx264", "-g", 30, "-f", "hls", "-hls_time", 1, *named, seconds=4)
    return folder


@pytest.mark.parametrize("name", ["index_last.mp4", "index_first.mp4", "film.ts"])
def test_a_file_is_read_as_if_it_were_local(films: Path, name: str) -> None:
    local = list(read_frames(films / name))
    with HttpServer() as server:
        source = NetworkSource(server.serve(f"/{name}", whole((films / name).read_bytes())))
        connection = source.connect()
        assert not source.live
        time.sleep(0.2)  # it waits
        read = []
        while (frame := connection.read(5)) is not None:
            read.append(frame)
        assert connection.read(5) is None, "the end stays"
        connection.close()
    assert np.allclose([frame.time_s for frame in read], [time_s for _, time_s in local], atol=0.001)
    assert all(np.array_equal(frame.picture, picture) for frame, (picture, _) in zip(read, local, strict=True))
    assert read[0].arrived_s is None
    assert source.dropped == 0


def test_a_file_that_breaks_off_says_so(films: Path) -> None:
    data = (films / "film.ts").read_bytes()
    with HttpServer() as server:
        source = NetworkSource(server.serve("/film.ts", whole(data, cut=len(data) // 2)))
        error = lost(source.connect())
    assert (error.code, error.retry) == ("ended", False)
    assert "ended after 0." in str(error)


def test_hls_with_an_end_waits_like_a_file(segments: Path) -> None:
    with HttpServer() as server:
        source = NetworkSource(hls(server, segments, live=False))
        read = frames(source)
    assert not source.live
    assert len(read) == 120
    assert read[-1].time_s == pytest.approx(119 / 30)


def test_live_hls_comes_at_its_own_pace_and_ends(segments: Path) -> None:
    with HttpServer() as server:
        source = NetworkSource(hls(server, segments, live=True, segments=4))
        connection = source.connect()
        began_s, times_s = time.monotonic(), []
        with pytest.raises(SourceError, match="has ended the stream") as caught:
            while (frame := connection.read(5)) is not None:
                times_s.append(frame.time_s)
        took_s = time.monotonic() - began_s
    assert source.live
    assert caught.value.code == "ended"
    assert took_s > 3.5, "segments arrive at once, but are four seconds long"
    assert len(times_s) + source.dropped >= 110
    assert len(times_s) > 60, "most of them do not replace each other"


def test_mjpeg_has_the_times_of_arrival_and_ends() -> None:
    def picture_parts() -> Iterator[bytes]:
        return paced(map(multipart, PICTURES), 40)

    with HttpServer() as server:
        source = NetworkSource(server.serve("/mjpeg", endless(picture_parts, MJPEG)))
        connection = source.connect()
        read = []
        with pytest.raises(SourceError) as caught:
            while (frame := connection.read(5)) is not None:
                read.append(frame)
        connection.close()
    assert source.live
    assert caught.value.code == "ended"
    assert read[0].size_px == (64, 48)
    levels = [int(frame.picture.mean()) for frame in read]
    sent_s = (levels[-1] - levels[0]) / 10 / 40
    assert read[-1].time_s - read[0].time_s == pytest.approx(sent_s, abs=0.15), "not the 25 per second of FFmpeg"
    assert levels == sorted(levels), "newer and newer pictures"


def test_mjpeg_that_falls_silent() -> None:
    with HttpServer() as server:
        parts = [multipart(picture) for picture in PICTURES]
        silent = server.serve("/silent", endless(lambda: parts, MJPEG, hold=True))
        never = server.serve("/never", endless(lambda: [], MJPEG, hold=True))
        began_s = time.monotonic()
        assert lost(NetworkSource(silent, read_timeout_s=0.4).connect()).code == "stalled"
        assert refused(NetworkSource(never, connect_timeout_s=0.4)).code == "timeout"
        assert time.monotonic() - began_s < 3


def test_login(films: Path) -> None:
    with HttpServer(login="admin:secret") as server:
        server.serve("/film.ts", whole((films / "film.ts").read_bytes()))
        assert refused(NetworkSource(server.url("/film.ts"))).code == "auth"
        wrong = refused(NetworkSource(server.url("/film.ts", login="admin:wr0ng")))
        assert wrong.code == "auth"
        assert "wr0ng" not in str(wrong)
        source = NetworkSource(server.url("/film.ts", login="admin:secret"))
        assert frames(source, 3)
        assert "secret" not in source.name


def test_what_is_no_video() -> None:
    with HttpServer() as server:
        page = refused(NetworkSource(server.serve("/page", whole(b"<html>Welcome</html>", "text/html"))))
        still = refused(NetworkSource(server.serve("/snapshot.jpg", whole(PICTURES[3], "image/jpeg"))))
        missing = refused(NetworkSource(server.url("/missing")))
        gone = server.url("/gone")
    closed = refused(NetworkSource(gone))
    assert (page.code, still.code, missing.code, closed.code) == ("unreadable", "unreadable", "not-found", "refused")
    assert "does not answer with a video" in str(page)
    assert "still image" in str(still)
    assert not still.retry


def test_a_playlist_cannot_open_local_files(segments: Path) -> None:
    local = segments / "0.ts"
    with HttpServer() as server:
        for number, address in enumerate(
            (f"file://{local}", f"file:{local}", str(local), f"concat:{local}", f"subfile:{local}")
        ):
            text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n"
            refused(NetworkSource(server.serve(f"/{number}.m3u8", whole(text.encode(), PLAYLIST))))
        remote = server.serve("/0.ts", whole(local.read_bytes()))
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{remote}\n#EXT-X-ENDLIST\n"
        assert frames(NetworkSource(server.serve("/good.m3u8", whole(text.encode(), PLAYLIST))), 3), (
            "the list is a good one"
        )


def test_pictures_that_are_too_large_are_refused(tmp_path: Path) -> None:
    huge = ffmpeg("-f", "lavfi", "-i", "color=size=16400x32:rate=5:duration=1", "-c:v", "mjpeg", "-f", "mpjpeg", "-")
    kind = "multipart/x-mixed-replace; boundary=ffmpeg"
    with HttpServer() as server:
        error = refused(NetworkSource(server.serve("/huge", endless(lambda: [huge], kind))))
    assert (error.code, error.retry) == ("codec", False)
    assert "16400x32" in str(error)


def test_another_size_in_the_middle_of_a_stream() -> None:
    small = [multipart(picture) for picture in PICTURES[:5]]
    large = [multipart(cv2.imencode(".jpg", np.zeros((96, 128, 3), np.uint8))[1].tobytes())] * 5
    with HttpServer() as server:
        url = server.serve("/mjpeg", endless(lambda: paced(small + large, 30), MJPEG))
        connection = NetworkSource(url).connect()
        sizes = []
        with pytest.raises(SourceError):
            while (frame := connection.read(5)) is not None:
                assert frame.picture.shape[:2] == frame.size_px[::-1]
                sizes.append(frame.size_px)
    assert {(64, 48), (128, 96)} == set(sizes)


def test_certificates_are_checked(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = self_signed(tmp_path)
    with HttpServer(certificate=pem) as server:
        url = server.serve("/film.ts", whole((films / "film.ts").read_bytes()))
        error = refused(NetworkSource(url))
        assert "not signed by a trusted authority" in str(error)
        assert "verify=no" in str(error)
        assert frames(NetworkSource(f"{url}#verify=no"), 3)
        assert frames(NetworkSource(url, verify_tls=False), 3)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        assert frames(NetworkSource(url), 3)
        elsewhere = refused(NetworkSource(url.replace("127.0.0.1", "localhost")))
        assert "for this host" in str(elsewhere)


def test_damaged_pictures_alone_are_an_error_and_few_are_a_warning() -> None:
    bad, good = multipart(b"\xff\xd8" + bytes(500)), multipart(PICTURES[9])
    with HttpServer() as server:
        only_bad = server.serve("/bad", endless(lambda: paced([bad] * 100, 50), MJPEG))
        error = refused(NetworkSource(only_bad, picture_timeout_s=0.4))
        source = NetworkSource(
            server.serve("/some", endless(lambda: paced([good, bad, bad, bad, good] * 2, 50), MJPEG))
        )
        connection = source.connect()
        assert lost(connection).code == "ended"
    assert error.code == "codec"
    assert "only damaged packets" in str(error)
    told = source.warnings.take()
    assert [message.partition(" (")[0].rpartition(": ")[2] for message in told] == [
        "1 damaged packet",
        "5 damaged packets",
    ]


def test_fifty_damaged_streams(films: Path) -> None:
    """Each gives frames or a typed error, soon; none crashes or hangs."""
    bodies = [
        ((films / "film.ts").read_bytes(), "video/mp2t", False),
        ((films / "film.ts").read_bytes(), "video/mp2t", True),
        ((films / "index_first.mp4").read_bytes(), "video/mp4", False),
        (b"".join(map(multipart, PICTURES)), MJPEG, True),
        (b"".join(map(multipart, PICTURES)), MJPEG, False),
    ]
    outcomes = []
    with HttpServer() as server:
        for seed in range(50):
            rng = Random(seed)
            data, kind, live = bodies[seed % len(bodies)]
            for _ in range(rng.choice((1, 3, 30))):
                data = change_bytes(data, rng, head=rng.choice((None, 400)))
            answer = endless(lambda data=data: [data], kind) if live else whole(data, kind)  # type: ignore[misc]
            source = NetworkSource(
                server.serve(f"/{seed}", answer), connect_timeout_s=2, read_timeout_s=2, picture_timeout_s=2
            )
            began_s, count, code = time.monotonic(), 0, None
            try:
                connection = source.connect()
                while (frame := connection.read(3)) is not None:
                    assert frame.picture.shape[2] == 3
                    count += 1
            except SourceError as error:
                code = error.code
                assert str(error).startswith(source.name)
            assert time.monotonic() - began_s < 10, f"seed {seed}"
            assert count or code, f"seed {seed}: neither a frame nor an error"
            outcomes.append((count, code, len(source.warnings)))
    assert sum(count > 0 for count, _, _ in outcomes) > 15, "most are damaged only a little"
    assert sum(code not in (None, "ended") for _, code, _ in outcomes) > 5, "some cannot be read"
    assert sum(warned > 0 for _, _, warned in outcomes) > 5
