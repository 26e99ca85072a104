"""What must fit between the parts of a site file: names that are used, and targets that two outputs write to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mar_edge.bundle import builtin_names
from mar_edge.errors import MarEdgeError
from mar_edge.event_settings import conflicts_of
from mar_edge.files.yaml_file import Keys, YamlFile
from mar_edge.files.yaml_problems import near_hint
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.streams.site.outputs import KINDS, place_of

Problem = tuple[Keys, str]


def problems_between_parts(values: dict[str, Any], file: YamlFile) -> Iterator[Problem]:
    """Yield (key, problem). Works on values that were not validated, so that all problems are found at once.

    Args:
        values: of the file, with its variables.
        file: for the lines.
    """
    streams = list(_entries(values, "streams"))
    names: dict[str, Keys] = {}
    stdin: Keys | None = None
    for keys, stream in streams:
        if stream.get("source") == "-":
            if stdin is not None:
                line = file.place((*stdin, "source")).rpartition(":")[2]
                yield (*keys, "source"), f"the stream in line {line} reads standard input, too; only one can"
            stdin = stdin or keys
        if (problem := _wrong_source(stream.get("source"))) is not None:
            yield (*keys, "source"), problem
        name = stream.get("name")
        if isinstance(name, str) and name in names:
            line = file.place((*names[name], "name")).rpartition(":")[2]
            yield (*keys, "name"), f"the stream in line {line} has the name '{name}', too; choose another one"
        elif isinstance(name, str):
            names[name] = keys
        yield from (((*keys, "events", *key), problem) for key, problem in _conflicts(stream.get("events")))
    yield from _unknown_models(values, streams)
    yield from _problems_of_sinks(values, file, names)


def _entries(values: dict[str, Any], key: str) -> Iterator[tuple[Keys, dict[Any, Any]]]:
    entries = values.get(key)
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict):
            yield (key, str(index)), entry


def _wrong_source(source: Any) -> str | None:
    """Return why something is no source; None if it is one, or is reported elsewhere. Nothing is connected to."""
    number = isinstance(source, int) and not isinstance(source, bool) and source >= 0
    if not number and (not isinstance(source, str) or not source or "${" in source):
        return None
    try:
        open_source(source)
    except MarEdgeError as error:
        return str(error)
    return None


def _conflicts(events: Any) -> Iterator[Problem]:
    """Yield the thresholds that contradict each other, though others may be no numbers; those of the model are not known here."""
    if not isinstance(events, dict):
        return
    classes = events.get("classes")
    classes = classes if isinstance(classes, dict) else {}
    own = {
        str(label): SimpleNamespace(onset=value.get("onset"), offset=value.get("offset"))
        for label, value in classes.items()
        if isinstance(value, dict)
    }
    scores = {key: events.get(key) for key in ("onset", "offset", "unknown_score")}
    yield from conflicts_of(SimpleNamespace(**scores, classes=own))


def _unknown_models(values: dict[str, Any], streams: list[tuple[Keys, dict[Any, Any]]]) -> Iterator[Problem]:
    models = values.get("models")
    models = models if isinstance(models, dict) else {}
    own, built_in = [name for name in models if isinstance(name, str)], builtin_names()
    for keys, stream in streams:
        if not _is_model(name := stream.get("model"), [*own, *built_in]):
            here = f"in this file {', '.join(own)}; " if own else ""
            yield (
                (*keys, "model"),
                f"unknown model '{name}'{near_hint(str(name), [*own, *built_in])}; {here}built in {', '.join(built_in)}",
            )
    for own_name, part in models.items():
        if isinstance(part, dict) and not _is_model(name := part.get("model"), built_in):
            hint = near_hint(str(name), built_in)
            yield ("models", str(own_name), "model"), f"unknown model '{name}'{hint}; built in {', '.join(built_in)}"


def _is_model(name: Any, known: list[str]) -> bool:
    """Return whether it is one, or no text, which is reported elsewhere."""
    if not isinstance(name, str) or name in known or not name:
        return True
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # too long; a null character
        return False


def _problems_of_sinks(values: dict[str, Any], file: YamlFile, names: dict[str, Keys]) -> Iterator[Problem]:
    targets: dict[tuple[str, str], tuple[Keys, str]] = {}
    for keys, sink in _entries(values, "sinks"):
        served = sink.get("streams")
        for index, name in enumerate(served if isinstance(served, list) else ()):
            if isinstance(name, str) and name not in names:
                yield (*keys, "streams", str(index)), f"there is no stream '{name}'{near_hint(name, names)}"
        for kind in KINDS:
            target = place_of(kind, str(sink.get(kind)).replace("\0", ""))
            if kind in sink and target in targets:
                other, other_kind = targets[target]
                line = file.place((*other, other_kind)).rpartition(":")[2]
                what = "make one entry of the two" if kind == other_kind else "choose another one"
                yield (*keys, kind), f"line {line} writes to the same place; {what}"
            elif kind in sink:
                targets[target] = keys, kind
