"""The folder of a class: names of clips, which recordings they belong to, and that nothing of others is touched."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mar_edge.datasets.recording.clip_recorder import ClipRecorder
from mar_edge.datasets.recording.label_folder import Clip, LabelFolder, count_clips
from mar_edge.errors import OptionError, OutputError
from tests.fakes.shown_frames import shown


def record(folder: LabelFolder, clips: int = 1) -> list[Clip]:
    """Record clips of half a second."""
    recorder = ClipRecorder(folder, length_s=0.5)
    made: list[Clip] = []
    for index in range(5 * clips + 1):
        if index % 5 == 0 and index < 5 * clips:
            recorder.begin()
        ended = recorder.add(shown(index / 10).frame)
        if isinstance(ended, Clip):
            made.append(ended)
    return made


def names(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def test_every_run_is_a_recording_of_its_own_and_one_can_be_continued(tmp_path: Path) -> None:
    record(LabelFolder(tmp_path, "thumb up"), 2)
    record(LabelFolder(tmp_path, "thumb up"))
    record(LabelFolder(tmp_path, "thumb up", recording=1))
    record(LabelFolder(tmp_path, "none"))
    assert names(tmp_path) == [
        "none/none_01_001.mp4",
        "thumb up/thumb_up_01_001.mp4",
        "thumb up/thumb_up_01_002.mp4",
        "thumb up/thumb_up_01_003.mp4",
        "thumb up/thumb_up_02_001.mp4",
    ]
    assert count_clips(tmp_path) == {"none": 1, "thumb up": 4}


@pytest.mark.parametrize(
    ("label", "stem"), [("step2", "step"), ("7", "clip"), ("étude", "étude"), ("-x-", "x"), ("x" * 90, "x" * 24)]
)
def test_the_first_number_of_a_name_is_the_recording(tmp_path: Path, label: str, stem: str) -> None:
    (clip,) = record(LabelFolder(tmp_path, label))
    assert clip.path == tmp_path / label / f"{stem}_01_001.mp4"


@pytest.mark.parametrize(
    "label", ["", " x", "a/b", "..", ".hidden", "a\nb", "x" * 101, "Train", "test", "@eaDir", "x.download"]
)
def test_labels_that_are_no_folders_of_a_class(tmp_path: Path, label: str) -> None:
    with pytest.raises(OptionError, match="--label wave"):
        LabelFolder(tmp_path, label)


def test_a_label_in_another_spelling(tmp_path: Path) -> None:
    record(LabelFolder(tmp_path, "pinch in"))
    with pytest.raises(OptionError, match="has a class 'pinch in', and 'Pinch-In' looks alike"):
        LabelFolder(tmp_path, "Pinch-In")
    LabelFolder(tmp_path, "pinch out")


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(OutputError, match="Not a directory. Choose another folder"):
            LabelFolder(out, "wave")
    (tmp_path / "wave").touch()
    with pytest.raises(OutputError, match="Not a directory"):
        LabelFolder(tmp_path, "wave")


def test_two_programs_record_into_one_folder(tmp_path: Path) -> None:
    first, second = (ClipRecorder(LabelFolder(tmp_path, "wave"), length_s=0.5) for _ in range(2))
    for recorder in (first, second):
        recorder.begin()
    for index in range(6):
        for recorder in (first, second):
            recorder.add(shown(index / 10).frame)
    assert names(tmp_path) == ["wave/wave_01_001.mp4", "wave/wave_01_002.mp4"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_took_the_name_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:  # as on FAT

        def fail(*_paths: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", fail)
        record(LabelFolder(tmp_path / "free", "wave"))
        assert names(tmp_path / "free") == ["wave/wave_01_001.mp4"]
        tmp_path = tmp_path / "taken"
    recorder = ClipRecorder(LabelFolder(tmp_path, "wave"), length_s=0.5)
    recorder.begin()
    recorder.add(shown(0).frame)
    recorder.add(shown(0.4).frame)
    (tmp_path / "wave" / "wave_01_001.mp4").write_text("of somebody else")
    with pytest.raises(OutputError, match=r"cannot write .*wave_01_001.mp4: File exists"):
        recorder.add(shown(0.5).frame)
    assert names(tmp_path) == ["wave/wave_01_001.mp4"]
    assert (tmp_path / "wave" / "wave_01_001.mp4").read_text() == "of somebody else"


def test_only_own_clips_are_deleted_newest_first(tmp_path: Path) -> None:
    record(LabelFolder(tmp_path, "wave"))
    folder = LabelFolder(tmp_path, "wave")
    record(folder, 2)
    assert folder.kept == 2
    for number in (2, 1):
        deleted = folder.delete_last()
        assert deleted is not None
        assert (deleted.recording, deleted.number) == (2, number)
    assert folder.delete_last() is None
    assert (folder.kept, folder.deleted) == (0, 2)
    assert names(tmp_path) == ["wave/wave_01_001.mp4"]


def test_a_clip_that_another_program_changed_is_not_deleted(tmp_path: Path) -> None:
    folder = LabelFolder(tmp_path, "wave")
    written, moved, gone = record(folder, 3)
    written.path.write_bytes(b"cut in place by an editor")
    moved.path.rename(tmp_path / "mine.mp4")
    moved.path.write_bytes((tmp_path / "mine.mp4").read_bytes())
    gone.path.unlink()
    with pytest.raises(OutputError, match="No such file"):
        folder.delete_last()
    for _ in range(2):
        with pytest.raises(OutputError, match="was changed by another program, so it stays"):
            folder.delete_last()
    assert names(tmp_path) == ["mine.mp4", "wave/wave_01_001.mp4", "wave/wave_01_002.mp4"]


def test_a_folder_without_clips_is_not_left_behind(tmp_path: Path) -> None:
    folder = LabelFolder(tmp_path / "clips", "wave")
    record(folder)
    folder.delete_last()
    folder.close()
    assert not (tmp_path / "clips").exists()
    (tmp_path / "clips" / "wave").mkdir(parents=True)
    LabelFolder(tmp_path / "clips", "wave").close()
    assert (tmp_path / "clips" / "wave").exists()  # somebody else's
