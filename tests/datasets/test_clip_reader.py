"""Clips of listed videos, decoded each time or from the cache, whatever happens while the cache is filled."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mar_edge.datasets import clip_reader
from mar_edge.datasets.clip_reader import Broken, ClipReader, open_clips
from mar_edge.datasets.video_list import read_video_list
from mar_edge.errors import DataError, OutputError
from mar_edge.files.unfinished import SUFFIX, create_file
from mar_edge.runtime.clips.preprocess import preprocess
from mar_edge.runtime.video.reader import read_frames
from tests.conftest import ROOT
from tests.fakes.video_files import UNEVEN, write_broken, write_moving


def write_list(folder: Path, names: list[str]) -> Path:
    source = folder / "list.csv"
    source.write_text(
        "path,label\n" + "".join(f"{name},{'even' if n % 2 else 'odd'}\n" for n, name in enumerate(names))
    )
    return source


def open_list(source: Path, **options: Any) -> tuple[ClipReader, list[Broken]]:
    standard = {"resize": "center_crop", "height_px": 32, "width_px": 32, "short_side_px": 36, "cache": None}
    return open_clips(read_video_list(source), **{**standard, **options})


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A list of four videos: steady, uneven, late, and upright in a small frame."""
    write_moving(tmp_path / "steady.mp4", [index / 30 for index in range(40)])
    write_moving(tmp_path / "uneven.mkv", UNEVEN)
    write_moving(tmp_path / "late.mkv", [2 + index / 25 for index in range(30)])
    write_moving(tmp_path / "tall.mp4", [index / 15 for index in range(20)], size=(24, 48))
    return write_list(tmp_path, ["steady.mp4", "uneven.mkv", "late.mkv", "tall.mp4"])


TIMES_S = np.array([0.0, 0.1, 0.100001, 0.55, 1.2, 99.0])


def test_clips_are_what_the_video_shows(videos: Path) -> None:
    reader, broken = open_list(videos)
    assert (len(reader), broken, reader.warnings) == (4, [], ())
    for index, video in enumerate(reader.videos.videos):
        frames = list(read_frames(video.path))
        clip = reader.read(index, TIMES_S)
        assert clip.dtype == np.uint8 and clip.shape == (6, *reader.size(index), 3)
        for picture, time_s in zip(clip, TIMES_S, strict=True):
            shown = [frame for frame, stamp in frames if stamp <= time_s + 0.001][-1]
            height, width = reader.size(index)
            assert np.array_equal(
                picture, preprocess(shown, height_px=height, width_px=width, resize="stretch", color="rgb")
            )
        assert reader.frames(index) == len(frames)
        assert reader.duration_s(index) == pytest.approx(frames[-1][1] + 0.04, abs=0.03)


@pytest.mark.parametrize(
    ("options", "wide", "tall"),
    [
        ({"short_side_px": 36}, (36, 48), (72, 36)),
        ({"short_side_px": 96}, (96, 128), (192, 96)),
        ({"short_side_px": None}, (48, 64), (48, 24)),
        ({"resize": "stretch", "height_px": 20, "width_px": 30}, (20, 30), (20, 30)),
    ],
)
@pytest.mark.parametrize("cached", [False, True])
def test_sizes(
    videos: Path, tmp_path: Path, cached: bool, options: dict[str, Any], wide: tuple[int, int], tall: tuple[int, int]
) -> None:
    reader, _ = open_list(videos, cache=tmp_path / "cache" if cached else None, **options)
    for index, size in ((0, wide), (3, tall)):
        assert reader.size(index) == size
        assert reader.read(index, TIMES_S).shape == (6, *size, 3)


def same(one: ClipReader, other: ClipReader) -> None:
    rng = np.random.default_rng(0)
    assert one.digest == other.digest
    assert len(one) == len(other)
    for index in range(len(one)):
        assert one.frames(index) == other.frames(index)
        assert one.duration_s(index) == pytest.approx(other.duration_s(index), abs=0.04)
        times_s = np.sort(rng.uniform(0, one.duration_s(index) + 0.3, 20))
        assert np.array_equal(one.read(index, times_s), other.read(index, times_s))


