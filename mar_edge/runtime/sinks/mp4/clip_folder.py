"""The folder of clips of events: names of new ones, and removal of the oldest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import timezone
from pathlib import Path

from mar_edge.errors import OutputError
from mar_edge.files.file_name import name_part
from mar_edge.files.regular_file import open_regular
from mar_edge.files.syncing import check_creatable
from mar_edge.files.unfinished import lock
from mar_edge.runtime.results import Event
from mar_edge.runtime.sinks.mp4.marks import CLIP_SCHEMA, read_notes


class ClipFolder:
    """A folder in which every clip gets a name of its own. Nothing in it is replaced, and other files may lie there.

    Args:
        folder: created with the first clip.
        keep_bytes: once the clips of ours take more, the oldest are removed; None to remove none. A clip that was renamed
            is not counted and stays, and so does one that is being written.
        inputs: what the program reads, which is never removed.

    Raises:
        OutputError: if files cannot be created there.
    """

    def __init__(
        self, folder: Path, *, keep_bytes: int | None = None, inputs: Iterable[str | Path | None] = ()
    ) -> None:
        self.folder = folder
        self._inputs = {os.path.realpath(one) for one in inputs if one is not None}
        self._keep_bytes = keep_bytes
        self._known: dict[str, bool] = {}
        try:
            check_creatable(folder)
        except OSError as error:
            raise OutputError(f"cannot write clips to {folder}: {error.strerror}. Choose another folder") from error

    def new_path(self, event: Event) -> Path:
        """Return the path of an event's clip, as `STREAM-LABEL-TIME-ID.mp4`; nothing exists there."""
        if event.started_at is None:
            time = f"{event.start_s:08.2f}s"
        else:
            time = event.started_at.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        label, id = name_part(event.label, most_bytes=40), name_part(event.id, most_bytes=40)
        stem = f"{name_part(event.stream)}-{label}-{time}-{id}"
        for name in (f"{stem}.mp4", *(f"{stem}-{number}.mp4" for number in range(2, 1000))):
            path = self.folder / name
            if not os.path.lexists(path) and not os.path.lexists(path.with_suffix(".json")):
                return path
        raise OutputError(f"{self.folder} has too many clips of the event {event.id}. Choose another folder")

    def remove_oldest(self) -> None:
        """Remove the oldest clips of ours, and the descriptions beside them, while they take too much."""
        if self._keep_bytes is None:
            return
        found = []
        for entry in os.scandir(self.folder):
            if not entry.name.endswith(".mp4") or not entry.is_file(follow_symlinks=False):
                continue
            if os.path.realpath(entry.path) not in self._inputs and self._is_ours(Path(entry.path)):
                there = entry.stat(follow_symlinks=False)
                found.append((there.st_mtime_ns, there.st_size, Path(entry.path)))
        self._known = {path.name: self._known[path.name] for _, _, path in found}
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._keep_bytes:
                return
            if _remove(path):
                total -= size

    def _is_ours(self, path: Path) -> bool:
        if path.name not in self._known:
            self._known[path.name] = _is_clip(path)
        return self._known[path.name]


def _is_clip(path: Path) -> bool:
    try:
        with open(open_regular(path), "rb") as file:
            notes = read_notes(file, CLIP_SCHEMA)
    except OSError:
        return False
    return notes is not None and notes.get("file") == path.name


def _remove(path: Path) -> bool:
    """Remove a clip unless its writer, whoever it is, holds the lock on it; return whether it is gone."""
    try:
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if lock(file) is False:
            return False
        path.unlink()
        beside = path.with_suffix(".json")
        if _describes(beside, path.name):
            beside.unlink()
    except OSError:
        return not path.exists()
    finally:
        os.close(file)
    return True


def _describes(path: Path, video: str) -> bool:
    try:
        with open(open_regular(path), "rb") as file:
            values = json.loads(file.read(1 << 20))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.get("schema") == CLIP_SCHEMA and values.get("video") == video
