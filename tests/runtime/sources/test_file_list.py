"""Several files as one stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mar_edge.errors import SourceError, SourceTimeoutError
from mar_edge.reporting import Warnings
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.sources.recordings.file_list import BETWEEN_FILES_S, FileListSource
from mar_edge.runtime.sources.source import Reading
from tests.fakes.films import RATE_FPS, moving_square, write_film

FRAMES = 6


def films(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        write_film(folder / name, moving_square("right", seed, frames=FRAMES))


def read_all(source: FileListSource) -> list[Frame]:
    with Reading(source) as frames:
        return list(frames)


def test_files_follow_each_other_and_no_window_spans_two(tmp_path: Path) -> None:
    films(tmp_path, "take2.mp4", "take10.mp4")
    source = open_source(f"{tmp_path}/*.mp4")
    assert isinstance(source, FileListSource)
    for _ in range(2):
        frames = read_all(source)
        assert len(frames) == 2 * FRAMES
        own_s = np.arange(FRAMES) / RATE_FPS
        second_s = own_s[-1] + BETWEEN_FILES_S + own_s
        assert [frame.time_s for frame in frames] == pytest.approx([*own_s, *second_s], abs=1e-3)
        cuts = {index: frame.cut for index, frame in enumerate(frames) if frame.cut}
        assert cuts == {FRAMES: f"{tmp_path}/take10.mp4 begins at {second_s[0]:.2f} s"}
        first = read_all(FileListSource([tmp_path / "take2.mp4"], name="first"))
        assert np.array_equal(frames[0].picture, first[0].picture)
    assert source.warnings.take() == []


def test_files_that_cannot_be_read_are_skipped_and_told(tmp_path: Path) -> None:
    films(tmp_path, "2.mp4", "4.mp4")
    (tmp_path / "1.mp4").write_bytes(b"")
    (tmp_path / "3.mp4").write_text("text")
    (tmp_path / "5.mp4").write_bytes(b"")
    source = open_source(f"{tmp_path}/*.mp4")
    assert isinstance(source, FileListSource)
    assert len(read_all(source)) == 2 * FRAMES
    first, second, last = source.warnings.take()
    assert first == f"{tmp_path}/1.mp4 is empty (0 bytes); continuing with the next file"
    assert "3.mp4 is not a video" in second
    assert last == f"{tmp_path}/5.mp4 is empty (0 bytes)"


def test_a_list_of_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    for name in ("1.mp4", "2.mp4"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(SourceError, match=r"none of 2 files of .* can be read; the first: .*1.mp4 is empty") as error:
        read_all(FileListSource(sorted(tmp_path.iterdir()), name="takes"))
    assert not error.value.retry
    with pytest.raises(SourceError, match="1.mp4 is empty"):
        read_all(FileListSource([tmp_path / "1.mp4"], name="takes"))
    with pytest.raises(SourceError, match="takes matches no file"):
        FileListSource([], name="takes").connect()


class SlowFile:
    """A file whose first read takes too long."""

    live = False

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.dropped = 0
        self.warnings = Warnings()
        self.reads = 0
        self.closed = False

    def connect(self) -> SlowFile:
        return self

    def read(self, timeout_s: float) -> Frame | None:
        self.reads += 1
        if self.closed or self.reads > 2:
            return None
        if self.reads == 1:
            raise SourceTimeoutError("slow")
        return Frame(picture=np.zeros((2, 2, 3), np.uint8), time_s=0.5)

    def close(self) -> None:
        self.closed = True


def test_a_timeout_is_passed_on_and_closing_ends_the_list() -> None:
    opened: list[SlowFile] = []

    def open_slow(path: Path) -> SlowFile:
        opened.append(SlowFile(path))
        return opened[-1]

    connection = FileListSource([Path("a"), Path("b")], name="slow", open_file=open_slow).connect()
    with pytest.raises(SourceTimeoutError):
        connection.read(0.1)
    frame = connection.read(0.1)
    assert frame is not None
    assert frame.time_s == 0.5
    connection.close()
    assert connection.read(0.1) is None
    assert [one.closed for one in opened] == [True, False]
    assert opened[1].reads == 0