def test_the_cache_gives_the_same_and_is_filled_once(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    cache = tmp_path / "deep" / "cache"
    first, _ = open_list(videos, cache=cache, progress=lambda _task, *state: told.append(state))
    assert told[0] == (0, 4) and told[-1] == (4, 4)
    same(first, open_list(videos)[0])
    stamps = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(stamps) == 4
    monkeypatch.setattr(
        clip_reader, "over_all_cores", lambda _task, jobs: [] if not jobs else pytest.fail("decoded again")
    )
    monkeypatch.chdir(cache.parent)
    again, _ = open_list(videos, cache=Path("cache"))
    monkeypatch.chdir("/")
    same(first, again)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == stamps


def test_a_changed_file_or_size_is_decoded_anew(videos: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before, _ = open_list(videos, cache=cache)
    write_moving(tmp_path / "steady.mp4", [index / 30 for index in range(25)])
    after, _ = open_list(videos, cache=cache)
    assert (before.frames(0), after.frames(0)) == (40, 25)
    assert before.digest != after.digest
    assert len(list(cache.iterdir())) == 5
    smaller, _ = open_list(videos, cache=cache, short_side_px=20)
    assert smaller.size(0)[0] == 20
    assert len({before.digest, after.digest, smaller.digest}) == 3


def test_the_reader_goes_to_processes_and_threads(videos: Path, tmp_path: Path) -> None:
    for cache in (None, tmp_path / "cache"):
        reader, _ = open_list(videos, cache=cache)
        copy = pickle.loads(pickle.dumps(reader))
        same(reader, copy)
        expected = [reader.read(index, TIMES_S) for index in range(4)]
        with ThreadPoolExecutor(4) as threads:
            got = list(threads.map(reader.read, [n % 4 for n in range(40)], [TIMES_S] * 40))
        assert all(np.array_equal(clip, expected[n % 4]) for n, clip in enumerate(got))


def test_a_clip_is_the_callers_own(videos: Path, tmp_path: Path) -> None:
    reader, _ = open_list(videos, cache=tmp_path / "cache")
    clip = reader.read(0, TIMES_S)
    before = clip.copy()
    clip[:] = 0
    assert np.array_equal(reader.read(0, TIMES_S), before)


def test_a_file_listed_twice_is_decoded_once(videos: Path, tmp_path: Path) -> None:
    source = write_list(tmp_path, ["steady.mp4", "steady.mp4"])
    reader, _ = open_list(source, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert np.array_equal(reader.read(0, TIMES_S), reader.read(1, TIMES_S))


@pytest.mark.parametrize("cached", [False, True])
def test_broken_videos_are_all_told_or_left_out(videos: Path, tmp_path: Path, cached: bool) -> None:
    says = write_broken(tmp_path)
    cache = tmp_path / "cache" if cached else None
    source = write_list(tmp_path, ["steady.mp4", *says, "tall.mp4", "uneven.mkv"])
    with pytest.raises(DataError) as error:
        open_list(source, cache=cache)
    assert str(error.value).startswith(f"7 of 10 videos of {source} cannot be used: ")
    assert "data.skip_broken=true" in str(error.value)
    for line, (name, reason) in enumerate(says.items(), 3):
        assert f"{source}:{line}: " in str(error.value)
        assert name in str(error.value) and reason in str(error.value)
    reader, broken = open_list(source, cache=cache, skip_broken=True)
    assert [video.name for video in reader.videos.videos] == ["steady.mp4", "tall.mp4", "uneven.mkv"]
    assert reader.videos.labels == ("even", "odd")
    assert [one.video.name for one in broken] == list(says)
    assert reader.read(1, TIMES_S).shape == (6, 72, 36, 3)
    if cache is not None:
        assert len(list(cache.iterdir())) == 3
    with pytest.raises(DataError, match="7 of 7 videos"):
        open_list(write_list(tmp_path, list(says)), cache=cache, skip_broken=True)
    with pytest.raises(DataError, match=r"no video is left of the class even: .*list\.csv:3: .*empty\.mp4 is empty"):
        open_list(write_list(tmp_path, ["steady.mp4", "empty.mp4", "tall.mp4"]), cache=cache, skip_broken=True)


@pytest.mark.parametrize("cached", [False, True])
def test_a_damaged_video_is_used_with_a_warning(real_clips: Path, tmp_path: Path, cached: bool) -> None:
    for name in ("corrupted.mp4", "video_90.mov"):
        (tmp_path / name).write_bytes((real_clips / "edge" / name).read_bytes())
    source = write_list(tmp_path, ["corrupted.mp4", "video_90.mov"])
    reader, broken = open_list(source, cache=tmp_path / "cache" if cached else None)
    assert not broken
    assert reader.size(1) == (64, 36)  # upright
    assert reader.read(0, np.array([0.0, 4.9])).any()
    assert all("corrupted.mp4" in warning for warning in reader.warnings)
    assert bool(reader.warnings) == cached  # damage shows only in decoding


def test_a_file_that_goes_away_is_named(videos: Path, tmp_path: Path) -> None:
    reader, _ = open_list(videos)
    (tmp_path / "uneven.mkv").unlink()
    with pytest.raises(DataError, match=r"list.csv:3: no such file: .*uneven.mkv"):
        reader.read(1, TIMES_S)
    cached, _ = open_list(write_list(tmp_path, ["steady.mp4", "tall.mp4"]), cache=tmp_path / "cache")
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="was removed or damaged since the start; start again"):
        cached.read(0, TIMES_S)
    mended, _ = open_list(write_list(tmp_path, ["steady.mp4", "tall.mp4"]), cache=tmp_path / "cache")
    assert mended.read(0, TIMES_S).any()


FILL = """
import sys
from pathlib import Path
from tests.datasets.test_clip_reader import open_list
if __name__ == "__main__":
    open_list(Path(sys.argv[1]), cache=Path(sys.argv[2]), short_side_px=None, progress=lambda _task, *state: print(*state, flush=True))
"""


def long_list(folder: Path, count: int = 12) -> Path:
    whole = write_moving(folder / "0.mp4", [index / 30 for index in range(150)], size=(320, 240)).read_bytes()
    for number in range(1, count):
        (folder / f"{number}.mp4").write_bytes(whole)
    return write_list(folder, [f"{number}.mp4" for number in range(count)])


def fill(folder: Path, source: Path, before: str = "", **options: Any) -> subprocess.Popen[str]:
    script = folder / "fill.py"
    script.write_text(before + FILL)
    command: list[str | Path] = [sys.executable, script, source, folder / "cache"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def test_killed_while_filling_the_cache(tmp_path: Path) -> None:
    """What was finished is kept and not touched again; nothing half-written is ever taken for a video."""
    source, cache = long_list(tmp_path), tmp_path / "cache"
    process = fill(tmp_path, source)
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        if int(line.split()[0]) >= 2:
            break
    until_s = time.monotonic() + 30
    while not list(cache.glob(f"*{SUFFIX}")):  # in the middle of a video
        assert time.monotonic() < until_s
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    time.sleep(1)  # the workers end by themselves
    finished = {path: path.stat().st_mtime_ns for path in cache.glob("*.clip")}
    assert 2 <= len(finished) < 12
    told: list[tuple[int, int]] = []
    reader, _ = open_list(source, cache=cache, short_side_px=None, progress=lambda _task, *state: told.append(state))
    assert told[0] == (len(finished), 12)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    frames = np.stack([frame for frame, _ in read_frames(tmp_path / "0.mp4")])
    for index in range(12):
        assert np.array_equal(reader.read(index, np.arange(150) / 30), frames)


def test_remains_of_killed_writers_are_removed_and_nothing_else(videos: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o755)  # chosen by the user: it is used as it is
    (cache / "debian.iso.partial").write_bytes(b"7 GB of a download")
    os.utime(cache / "debian.iso.partial", (0, 0))
    killed, killed_lock = create_file(cache / "a.clip")
    living, living_lock = create_file(cache / "b.clip")
    os.close(killed_lock)  # as the kernel does when a process ends
    open_list(videos, cache=cache)
    assert not killed.exists()
    assert living.exists()
    assert (cache / "debian.iso.partial").read_bytes() == b"7 GB of a download"
    assert cache.stat().st_mode & 0o777 == 0o755
    os.close(living_lock)


LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))\n"


def test_a_full_disk_while_filling_the_cache(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: writing fails half-way through a video."""
    source, cache = long_list(tmp_path, 3), tmp_path / "cache"
    write_moving(tmp_path / "0.mp4", [index / 30 for index in range(20)])
    done = fill(tmp_path, source, LIMIT)
    _, errors = done.communicate(timeout=120)
    assert done.returncode == 1
    last = errors.splitlines()[-1]
    assert last.startswith("mar_edge.errors.OutputError: cannot write ")
    assert "File too large" in last
    assert f"Make room in {cache}, set data.cache to another folder" in last
    assert not list(cache.glob(f"*{SUFFIX}"))
    kept = list(cache.iterdir())
    reader, _ = open_list(source, cache=cache, short_side_px=None)
    assert reader.read(2, TIMES_S).any()
    assert set(kept) <= set(cache.iterdir())


def test_a_cache_that_cannot_be_made(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot create the cache .*file/cache: Not a directory. Set data.cache"):
        open_list(videos, cache=tmp_path / "file" / "cache")


def test_two_processes_fill_one_cache(tmp_path: Path) -> None:
    source = long_list(tmp_path, 4)
    both = [fill(tmp_path, source) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_real_clips_from_the_cache_equal_decoding(arid: Path, tmp_path: Path) -> None:
    lines = (arid / "val.csv").read_text().splitlines()
    (tmp_path / "some.csv").write_text("\n".join([lines[0], *lines[1::12]]))
    options: dict[str, Any] = {"resize": "center_crop", "height_px": 64, "width_px": 64, "short_side_px": 72}
    listed = read_video_list(tmp_path / "some.csv", root=arid)
    cached, _ = open_clips(listed, cache=tmp_path / "cache", **options)
    same(open_clips(listed, cache=None, **options)[0], cached)
