"""Writes the parts of a split as lists, with a record of how they were made, by which they are recognised later."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from mar_edge.datasets.splits import NAMES, RECORD, Split
from mar_edge.datasets.video_list import Video
from mar_edge.errors import DataError, OutputError
from mar_edge.files.atomic_file import write_output
from mar_edge.files.checked_file import hash_open
from mar_edge.files.json_text import parse_json
from mar_edge.files.ownership import FileKind, check_not_input, check_replaceable
from mar_edge.printable import printable

SCHEMA = "mar-edge/split/1"

_RECORD_BYTES = 1 << 20


def write_split(
    split: Split,
    folder: Path,
    *,
    command: dict[str, Any],
    inputs: Iterable[Path | None] = (),
    force: bool = False,
    advice: str = "Choose another folder with -o, or replace it with --force",
) -> list[Path]:
    """Write train.csv, val.csv and test.csv (`path,label[,group]`), and split.json, which records how they were made.

    They replace only lists of the same source that `split.json` records and nobody has changed since. Such a list of
    a part that is none now is removed, because it would share clips with the others. Relative paths stay relative, to the folder.

    Args:
        split: what to write.
        folder: where; it is created.
        command: what was asked for, for the record.
        inputs: what was read, which is never replaced.
        force: replace other files with these names.
        advice: what to do if they are in the way.

    Returns:
        The lists.

    Raises:
        DataError: if a path or label cannot be written into a CSV.
        OutputError: if a file cannot be written, or is not ours.
    """
    source = os.path.realpath(split.train.source)
    paths = {name: folder / f"{name}.csv" for name in NAMES}
    texts = {name: _text(split, name, folder) for name in split.parts}
    before = _recorded(folder, source)
    kind = FileKind("list of this split", lambda file: hash_open(file) in before)
    for path in (folder / RECORD, *(paths[name] for name in texts)):
        check_not_input(path, inputs, advice="Choose a folder with -o")
        check_replaceable(path, _RECORD_KIND if path.name == RECORD else kind, force=force, advice=advice)
    hashes = {f"{name}.csv": hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    replaced = sorted(before & {_hash(path) for path in paths.values()})
    # before the lists: after a kill in between, what is there is still known as ours
    _write_record(folder / RECORD, split, source, command, {"lists": hashes, "replaces": replaced}, force=force)
    for name, text in texts.items():
        write_output(paths[name], text, kind=kind, force=force)
    for name in set(paths) - set(texts):
        _remove_ours(paths[name], before)
    return [paths[name] for name in texts]


def _text(split: Split, name: str, folder: Path) -> bytes:
    with io.StringIO(newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        grouped = not split.grouping.independent
        rows.writerow(["path", "label", *["group"] * grouped])
        part = split.parts[name]
        for video in part.videos:
            row = [_path(video, folder), part.labels[video.label], *[split.groups[video]] * grouped]
            for value in row:
                if value != value.strip() or any(end in value for end in "\r\n\0"):
                    raise DataError(
                        f"'{printable(value)}' begins or ends with a space, or contains a line break, so a list cannot name it. Rename it"
                    )
            rows.writerow(row)
        return file.getvalue().encode("utf-8", "surrogateescape")


def _path(video: Video, folder: Path) -> str:
    """Return a path as the list in a folder names it."""
    if Path(video.name).is_absolute():
        return video.name
    path, home = os.path.abspath(video.path), os.path.abspath(folder)
    if os.path.commonpath([path, home]) != home:
        # through `..` a link leads elsewhere than its path says
        path, home = os.path.join(os.path.realpath(video.path.parent), video.path.name), os.path.realpath(folder)
    return Path(os.path.relpath(path, home)).as_posix()


def _is_record(file: BinaryIO) -> bool:
    return _parse(file.read(_RECORD_BYTES)) is not None


_RECORD_KIND = FileKind("record of a split", _is_record)


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        values = parse_json(text)
    except ValueError:
        return None
    return values if isinstance(values, dict) and values.get("schema") == SCHEMA else None


def _recorded(folder: Path, source: str) -> set[str]:
    """Return the hashes of the lists that we wrote for a source."""
    try:
        with (folder / RECORD).open("rb") as file:
            values = _parse(file.read(_RECORD_BYTES))
    except OSError:
        return set()
    if values is None or values.get("source") != source:
        return set()
    lists, replaced = values.get("lists"), values.get("replaces")
    found = [*(lists.values() if isinstance(lists, dict) else ()), *(replaced if isinstance(replaced, list) else ())]
    return {one for one in found if isinstance(one, str)}


def _write_record(
    path: Path, split: Split, source: str, command: dict[str, Any], lists: dict[str, Any], *, force: bool
) -> None:
    grouping = split.grouping
    groups = {"name": grouping.name, "rule": grouping.rule, "count": len(set(grouping.groups))}
    values = {"schema": SCHEMA, "source": source, **command, "groups": groups, **lists}
    text = json.dumps(values, indent=2, ensure_ascii=True) + "\n"
    write_output(path, text.encode(), kind=_RECORD_KIND, force=force)


def _hash(path: Path) -> str:
    """Return the sha256 of a file; empty if there is none, or it cannot be read."""
    try:
        with path.open("rb") as file:
            return hash_open(file)
    except OSError:
        return ""


def _remove_ours(path: Path, hashes: set[str]) -> None:
    if _hash(path) not in hashes:
        return
    try:
        path.unlink()
    except OSError as error:
        raise OutputError(f"cannot remove {path}, the list of an older split: {error.strerror}. Remove it") from error
