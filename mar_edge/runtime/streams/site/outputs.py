"""The outputs of a site file: each entry of `sinks` has one key, its part's `tag`, that says what it is and where it goes."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, SecretStr, Tag, model_validator

from mar_edge.errors import OptionError
from mar_edge.files.byte_size import parse_size
from mar_edge.files.yaml_part import KeyProblems, Part, refuse
from mar_edge.files.yaml_problems import near_hint
from mar_edge.runtime.streams.site.parts import Address

_HOST_AND_PORT = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[^\s:/@]*):)?[0-9]{1,5}")


Served = Annotated[list[str], Field(min_length=1)] | None
"""Names of streams; None for all."""


def _bytes(size: str | int | None, key: str) -> int | None:
    try:
        return None if size is None else parse_size(str(size))
    except OptionError as error:
        raise KeyProblems([(key, str(error))]) from error


class JsonOutput(Part):
    """JSON lines.

    Attributes:
        json: the file, or `-` for stdout.
        rotate: size at which a new file begins, such as `100MB`; `null` for never.
        keep: older files that are kept where it rotates.
        streams: names of the streams that it serves; `null` for all.
    """

    tag = "json"
    lines: Address = Field(alias="json")  # pydantic has a method `json`
    rotate: str | int | None = None
    keep: Annotated[int, Field(ge=1)] = 5
    streams: Served = None

    @model_validator(mode="after")
    def _fits(self) -> JsonOutput:
        if self.rotate_bytes is not None and self.lines == "-":
            refuse(("rotate", "stdout cannot be rotated; name a file, or leave it out"))
        return self

    @property
    def rotate_bytes(self) -> int | None:
        """Size at which a new file begins, bytes."""
        return _bytes(self.rotate, "rotate")


class MqttOutput(Part):
    """An MQTT broker.

    Attributes:
        mqtt: what `--mqtt` takes, with its options in the address.
        streams: names of the streams that it serves; `null` for all.
    """

    tag = "mqtt"
    mqtt: Address
    streams: Served = None

    @model_validator(mode="after")
    def _fits(self) -> MqttOutput:
        refuse(_scheme("mqtt", self.mqtt, ("mqtt", "mqtts")))
        return self


class WebhookOutput(Part):
    """A web server that events are sent to.

    Attributes:
        webhook: its address, `https://` or `http://`.
        secret: signs every request; `null` for no signature. Write it as a variable.
        wants: what is sent.
        ca: file with the authorities whose certificates are trusted; `null` for those of the system.
        streams: names of the streams that it serves; `null` for all.
    """

    tag = "webhook"
    webhook: Address
    secret: Annotated[SecretStr, Field(min_length=1)] | None = None
    wants: Annotated[tuple[Literal["prediction", "event", "notice", "summary"], ...], Field(min_length=1)] = (
        "event",
        "notice",
    )
    ca: Annotated[str, Field(min_length=1)] | None = None
    streams: Served = None

    @model_validator(mode="after")
    def _fits(self) -> WebhookOutput:
        refuse(_scheme("webhook", self.webhook, ("http", "https")))
        return self


class MetricsOutput(Part):
    """A server of `/metrics` for Prometheus.

    Attributes:
        metrics: `HOST:PORT` that it listens at; a port alone serves this machine only.
        streams: names of the streams that it serves; `null` for all.
    """

    tag = "metrics"
    metrics: Address
    streams: Served = None

    @model_validator(mode="after")
    def _fits(self) -> MetricsOutput:
        if not _HOST_AND_PORT.fullmatch(self.metrics) or int(self.metrics.rpartition(":")[2]) > 65535:
            refuse(("metrics", "expected HOST:PORT, such as 127.0.0.1:9464"))
        return self


class VideoOutput(Part):
    """An annotated recording of each stream.

    Attributes:
        video: the file, which ends with `.mp4`; `{stream}` in it stands for the stream's name, `{time}` for its beginning in UTC.
        streams: names of the streams that it serves; `null` for all.
    """

    tag = "video"
    video: Address
    streams: Served = None

    @model_validator(mode="after")
    def _fits(self) -> VideoOutput:
        names = re.findall(r"\{([^{}]*)\}", self.video)
        unknown = [name for name in names if name not in ("stream", "time")]
        refuse(
            None if self.video.lower().endswith(".mp4") else ("video", "expected a file that ends with .mp4"),
            ("video", f"'{{{unknown[0]}}}' is neither {{stream}} nor {{time}}") if unknown else None,
        )
        return self


class ClipsOutput(Part):
    """A recording of each event.

    Attributes:
        clips: the folder; nothing in it is replaced.
        before_s: seconds that a clip begins before its event.
        after_s: seconds that it ends after it.
        longest_s: most seconds of a clip.
        keep: once the clips take more than this, such as `10GB`, the oldest are removed; `null` to remove none.
        streams: names of the streams that it serves; `null` for all.
    """

    tag = "clips"
    clips: Address
    before_s: Annotated[float, Field(ge=0, le=60)] = 3.0
    after_s: Annotated[float, Field(ge=0, le=600)] = 2.0
    longest_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    keep: str | int | None = None
    streams: Served = None

    @model_validator(mode="after")
    def _fits(self) -> ClipsOutput:
        too_short = self.before_s >= self.longest_s
        refuse(("longest_s", "a clip must be longer than before_s") if too_short else None)
        self.keep_bytes  # noqa: B018 checks it
        return self

    @property
    def keep_bytes(self) -> int | None:
        """Most bytes of all clips."""
        return _bytes(self.keep, "keep")


KINDS = ("json", "mqtt", "webhook", "metrics", "video", "clips")


def place_of(kind: str, target: str) -> tuple[str, str]:
    """Return what is equal for two outputs that would write to the same place, however its path is written."""
    if kind in ("json", "video", "clips") and target != "-":
        return "path", os.path.realpath(target)
    return kind, target


def _one_kind(entry: Any) -> Any:
    """Check what kind of output an entry is.

    Raises:
        KeyProblems: if it is none, or several.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"expected one of {', '.join(KINDS)} with where it goes, as in 'json: results.jsonl'")
    kinds = [key for key in entry if key in KINDS]
    if not kinds:
        near = [(str(key), hint) for key in entry if (hint := near_hint(str(key), KINDS))]
        key, hint = near[0] if near else (next(map(str, entry), ""), "")
        if not key:
            raise ValueError(f"is empty; the outputs are {', '.join(KINDS)}")
        refuse(((key,), f"is not an output; the outputs are {', '.join(KINDS)}{hint}"))
    refuse(*(((key,), f"is another output; write it as an entry of its own, '- {key}: ...'") for key in kinds[1:]))
    return entry


def _tag(entry: Any) -> str:
    return next(kind for kind in KINDS if kind in entry)


def _scheme(key: str, address: str, schemes: tuple[str, ...]) -> tuple[str, str] | None:
    if address.lower().startswith(tuple(f"{scheme}://" for scheme in schemes)):
        return None
    return key, f"expected an address that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"


AnyOutput = Annotated[
    Annotated[JsonOutput, Tag("json")]
    | Annotated[MqttOutput, Tag("mqtt")]
    | Annotated[WebhookOutput, Tag("webhook")]
    | Annotated[MetricsOutput, Tag("metrics")]
    | Annotated[VideoOutput, Tag("video")]
    | Annotated[ClipsOutput, Tag("clips")],
    Discriminator(_tag),
    BeforeValidator(_one_kind),
]
