"""The schema of a site file."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mar_edge.event_settings import Score, Seconds, Thresholds
from mar_edge.files.yaml_part import Part
from mar_edge.runtime.engines.registry import MOST_THREADS
from mar_edge.runtime.streams.event_rule import ClassRule, EventRule
from mar_edge.runtime.streams.read_options import STALL_S
from mar_edge.runtime.streams.saving.dial import DialOptions
from mar_edge.runtime.streams.scheduler import MAX_AGE_S

MOST_STREAMS = 1000

_NAME = re.compile(r"\w[\w .-]*(?<![ .])")


def _checked_name(value: object) -> object:
    if isinstance(value, str) and not (_NAME.fullmatch(value) and len(value) <= 100):
        raise ValueError(
            "a name begins with a letter or digit and contains letters, digits, spaces, '.', '_' and '-', at most 100"
        )
    return value


StreamName = Annotated[str, BeforeValidator(_checked_name)]
"""A name that is part of file names and of topics."""

Address = Annotated[str, Field(min_length=1, repr=False)]
"""What may contain a password."""


class DialPart(Part):
    """What recognition may spend: where it is more, a higher mask is taken. Without any limit the mask stays.

    Attributes:
        budget_ms: time of an inference, milliseconds.
        max_cpu: use of all cores of the machine, by all processes, percent.
        max_temperature_c: of the hottest chip, degrees Celsius.
        save_battery: take the highest mask while the device lives on its battery.
    """

    budget_ms: Annotated[float, Field(gt=0, le=3_600_000)] | None = None
    max_cpu: Annotated[float, Field(gt=0, le=100)] | None = None
    max_temperature_c: Annotated[float, Field(gt=0, le=150)] | None = None
    save_battery: bool = False

    def options(self) -> DialOptions | None:
        """Return the library's options; None without any limit."""
        found = DialOptions(
            budget_ms=self.budget_ms,
            max_cpu=self.max_cpu,
            battery=self.save_battery,
            max_temperature_c=self.max_temperature_c,
        )
        return found if found.limited else None


class ModelPart(Part):
    """A model under a name that streams use. Streams with the same model and options share one.

    Attributes:
        model: a built-in name or a bundle's path.
        engine: `auto`, `onnxruntime`, `openvino`, `tensorrt` or `tensorrt-rtx`.
        mask: mask ratio in percent, or `auto`: as trained.
        precision: `fp32`, `fp16`, `bf16`, `int8-bf16`, `int8`, or `auto`.
        threads: CPU threads for one inference; `null` for all cores.
        dial: what recognition may spend.
    """

    model: str = Field(min_length=1)
    engine: Literal["auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"] = "auto"
    mask: Literal["auto", 0, 25, 50, 75] = "auto"
    precision: Literal["auto", "fp32", "fp16", "bf16", "int8-bf16", "int8"] = "auto"
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | None = None
    dial: DialPart = DialPart()


class EventsPart(Thresholds):
    """When events begin and end; `null` for what the model says of its own events (`mar-edge inspect` shows it), or the default.

    An unknown window counts as idle: no event begins in it, and the one in progress ends.

    Attributes:
        onset: smoothed score at which an event begins; by default 0.6.
        offset: score below which it ends; a score in between changes nothing; by default 0.4.
        min_duration_s: shorter events are not reported, seconds; by default 0.5.
        merge_gap_s: an event that begins again sooner than this after its end goes on, seconds; its end is reported after this time;
            by default 0.
        cooldown_s: no event of a class begins for this time after the end of its last one, seconds; by default 0.
        idle_label: class that is never an event; `auto` for the model's own, `null` for none.
        unknown_score: a window whose best score is lower is unknown; `null` for no limit.
        unknown_energy: a window whose energy, -log(sum(exp(logits))), is higher is unknown; `null` for no limit.
        classes: thresholds of single classes.
    """

    idle_label: str | None = EventRule.idle_label
    unknown_score: Score | None = None
    unknown_energy: float | None = None

    def rule(self) -> EventRule:
        """Return it as the library's rule."""
        values = {name: getattr(self, name) for name in type(self).model_fields if name != "classes"}
        classes = {label: ClassRule(onset=own.onset, offset=own.offset) for label, own in self.classes.items()}
        return EventRule(**values, classes=classes)


class StreamPart(Part):
    """A stream.

    Attributes:
        name: its name in results, topics and file names: letters, digits, spaces, `.`, `_` and `-`.
        source: what `--source` takes, or a camera's number.
        model: a name of `models`, a built-in name or a bundle's path.
        hop: sampled frames between two predictions; `null` for an eighth of the window. A streaming model takes multiples of
            its time step.
        skip_still: a streaming model repeats its answer while nothing changes by more than this many grey levels, such as 2;
            `null` to run every time step.
        smoothing_s: time constant of the score average, seconds; `null` for the model's own, or 0.3.
        mirror: recognise, show and record the mirror image: for a camera that faces its user. Directions are as seen in it.
        max_age_ms: a live window that is older is not inferred, milliseconds; `null` for no limit.
        max_retries: failed attempts in a row after which a live source is given up; `null` for never.
        stall_s: time without a frame after which a live source is connected again, seconds.
        realtime: play a file as if it were live, drops included.
        events: when events begin and end.
    """

    name: StreamName
    source: Annotated[int, Field(ge=0, strict=True)] | Annotated[str, Field(min_length=1)] = Field(repr=False)
    model: str = Field(default="egomotion", min_length=1)
    hop: Annotated[int, Field(ge=1)] | None = None
    skip_still: Annotated[float, Field(gt=0, le=255)] | None = None
    smoothing_s: Seconds | None = None
    mirror: bool = False
    max_age_ms: Annotated[float, Field(gt=0)] | None = 1000 * MAX_AGE_S
    max_retries: Annotated[int, Field(ge=0)] | None = None
    stall_s: Annotated[float, Field(gt=0)] = STALL_S
    realtime: bool = False
    events: EventsPart = EventsPart()

    def options(self) -> dict[str, Any]:
        """Return the options of `Runner.add`."""
        return {
            "name": self.name,
            "hop": self.hop,
            "skip_still": self.skip_still,
            "smoothing_s": self.smoothing_s,
            "mirror": self.mirror,
            "rule": self.events.rule(),
            "max_age_s": None if self.max_age_ms is None else self.max_age_ms / 1000,
            "max_retries": self.max_retries,
            "stall_s": self.stall_s,
            "realtime": self.realtime,
        }
