"""Which files of a folder are videos, and what is said of those that are left out."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from mar_edge.runtime.video import listing as listings
from mar_edge.runtime.video.listing import Listing, is_named_video, list_videos
from mar_edge.runtime.video.probe import why_not_video
from tests.fakes.films import moving_square, write_film
from tests.fakes.video_files import audio_only

FILM = moving_square("right", 0, 6)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", FILM)


def encode(path: Path, container: str, codec: str, pixels: str = "yuv420p", size: tuple[int, int] = (48, 48)) -> Path:
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        for picture in FILM:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            out.mux(stream.encode(frame.reformat(*size, pixels)))
        out.mux(stream.encode())
    return path


def names(listing: Listing) -> list[str]:
    return [path.relative_to(listing.folder).as_posix() for path in listing.videos]


def reasons(listing: Listing) -> dict[str, str]:
    return {one.path.relative_to(listing.folder).as_posix(): one.reason for one in listing.left_out}


@pytest.mark.parametrize(
    ("name", "container", "codec"),
    [
        ("a", "mp4", "mpeg4"), ("clip.2024-05-01", "mp4", "mpeg4"), ("A.MP4", "mp4", "mpeg4"), ("a.m4v", "mp4", "mpeg4"),
        ("00001.MTS", "mpegts", "libx264"), ("a.mts", "mpegts", "libx264"), ("a.m2ts", "mpegts", "libx264"),
        ("a.ts", "mpegts", "mpeg2video"), ("a.mpg", "mpeg", "mpeg1video"), ("a.VOB", "vob", "mpeg2video"),
        ("a.y4m", "yuv4mpegpipe", "wrapped_avframe"), ("a.h264", "h264", "libx264"), ("a.dav", "h264", "libx264"),
        ("a.ogv", "ogg", "libvpx"), ("a.wmv", "asf", "wmv2"), ("a.flv", "flv", "flv"), ("a.gif", "gif", "gif"),
        ("a.txt", "matroska", "mpeg4"), ("a.jpg", "webm", "libvpx"), ("a b\u00fc\u200b.avi", "avi", "mjpeg"),
    ],
)  # fmt: skip
def test_whatever_decodes_is_a_video(tmp_path: Path, name: str, container: str, codec: str) -> None:
    pixels = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    encode(tmp_path / name, container, codec, pixels)
    assert names(list_videos(tmp_path)) == [name]
    assert list_videos(tmp_path).remark() is None


def test_a_3gp_is_a_video(tmp_path: Path) -> None:
    encode(tmp_path / "phone.3gp", "3gp", "h263", size=(176, 144))
    assert names(list_videos(tmp_path)) == ["phone.3gp"]


def picture(path: Path) -> None:
    path.write_bytes(b"")
    encode_one = av.CodecContext.create("mjpeg", "w")
    encode_one.width, encode_one.height, encode_one.pix_fmt = 48, 48, "yuvj420p"
    encode_one.time_base = 1  # type: ignore[assignment]
    frame = av.VideoFrame.from_ndarray(FILM[0], format="rgb24").reformat(48, 48, "yuvj420p")
    path.write_bytes(b"".join(bytes(packet) for packet in encode_one.encode(frame)))


OTHERS: dict[str, Callable[[Path], object]] = {
    "README": lambda path: path.write_text("# Clips\n" * 100),
    "a.srt": lambda path: path.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n\n" * 20),
    "a.vtt": lambda path: path.write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n\n" * 20),
    "labels.csv": lambda path: path.write_text("path,label\na.mp4,Jump\n" * 40),
    "a.json": lambda path: path.write_text('{"a": [1, 2]}' * 40),
    "index.db": lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(4080)),
    "a.jpg": picture,
    "thumbnail": picture,
    "a.m4a": lambda path: audio_only(path),
    "nothing": lambda path: path.write_bytes(b""),
    "noise.bin": lambda path: path.write_bytes(np.random.default_rng(0).bytes(20_000)),
}


def test_what_does_not_decode_is_left_out_with_the_reason(tmp_path: Path, film: Path) -> None:
    for name, write in OTHERS.items():
        write(tmp_path / name)
    shutil.copy(film, tmp_path / "film")
    found = list_videos(tmp_path)
    assert names(found) == ["film"]
    assert set(reasons(found)) == set(OTHERS)
    assert all(reasons(found).values())
    assert reasons(found)["nothing"] == "is empty (0 bytes)"
    assert not any(str(tmp_path) in reason for reason in reasons(found).values())
    remark = found.remark()
    assert remark is not None and remark.startswith(f"{tmp_path}: 11 left out: ")
    assert "nothing (is empty (0 bytes))" in remark and remark.endswith(", and 1 more")
    # what may be missed comes first
    last = {one.path.name for one in found.left_out if one.expected}
    assert last == {"a.srt", "a.vtt", "labels.csv", "a.json", "index.db", "a.jpg", "a.m4a"}
    assert [one.expected for one in found.left_out] == sorted(one.expected for one in found.left_out)


def test_a_broken_file_that_is_named_as_a_video_is_kept_for_whoever_opens_it(tmp_path: Path) -> None:
    for name in ("a.mp4", "B.MOV", "c.mts", "d.H264", "e.3gp"):
        (tmp_path / name).write_bytes(b"")
        assert is_named_video(Path(name))
    (tmp_path / "away.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "away").symlink_to(tmp_path / "nowhere")
    found = list_videos(tmp_path)
    assert names(found) == ["B.MOV", "a.mp4", "away.mp4", "c.mts", "d.H264", "e.3gp"]
    assert reasons(found) == {"away": f"is a link to {tmp_path / 'nowhere'}, which does not exist"}
    for name in ("a.ts", "a.txt", "mp4", "a.mp4.txt", "a"):
        assert not is_named_video(Path(name))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".hidden.mp4", "is hidden"),
        (".hidden/a.mp4", "is hidden"),
        (".Trash-1000/files/a.mp4", "is hidden"),
        (".thumbnails/a.mp4", "is hidden"),
        ("._a.mp4", "is an AppleDouble file of macOS"),
        ("__MACOSX/Jump/a.mp4", "belongs to the operating system"),
        ("@eaDir/a.mp4", "belongs to the operating system"),
        ("$RECYCLE.BIN/a.mp4", "belongs to the operating system"),
        ("Thumbs.db", "belongs to the operating system"),
        ("desktop.ini", "belongs to the operating system"),
        ("a.mp4.part", "is an unfinished download or a temporary file"),
        ("a.mp4.part-Frag7", "is an unfinished download or a temporary file"),
        ("a.mp4.CRDOWNLOAD", "is an unfinished download or a temporary file"),
        ("a.mp4.download/a.mp4", "is an unfinished download or a temporary file"),
        ("a.!qB", "is an unfinished download or a temporary file"),
        ("a.tmp", "is an unfinished download or a temporary file"),
        ("a.mp4~", "is a backup copy"),
        ("a.mp4.bak", "is a backup copy"),
    ],
)
def test_what_nobody_means_is_left_out_by_its_name(tmp_path: Path, film: Path, name: str, reason: str) -> None:
    for path in (tmp_path / name, tmp_path / "deep" / "er" / name, tmp_path / "seen.mp4"):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, path)
    found = list_videos(tmp_path)
    assert names(found) == ["seen.mp4"]
    top = name.split("/")[0]
    assert reasons(found) == {top: reason, f"deep/er/{top}": reason}


def test_names_that_only_resemble_those_are_videos(tmp_path: Path, film: Path) -> None:
    for name in ("part.mp4", "a.part/b.mp4", "thumbs/a.mp4", "MACOSX/a.mp4", "a.hidden", "template.mp4", "bak.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(film, tmp_path / name)
    assert len(list_videos(tmp_path).videos) == 7
    inside = tmp_path / ".cache"
    inside.mkdir()
    shutil.copy(film, inside / "a.mp4")
    assert names(list_videos(inside)) == ["a.mp4"]  # named by a person


def test_links_are_followed_once_and_loops_end(tmp_path: Path, film: Path) -> None:
    real, data = tmp_path / "real", tmp_path / "data"
    for path in (real / "a.mp4", real / "more" / "b.mp4", data / "zz" / "own.mp4"):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, path)
    (data / "0link").symlink_to(real)
    (data / "1again").symlink_to(real)
    (data / "2part").symlink_to(real / "more")
    (data / "3file.mp4").symlink_to(data / "zz" / "own.mp4")
    (data / "4chain.mp4").symlink_to(data / "3file.mp4")
    os.link(data / "zz" / "own.mp4", data / "zz" / "same.mp4")
    (data / "zz" / "up").symlink_to("..")
    (data / "zz" / "here").symlink_to(".")
    (data / "zz" / "root").symlink_to("/")
    (data / "round").symlink_to(data / "trip")
    (data / "trip").symlink_to(data / "round")
    (real / "back").symlink_to(real)
    found = list_videos(data)
    assert names(found) == ["0link/a.mp4", "0link/more/b.mp4", "zz/own.mp4"]
    said = reasons(found)
    assert said["1again"] == "is the same folder as 0link"
    assert said["2part"] == "is the same folder as 0link/more"
    assert said["3file.mp4"] == said["4chain.mp4"] == said["zz/same.mp4"] == "is the same file as zz/own.mp4"
    assert said["zz/up"] == f"is a link back to {data}, which contains it"
    assert said["0link/back"] == f"is a link back to {real}, which contains it"
    assert (
        said["zz/here"].startswith("is a link back to ") and said["zz/root"] == "is a link back to /, which contains it"
    )
    assert said["round"].startswith("is a link that cannot be followed: ")
    assert len(said) == 11


def test_folders_that_are_read_apart_may_share_files(tmp_path: Path, film: Path) -> None:
    for name in ("Jump", "Run", "empty"):
        (tmp_path / "d" / name).mkdir(parents=True)
    real = tmp_path / "real"
    real.mkdir()
    shutil.copy(film, real / "a.mp4")
    (tmp_path / "d" / "Jump" / "one").symlink_to(real)
    (tmp_path / "d" / "Jump" / "two.mp4").symlink_to(real / "a.mp4")
    (tmp_path / "d" / "Run" / "only.mp4").symlink_to(real / "a.mp4")
    (tmp_path / "d" / "Sit").symlink_to(real)
    (tmp_path / "d" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "d" / ".git").mkdir()
    found = list_videos(tmp_path / "d", apart=True)
    assert names(found) == ["Jump/one/a.mp4", "Run/only.mp4", "Sit/a.mp4"]
    assert [path.name for path in found.folders] == ["Jump", "Run", "Sit", "empty", "gone"]
    assert [tuple(path.name for path in pair) for pair in found.shared] == [("a.mp4", "only.mp4"), ("a.mp4", "a.mp4")]
    assert set(reasons(found)) == {".git", "Jump/two.mp4", "gone"}


def test_pipes_and_sockets_are_not_waited_for(tmp_path: Path, film: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        shutil.copy(film, tmp_path / "film.mp4")
        found = list_videos(tmp_path)
    assert names(found) == ["film.mp4"]
    assert reasons(found) == dict.fromkeys(("pipe.mp4", "link.mp4", "socket"), "is neither a file nor a folder")


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    shutil.copy(film, tmp_path / "film.mp4")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "locked":  # root may read everything
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = list_videos(tmp_path)
    assert names(found) == ["film.mp4"]
    assert reasons(found) == {"locked": "cannot be read: Permission denied"}


def test_no_file_is_asked_about_twice(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def count(path: Path) -> str | None:
        asked.append(path.name)
        return why_not_video(path)

    monkeypatch.setattr(listings, "why_not_video", count)
    for number in range(5):
        shutil.copy(film, tmp_path / str(number))
    (tmp_path / "notes").write_text("no video")
    seen: list[tuple[str, int, int]] = []
    first = list_videos(tmp_path, progress=lambda *done: seen.append(done))
    assert seen[-1] == ("looking for videos", 6, 6) and len(seen) == 6
    assert list_videos(tmp_path) == first == list_videos(tmp_path, apart=True)
    assert sorted(asked) == ["0", "1", "2", "3", "4", "notes"]
    shutil.copy(film, tmp_path / "notes")
    assert len(list_videos(tmp_path).videos) == 6  # it has changed
    assert len(asked) == 7
