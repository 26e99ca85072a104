"""Reads a site file, and finds what changed in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError

from mar_edge.counting import counted
from mar_edge.errors import OptionError
from mar_edge.files.yaml_file import Keys, YamlFile, read_yaml
from mar_edge.files.yaml_part import Part
from mar_edge.files.yaml_problems import explain, named, shown_value
from mar_edge.runtime.streams.site.between_parts import problems_between_parts
from mar_edge.runtime.streams.site.outputs import AnyOutput
from mar_edge.runtime.streams.site.parts import MOST_STREAMS, ModelPart, StreamPart
from mar_edge.runtime.streams.site.variables import insert_variables

SITE_BYTES = 1 << 20
"""Limit of a site file. A thousand streams take a third of it."""


@dataclass(frozen=True)
class Changes:
    """What differs between two versions of a site.

    Attributes:
        added: streams that are new.
        removed: names of the streams that are gone.
        changed: streams, as they are now, of which the source, the model or an option differs.
        sinks: whether an output differs.
    """

    added: tuple[StreamPart, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[StreamPart, ...] = ()
    sinks: bool = False

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self.added or self.removed or self.changed or self.sinks)

    def __str__(self) -> str:
        """Return it in words, such as `1 stream added (gate), outputs differ`."""
        streams = (
            ("added", [stream.name for stream in self.added]),
            ("removed", list(self.removed)),
            ("changed", [stream.name for stream in self.changed]),
        )
        words = [f"{counted(len(named), 'stream')} {what} ({', '.join(named)})" for what, named in streams if named]
        return ", ".join([*words, *(["outputs differ"] if self.sinks else [])]) or "nothing changed"


class Site(Part):
    """What one installation of mar-edge does.

    Attributes:
        version: of this format.
        models: models by the names that streams use for them.
        streams: what is recognised.
        sinks: where results go. Each entry is one of the outputs below, and begins with the key that names it.
    """

    version: Literal[1] = 1
    models: dict[str, ModelPart] = Field(default_factory=dict)
    streams: Annotated[list[StreamPart], Field(min_length=1, max_length=MOST_STREAMS)]
    sinks: list[AnyOutput] = Field(default_factory=list)
    _file: YamlFile | None = PrivateAttr(default=None)

    def model_of(self, stream: StreamPart) -> ModelPart:
        """Return a stream's model. Equal ones are one model: it needs loading once."""
        return self.models.get(stream.model) or ModelPart(model=stream.model)

    def place_of(self, name: str) -> str:
        """Return where a stream stands, such as `site.yaml:12`, for messages."""
        index = next(index for index, stream in enumerate(self.streams) if stream.name == name)
        return self._file.place(("streams", str(index))) if self._file is not None else name

    def changes(self, new: Site) -> Changes:
        """Return what differs in a newer version.

        A stream whose name stays and whose source, model or options differ is changed; one of another name is another one.
        The order of streams, and the names of models, do not matter.
        """
        before = {stream.name: stream for stream in self.streams}
        return Changes(
            added=tuple(stream for stream in new.streams if stream.name not in before),
            removed=tuple(name for name in before if name not in {stream.name for stream in new.streams}),
            changed=tuple(
                stream
                for stream in new.streams
                if stream.name in before and new._recognised(stream) != self._recognised(before[stream.name])
            ),
            sinks=self.sinks != new.sinks,
        )

    def _recognised(self, stream: StreamPart) -> tuple[ModelPart, StreamPart]:
        return self.model_of(stream), stream.model_copy(update={"model": ""})


def read_site(path: Path | str) -> Site:
    """Read a site file.

    Raises:
        OptionError: naming every problem, its line, and the nearest known key or name; without values of environment
            variables and without addresses.
    """
    file = read_yaml(Path(path), "site file", OptionError, SITE_BYTES)
    values, problems = insert_variables(file.values, os.environ)
    problems += [*file.repeated, *problems_between_parts(values, file)]
    told = [(keys, f"{named(keys)}: {problem}") for keys, problem in problems]
    broken = {keys for keys, _ in problems}
    try:
        site = Site.model_validate(values)
    except ValidationError as error:
        found = explain(error, Site, lambda keys, _: _shown(file.values, keys))
        told += [(keys, problem) for keys, problem in found if keys not in broken]
        raise _refusal(file, told) from None  # pydantic's shows all values
    if told:
        raise _refusal(file, told)
    site._file = file
    return site


def _refusal(file: YamlFile, told: list[tuple[Keys, str]]) -> OptionError:
    """Return all problems in the order of their lines."""

    def line(problem: tuple[str, str]) -> int:
        number = problem[0].rpartition(":")[2]
        return int(number) if number.isdecimal() else 0

    places = sorted([(file.place(keys), problem) for keys, problem in told], key=line)
    return OptionError("; ".join(f"{place}: {problem}" for place, problem in places))


def _shown(values: Any, keys: Keys) -> str:
    """Return a value as it stands in the file, if it is sure to be no secret."""
    if keys[-1] == "secret":
        return "this"
    for key in keys:
        inside = dict(enumerate(values)) if isinstance(values, list) else values
        inside = {str(name): value for name, value in inside.items()} if isinstance(inside, dict) else {}
        if key not in inside:
            return "nothing"
        values = inside[key]
    if isinstance(values, (dict, list)):
        return "keys and values" if isinstance(values, dict) else "a list" if values else "an empty list"
    return "an address" if isinstance(values, str) and ("://" in values or "@" in values) else shown_value(values)
