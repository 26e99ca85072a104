"""The clips of one class in a folder of classes: their names, and which of them may be deleted."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mar_edge.datasets.class_folders import SPLITS
from mar_edge.datasets.label_likeness import likeness
from mar_edge.errors import OptionError, OutputError
from mar_edge.files.file_name import name_part
from mar_edge.files.regular_file import open_regular
from mar_edge.files.syncing import check_creatable
from mar_edge.printable import printable
from mar_edge.runtime.sinks.mp4.marks import LABELLED_SCHEMA, read_notes
from mar_edge.runtime.sinks.mp4.mp4_file import Mp4File
from mar_edge.runtime.video.folder_walk import walk, why_unwanted
from mar_edge.runtime.video.listing import is_named_video

if TYPE_CHECKING:
    from av.video.stream import VideoStream

_MOST_BYTES = 100
_STEM_BYTES = 24
"""Short enough for the whole name to stand in that of an unfinished file, see `files.unfinished`."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip that is on the disk.

    Attributes:
        path: the file.
        label: its class.
        recording: number of the recording that it belongs to.
        number: of the clip in that recording.
        start_s: time of its first frame in the stream, seconds.
        duration_s: its length, seconds.
        frames: how many it has.
        size_px: (width, height) of its pictures.
        longest_gap_s: longest time without a frame until its end, seconds.
    """

    path: Path
    label: str
    recording: int
    number: int
    start_s: float
    duration_s: float
    frames: int
    size_px: tuple[int, int]
    longest_gap_s: float

    def to_json(self) -> dict[str, Any]:
        """Return it as a line of `--json`."""
        return {
            "type": "clip",
            "path": str(self.path),
            "label": self.label,
            "recording": self.recording,
            "number": self.number,
            "start_s": round(self.start_s, 4),
            "duration_s": round(self.duration_s, 4),
            "frames": self.frames,
            "width_px": self.size_px[0],
            "height_px": self.size_px[1],
            "longest_gap_s": round(self.longest_gap_s, 4),
        }


class LabelFolder:
    """The folder of one class, in which clips get the names `LABEL_RECORDING_NUMBER.mp4`.

    The first number in a name is that of the recording, by which a split keeps together what was recorded at once: digits of
    the label are left out of the names of files. Nothing in the folder is replaced, and only clips of this
    object are deleted. Two programs may record into one folder.

    Args:
        out: the folder of classes.
        label: name of the class and of its folder.
        recording: number of the recording that is continued; by default one more than the highest in the folder.

    Attributes:
        out, label: as given.
        folder: of the class; created with the first clip.
        recording: number of the recording.
        deleted: how many clips were deleted.

    Raises:
        OptionError: if the label is no name of a class, or there is one that looks alike.
        OutputError: if files cannot be created there.
    """

    def __init__(self, out: Path, label: str, *, recording: int | None = None) -> None:
        _check_label(label)
        self.out, self.label = out, label
        self.folder = out / label
        self.deleted = 0
        self._stem = (
            name_part(re.sub(r"\d", "", label), most_bytes=_STEM_BYTES) if re.search(r"[^\W\d]", label) else "clip"
        )
        # unfinished ones of other programs, too: their names begin with a dot
        self._name = re.compile(rf"\.?{re.escape(self._stem)}_(\d+)_(\d+)\.mp4.*", re.DOTALL | re.ASCII)
        self._kept: list[tuple[Clip, tuple[int, int]]] = []
        self._created = [place for place in (self.folder, out) if not place.exists()]
        try:
            check_creatable(self.folder)
            _check_alike(out, label)
            self.recording = recording or 1 + max((one for one, _ in self._numbers()), default=0)
        except OSError as error:
            raise OutputError(
                f"cannot write clips to {self.folder}: {error.strerror}. Choose another folder"
            ) from error

    @property
    def kept(self) -> int:
        """How many clips were recorded and not deleted."""
        return len(self._kept)

    def new_file(self, stream: VideoStream, created_at: datetime | None) -> tuple[Mp4File, int]:
        """Begin a file, which gets its name when it is closed.

        Args:
            stream: describes the pictures, see `H264Encoder`.
            created_at: written into it; None for none.

        Returns:
            The file, and the number of its clip.

        Raises:
            OutputError: if it cannot be written.
        """
        taken = [number for one, number in self._numbers() if one == self.recording]
        number = 1 + max(taken, default=0)
        path = self.folder / f"{self._stem}_{self.recording:02d}_{number:03d}.mp4"
        notes = {"label": self.label, "recording": self.recording, "number": number}
        return Mp4File(path, stream, schema=LABELLED_SCHEMA, notes=notes, created_at=created_at, whole=True), number

    def keep(self, clip: Clip) -> None:
        """Remember a clip whose file was closed, so that it may be deleted."""
        there = clip.path.lstat()
        self._kept.append((clip, (there.st_dev, there.st_ino)))

    def delete_last(self) -> Clip | None:
        """Delete the newest clip that is left of this object's; None if none is.

        Raises:
            OutputError: if another program changed it, or it cannot be deleted; it counts as kept no more.
        """
        if not self._kept:
            return None
        clip, identity = self._kept.pop()
        try:
            with open(open_regular(clip.path), "rb") as file:
                there = os.fstat(file.fileno())
                ours = (there.st_dev, there.st_ino) == identity and read_notes(file, LABELLED_SCHEMA) is not None
            if not ours:
                raise OutputError(f"{clip.path} was changed by another program, so it stays. Delete it yourself")
            clip.path.unlink()
        except OSError as error:
            raise OutputError(f"cannot delete {clip.path}: {error.strerror}. Delete it yourself") from error
        self.deleted += 1
        return clip

    def close(self) -> None:
        """Remove folders that were created for clips and hold none: a class without clips is an error of a data set."""
        for place in self._created:
            with suppress(OSError):
                place.rmdir()

    def _numbers(self) -> list[tuple[int, int]]:
        """Return the numbers in the names that are taken: of recordings, and of clips in them."""
        with suppress(FileNotFoundError):
            names = os.listdir(self.folder)
            return [(int(found[1]), int(found[2])) for name in names if (found := self._name.fullmatch(name))]
        return []


def count_clips(out: Path) -> dict[str, int]:
    """Return how many videos there are of each class in a folder of classes, by their names."""
    if not out.is_dir():
        return {}
    labels = (path.relative_to(out).parts[0] for path in walk(out, apart=True).files if is_named_video(path))
    return dict(sorted(Counter(label for label in labels if (out / label).is_dir()).items()))


def _check_label(label: str) -> None:
    says = None
    if label != label.strip() or not label:
        says = "is empty, or begins or ends with a space"
    elif "/" in label or printable(label) != label or len(label.encode("utf-8", "replace")) > _MOST_BYTES:
        says = f"has a slash or a sign that cannot be shown, or more than {_MOST_BYTES} bytes"
    elif left_out := why_unwanted(Path(label), is_folder=True):
        says = f"names a folder that is left out of data: it {left_out.reason}"
    elif label.lower() in SPLITS:
        says = "names a part of a data set"
    if says is not None:
        raise OptionError(f"the label '{label}' {says}. Give the name of a class, for instance --label wave")


def _check_alike(out: Path, label: str) -> None:
    """Check that no class in a folder is this one in another spelling."""
    if (out / label).exists() or not out.is_dir():
        return
    for place in sorted(out.iterdir()):
        if place.is_dir() and likeness(place.name) == likeness(label):
            raise OptionError(
                f"{out} has a class '{place.name}', and '{label}' looks alike. For more clips of it give --label "
                f"'{place.name}', otherwise another name"
            )
