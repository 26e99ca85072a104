"""Finds the videos below a folder: all files that the decoder can read, whatever their names."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.video.folder_walk import LeftOut, identity, walk
from mar_edge.runtime.video.probe import why_not_video

SHOWN = 10
"""Number of files that a sentence names; the rest is counted."""

_VIDEO_ENDING = re.compile(
    r"\.(mp4|m4v|mov|qt|mkv|webm|avi|mpe?g|m2v|mts|m2ts|vob|wmv|asf|flv|f4v|3gp|3g2|ogv|mxf|y4m|h?26[45]|hevc|dav|divx|rmvb)",
    re.IGNORECASE,
)
_OTHER_ENDING = re.compile(
    r"\.(srt|vtt|ass|ssa|sub|idx|md|ya?ml|toml|log|db|sqlite|np[yz]|pt|pkl|thm|webp|avif|heic|m4a|aac|flac|opus)",
    re.IGNORECASE,
)
_TYPES = mimetypes.MimeTypes()  # Python's own, not those of the machine

_answers: dict[tuple[object, ...], str | None] = {}


@dataclass(frozen=True)
class Listing:
    """The content of a folder and its subfolders.

    Attributes:
        folder: the folder that was read.
        videos: sorted; including files that are named as videos but cannot be read, so that opening them reports why.
        left_out: everything else, unexpected entries first.
        folders: those directly below, in which there may be videos; sorted.
        shared: videos that are in two folders that are read separately, under both names.
    """

    folder: Path
    videos: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]
    folders: tuple[Path, ...]
    shared: tuple[tuple[Path, Path], ...] = ()

    def remark(self) -> str | None:
        """Return a sentence on what is left out; None if nothing is."""
        return f"{self.folder}: {name_left_out(self.folder, self.left_out)}" if self.left_out else None


def list_videos(folder: Path, *, apart: bool = False, progress: Progress = no_progress) -> Listing:
    """Find the videos below a folder.

    Every file is tested with the decoder, whatever its name, except hidden files and folders, unfinished downloads and
    files of the operating system. Links are followed, each file and folder is taken once.

    Args:
        folder: where to look.
        apart: whether a file may be in several of the folders directly below, as in a folder for each class.
        progress: called while files are opened.
    """
    found = walk(folder, apart=apart)
    reasons = _ask(found.files, progress)
    videos = [path for path in found.files if reasons[path] is None or is_named_video(path)]
    no_videos = [
        LeftOut(path, reason, _is_named_other(path))
        for path in found.files
        if (reason := reasons[path]) is not None and not is_named_video(path)
    ]
    left_out = []
    for one in (*found.left_out, *no_videos):
        # a broken link counts as unexpected if it is named as a video
        if is_named_video(one.path) and one.path.is_symlink() and not one.path.exists():
            videos.append(one.path)
        else:
            left_out.append(one)
    left_out.sort(key=lambda one: (one.expected, one.path))
    known = set(videos)
    shared = tuple(pair for pair in found.shared if pair[0] in known and pair[1] in known)
    return Listing(folder, tuple(sorted(videos)), tuple(left_out), tuple(sorted(found.folders)), shared)


def why_no_video(path: Path) -> str | None:
    """Return why the decoder finds no video in a file, to follow its name in a sentence; None if there is one.

    A file that has not changed since is not opened again.
    """
    try:
        stat = path.stat()
        key = (identity(path), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if key not in _answers:
        reason = why_not_video(path)
        _answers[key] = reason and reason.removeprefix(f"{path} ")
    return _answers[key]


def is_named_video(path: Path) -> bool:
    """Return whether a file is named as a video, so that users expect it to be read."""
    return _VIDEO_ENDING.fullmatch(path.suffix) is not None


def name_left_out(folder: Path, left_out: Sequence[LeftOut]) -> str:
    """Name the first files and folders that are left out, with the reasons, and count the others."""
    inside = {one.path: one.path.relative_to(folder) for one in left_out if folder in one.path.parents}
    named = [f"{inside.get(one.path, one.path)} ({one.reason})" for one in left_out[:SHOWN]]
    more = f", and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
    return f"{len(left_out)} left out: {', '.join(named)}{more}"


def _ask(paths: Sequence[Path], progress: Progress) -> dict[Path, str | None]:
    """Test files, several at once: opening waits for the disk and decodes without Python's lock."""
    reasons: dict[Path, str | None] = {}
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for done, (path, reason) in enumerate(zip(paths, pool.map(why_no_video, paths), strict=True), 1):
            reasons[path] = reason
            progress("looking for videos", done, len(paths))
    finally:
        pool.shutdown(cancel_futures=True)
    return reasons


def _is_named_other(path: Path) -> bool:
    """Return whether a file is named as something other than a video."""
    kind = _TYPES.guess_type(path.name)[0] or "application/octet-stream"
    known = not kind.startswith("video/") and kind != "application/octet-stream"
    return known or _OTHER_ENDING.fullmatch(path.suffix) is not None
