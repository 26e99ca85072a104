"""The specification of a model, independent of the engine: its clips and its classes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mar_edge.event_settings import SMOOTHING_S, EventDefaults, filled
from mar_edge.geometry import Geometry
from mar_edge.printable import plain

Precision = Literal["fp32", "fp16", "bf16", "int8-bf16", "int8"]
PRECISIONS: tuple[str, ...] = ("fp32", "fp16", "bf16", "int8-bf16", "int8")
"""Precisions, highest first. `int8-bf16` is INT8 whose rest is BF16; the rest of `int8` is FP32, or FP16 for TensorRT."""

Temporal = Literal["window", "causal"]
"""`window`: an inference sees a whole clip. `causal`: a streaming model, whose inference sees one time step and keeps what
it computed for earlier ones."""

PERIOD = 64
"""Time steps after which the clock of a streaming model begins again; a multiple of the mask's period."""

RateFps = Annotated[float, Field(ge=0.001, le=1000)]
"""Frames per second at which clips are sampled."""

Placement = Literal["any", "cpu", "tensorrt"]

ClipAnswer = Literal["mean", "peak"]
"""What a model answers to a whole clip: the mean of its answers, or the one that names an action most surely."""


def number_formats(precision: str) -> tuple[str, ...]:
    """Return the formats that a precision's matrix products are computed in: (`int8`, `bf16`) for `int8-bf16`, else itself."""
    return tuple(precision.split("-"))


def is_int8(precision: str) -> bool:
    """Return whether graphs of a precision are created by calibration."""
    return "int8" in number_formats(precision)


def _plain(value: object) -> object:
    return plain(value) if isinstance(value, str) else value


# before pydantic's own check, which rejects lone surrogates without showing them
Name = Annotated[str, Field(min_length=1), BeforeValidator(_plain)]
"""A name or a label: one line without control characters."""


class Part(BaseModel):
    """A validated, immutable part of a manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSpec(Part):
    """A model without its weights.

    Attributes:
        name, description, licence: texts for users.
        labels: class names in the order of the logits.
        temporal: whether it sees a whole clip or one time step after the other.
        geometry: clip and tubelet size; of a streaming model, the frames that an answer depends on directly.
        rate_fps: frames per second at which the window is sampled.
        resize: `stretch` or `center_crop`, see `runtime.clips.preprocess`.
        sampling: how a video file is sampled, `dense` or `uniform`, see `runtime.clips.segments`.
        idle_label: class that is never an event; None for none.
        events: when its events begin and end, unless a user says otherwise; None for the defaults.
        clip_answer: what it answers to a whole clip. `mean`: the mean of its answers. `peak`, for brief actions: the answer in
            which a class other than the idle one is the surest, see `runtime.clips.clip_answers`.
        architecture: configuration of the torch model.
        trained_mask: mask ratio in percent that it was trained with.
        provenance: command, versions and data of its training.
    """

    name: Name
    description: str
    licence: str
    labels: Annotated[list[Name], Field(min_length=1, max_length=1_000_000)]
    temporal: Temporal = "window"
    geometry: Geometry
    rate_fps: RateFps
    resize: Literal["stretch", "center_crop"]
    sampling: Literal["dense", "uniform"] = "dense"
    idle_label: Name | None
    events: EventDefaults | None = None
    clip_answer: ClipAnswer = "mean"
    architecture: dict[str, Any]
    trained_mask: Annotated[int, Field(ge=0, lt=100)]
    provenance: dict[str, Any]

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels are not distinct")
        if self.idle_label is not None and self.idle_label not in self.labels:
            raise ValueError(f"idle_label '{self.idle_label}' is not one of the labels")
        if unknown := [label for label in (self.events.classes if self.events else ()) if label not in self.labels]:
            raise ValueError(f"events.classes has '{unknown[0]}', which is not one of the labels")
        if self.clip_answer == "peak" and (self.sampling != "dense" or self.labels == [self.idle_label]):
            raise ValueError("clip_answer 'peak' needs dense sampling, and a class other than the idle one")
        if self.streaming and not 2 <= self.geometry.grid[0] <= PERIOD:
            raise ValueError(f"temporal 'causal' has 2 to {PERIOD} time steps, not {self.geometry.grid[0]}")
        return self

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return self.geometry.frames / self.rate_fps

    @property
    def idle(self) -> int | None:
        """Number of the class that is never an event; None for none."""
        return None if self.idle_label is None else self.labels.index(self.idle_label)

    @property
    def smoothing_s(self) -> float:
        """Time constant of the score average where a user gives none, seconds."""
        return filled(self.events.smoothing_s if self.events else None, SMOOTHING_S)

    @property
    def streaming(self) -> bool:
        """Whether an inference sees one time step and keeps a state."""
        return self.temporal == "causal"

    @property
    def input_frames(self) -> int:
        """Frames that one inference sees: a window, or a time step."""
        return self.geometry.tubelet_frames if self.streaming else self.geometry.frames


class GraphSpec(Part):
    """The properties of one graph of a model.

    Attributes:
        mask: mask ratio in percent.
        precision: number format that the graph computes in; one of `PRECISIONS`.
        placement: which engines its Q/DQ nodes were placed for: `cpu` (ONNX Runtime, OpenVINO), `tensorrt`, or `any`.
        kept: parts of the model that were kept in a higher precision after measurement, such as `encoder.blocks.3.norm1`: in FP32,
            or for INT8 in that of the rest of the graph.
        gmacs: multiply-accumulates of one clip / 1e9.
    """

    mask: Annotated[int, Field(ge=0, le=75, multiple_of=25)]
    precision: Precision
    placement: Placement = "any"
    kept: tuple[str, ...] = ()
    gmacs: Annotated[float, Field(gt=0)]

    @property
    def title(self) -> str:
        """Readable name, such as `mask 50 int8` or `mask 50 int8 for cpu`."""
        return f"mask {self.mask} {self.precision}" + ("" if self.placement == "any" else f" for {self.placement}")

    def suits(self, engine: str) -> bool:
        """Return whether its Q/DQ nodes were placed for an engine; other engines can run it as well."""
        wanted = "tensorrt" if engine.startswith("tensorrt") else "cpu"
        return self.placement in ("any", wanted)

    def may_run(self, engine: str) -> bool:
        """Return whether an engine may be given it: `int8-bf16` is for CPUs, and INT8 for TensorRT has an FP16 rest."""
        return not (self.precision == "int8-bf16" and engine.startswith("tensorrt"))
