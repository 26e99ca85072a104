"""Reads the lines of a list of videos: CSV with a header, or `path label` separated by space, tab or comma."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mar_edge.counting import counted
from mar_edge.errors import DataError
from mar_edge.files.regular_file import LIST_BYTES, read_limited
from mar_edge.runtime.video.listing import is_named_video, why_no_video

_FILE_NAME = re.compile(r".*\.(?:[A-Za-z][A-Za-z0-9]{1,4}|3g[p2])")
_EXCEL = re.compile(r'"?sep=(.?)"?', re.IGNORECASE)
"""First line in which Excel states the separator; a tab is removed with the spaces at the end."""

_FRAME_COUNT = re.compile(r"(.*\S)\s+(\d+)")


_Split = Callable[[str], "tuple[str, str] | None"]


class Row(NamedTuple):
    """A line: its number from 1, the path and the label as written, and the other columns by their names in lower case."""

    line: int
    name: str
    label: str
    columns: Mapping[str, str] = {}  # read by nobody who would change it


def read_rows(source: Path, tell: Callable[[int, str], None], *, labelled: bool) -> list[Row]:
    """Read a list file.

    Args:
        source: the file.
        tell: called with (line, problem) for every line that cannot be used.
        labelled: whether every line must have a label; if false, `Row.label` is empty.

    Raises:
        DataError: if the file is missing, is not text, or is a CSV that lacks a column.
    """
    text = _read(source)
    lines = _lines(text)
    if not lines:
        return []
    stated = _EXCEL.fullmatch(lines[0][1])
    separators = (",", ";", "\t") if stated is None else (stated[1] or "\t",)
    lines = lines if stated is None else lines[1:]
    header = _header(source, lines[0][1], separators, labelled=labelled) if lines else None
    if header is not None:
        return _csv_rows(source, text, lines[0][0], *header, tell, labelled=labelled)
    if not labelled:
        return [Row(number, _without_label(line), "") for number, line in lines]
    return _list_rows(lines, tell)


def _read(source: Path) -> str:
    """Return the content, with line ends as they are."""
    try:
        return read_limited(source, LIST_BYTES).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"no such file or folder: {source}") from error
    except UnicodeDecodeError as error:
        is_video = is_named_video(source) or why_no_video(source) is None
        kind = "is a video" if is_video else "is not text in UTF-8"
        raise DataError(
            f"{source} {kind}; a list of videos is a CSV with the columns path and label, or a folder per class"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {source}: {error.strerror or error}") from error


def _lines(text: str) -> list[tuple[int, str]]:
    """Return the lines that are not blank, with their numbers."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _header(
    source: Path, first: str, separators: Sequence[str], *, labelled: bool
) -> tuple[str, dict[str, int]] | None:
    """Return the separator and the places of the columns if the first line is a header."""
    for separator in separators:
        columns = [column.strip().strip('"') for column in first.split(separator)]
        places = {column.lower(): place for place, column in enumerate(columns)}
        wanted = ["path", "label"] if labelled else ["path"]
        missing = [column for column in wanted if column not in places]
        if not missing:
            return separator, places
        a_column_is_there = "path" in places or "label" in places
        no_file_in_it = source.suffix.lower() == ".csv" and len(columns) > 1
        no_file_in_it = no_file_in_it and not any("." in column or "/" in column for column in columns)
        if a_column_is_there or no_file_in_it:
            raise DataError(
                f"{source} has no column {' and no column '.join(repr(column) for column in missing)}; its columns "
                f"are {', '.join(columns)[:200]}. Rename or add what is missing"
            )
    return None


def _csv_rows(
    source: Path,
    text: str,
    header: int,
    separator: str,
    places: dict[str, int],
    tell: Callable[[int, str], None],
    *,
    labelled: bool,
) -> list[Row]:
    """Read what follows the header, whose line is given."""
    rows = []
    with io.StringIO(text, newline="") as file:
        reader = csv.reader(file, delimiter=separator)
        try:
            next(fields for fields in reader if reader.line_num >= header)
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                if len(fields) > len(places) and any(field.strip() for field in fields[len(places) :]):
                    tell(
                        reader.line_num,
                        f"{counted(len(fields), 'field')} under {counted(len(places), 'column')} in '{separator.join(fields)[:80]}'; put fields "
                        f"that contain a '{separator}' in quotes",
                    )
                    continue
                wanted = [places["path"], places["label"]] if labelled else [places["path"]]
                values = [fields[place].strip() if place < len(fields) else "" for place in wanted]
                if not all(values):
                    lacking = "path" if not values[0] else "label"
                    tell(reader.line_num, f"no {lacking} in '{separator.join(fields)[:80]}'")
                    continue
                columns = {
                    name: fields[place].strip() if place < len(fields) else ""
                    for name, place in places.items()
                    if name not in ("path", "label")
                }
                rows.append(Row(reader.line_num, values[0], values[1] if labelled else "", columns))
        except csv.Error as error:
            raise DataError(f"{source}:{reader.line_num}: is not CSV: {error}") from error
    return rows


def _list_rows(lines: list[tuple[int, str]], tell: Callable[[int, str], None]) -> list[Row]:
    # one separator for the entire list, the one that fits most lines: paths and labels may contain the others
    def sense(way: _Split) -> tuple[int, int]:
        fields = [way(line) for _, line in lines]
        return sum(map(_sensible, fields)), len(fields) - fields.count(None)

    split = max((_by_tab, _by_comma, _by_space), key=sense)
    rows = []
    for number, line in lines:
        fields = split(line)
        if fields is None or not all(fields):
            tell(number, f"'{line[:80]}' is not a path and a label")
            continue
        path, label = fields
        with_count = _FRAME_COUNT.fullmatch(path)
        if with_count and not _FILE_NAME.fullmatch(path):
            path = with_count[1]
            if not _FILE_NAME.fullmatch(path):
                tell(
                    number,
                    f"'{line[:80]}' has more than a path and a label; lists of extracted frames (path, frames, label) "
                    "and of several labels are not supported, give one video file and one label per line",
                )
                continue
        rows.append(Row(number, path, label))
    return rows


def _by_tab(line: str) -> tuple[str, str] | None:
    path, tab, label = line.rpartition("\t")
    return (path.strip(), label.strip()) if tab else None


def _by_comma(line: str) -> tuple[str, str] | None:
    try:
        fields = next(csv.reader([line]))
    except csv.Error:
        return None
    return (",".join(fields[:-1]).strip(), fields[-1].strip()) if len(fields) > 1 else None


def _by_space(line: str) -> tuple[str, str] | None:
    fields = line.rsplit(maxsplit=1)
    return (fields[0], fields[1]) if len(fields) == 2 else None


def _sensible(fields: tuple[str, str] | None) -> bool:
    """Whether a path ends like a file's name, and a label does not."""
    if fields is None:
        return False
    path, label = fields
    return bool(_FILE_NAME.fullmatch(path)) and bool(label) and not _FILE_NAME.fullmatch(label)


def _without_label(line: str) -> str:
    """Return the path of a line that may or may not have a label."""
    for fields in (_by_tab(line), _by_comma(line), _by_space(line)):
        if not _FILE_NAME.fullmatch(line) and _sensible(fields):
            return fields[0] if fields else line
    return line
