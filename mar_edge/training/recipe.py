"""The schema of a training recipe; all problems are reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from mar_edge.counting import counted
from mar_edge.errors import GeometryError, RecipeError
from mar_edge.event_settings import EventDefaults
from mar_edge.files.yaml_part import Part, Seed, refuse
from mar_edge.files.yaml_problems import explain
from mar_edge.geometry import Geometry
from mar_edge.model.config import Depth, Heads, ModelConfig, OptionalDepth, Width, band_problems, temporal_problem
from mar_edge.model.mar import InputNorm, Positions
from mar_edge.model_spec import ClipAnswer, Name, Temporal
from mar_edge.printable import typed
from mar_edge.training.augmentation.augmentation import AugmentPart
from mar_edge.training.augmentation.mixing import MixPart
from mar_edge.training.batches import MaskPart
from mar_edge.training.objective import ObjectivePart
from mar_edge.training.optimiser import OptimiserPart
from mar_edge.training.recipe_file import RecipeFile, read_recipe
from mar_edge.training.start import StartPart
from mar_edge.training.streaming import StreamingPart
from mar_edge.training.synthetic.camera_moves import CameraMovesPart
from mar_edge.training.synthetic.gestures.clips import GesturesPart
from mar_edge.training.videos import VideosPart

Task = Literal["classify", "pretrain"]

COMMANDS: dict[Task, str] = {"classify": "train", "pretrain": "pretrain"}
"""The command of each task."""


STEP_CLIPS = 64
"""Default clips in a forward pass."""


class ModelPart(Part):
    """The architecture.

    Attributes:
        frames: frames in a clip.
        size_px: side of a clip.
        patch_px: side of a tubelet; size_px / patch_px must be even, so that the grid consists of complete mask cells.
        width, depth, heads: token width, blocks and attention heads of the encoder.
        classifier: `bridge` (MAR) or `mean_pool` (a linear head on the mean of the tokens, as VideoMAE).
        bridge_width, bridge_depth, bridge_heads: the bridging classifier.
        decoder_width, decoder_depth, decoder_heads: the pixel decoder, for training only; depth 0 for none.
        drop_path: probability of skipping the last encoder block's branches; it grows linearly from 0 at the first.
        input_norm: `imagenet`, fixed channel means; `clip`, square root and each clip's own mean and deviation, for dark
            footage; `step`, the same of each time step, for streaming models.
        positions: `flat`, MAR's table by token number; `grid`, one by time step, row and column.
        temporal: `window`, or `causal` for a streaming model, which sees one time step at a time and keeps a state;
            `frames` are those that an answer sees directly.
    """

    frames: int = 16
    size_px: int = 224
    patch_px: int = 16
    width: Width = 768
    depth: Depth = 12
    heads: Heads = 12
    classifier: Literal["bridge", "mean_pool"] = "bridge"
    bridge_width: Width = 512
    bridge_depth: Depth = 2
    bridge_heads: Heads = 8
    decoder_width: Width = 384
    decoder_depth: OptionalDepth = 4
    decoder_heads: Heads = 6
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    input_norm: InputNorm = "imagenet"
    positions: Positions = "flat"
    temporal: Temporal = "window"

    @model_validator(mode="after")
    def _fits(self) -> ModelPart:
        refuse(
            self._of_the_size(),
            temporal_problem(self.temporal, self.classifier, self.input_norm),
            self._of_the_heads("", True),
            self._of_the_heads("bridge_", self.classifier == "bridge"),
            self._of_the_heads("decoder_", self.decoder_depth > 0),
        )
        if self.temporal == "causal":
            heads = ("heads", self.width // self.heads), ("bridge_heads", self.bridge_width // self.bridge_heads)
            refuse(*band_problems(self.geometry, heads))
        return self

    def _of_the_size(self) -> tuple[str, str] | None:
        try:
            self.geometry.check_cells()
        except GeometryError as error:
            key = next(
                (key for key in ("frames", "patch_px") if str(error).startswith((key, f"{self.frames} frames"))), ""
            )
            return key or "size_px", str(error).removeprefix("height_px ").removeprefix("is ")
        return None

    def _of_the_heads(self, of: str, used: bool) -> tuple[str, str] | None:
        width, heads = getattr(self, f"{of}width"), getattr(self, f"{of}heads")
        if not used or width % heads == 0:
            return None
        return (
            f"{of}heads",
            f"a width of {width} is not divisible by {counted(heads, 'head')}; use {_divisors(width, heads)}",
        )

    @property
    def geometry(self) -> Geometry:
        """Frames and size of a clip."""
        return Geometry(frames=self.frames, height_px=self.size_px, width_px=self.size_px, patch_px=self.patch_px)

    def config(self, classes: int) -> ModelConfig:
        """Return the model configuration for a number of classes; 0 for pre-training."""
        values = self.model_dump(exclude={"frames", "size_px", "patch_px"})
        if not classes:
            values["classifier"] = "none"
        return ModelConfig(geometry=self.geometry, classes=classes, **values)


class TrainerPart(Part):
    """Length, batch, devices and output of the training.

    Attributes:
        steps, epochs: optimiser steps, or passes over the training clips; set one of the two.
        batch: clips in one forward pass of one process; null for 64 per step, in as many equal passes as needed to fit
            into the memory.
        accumulate: forward passes in one optimiser step; with `batch: null` this many times 64 clips.
        validate_epochs, validate_steps: how often to validate, in addition to the end.
        patience: stop after so many validations without a lower loss (the middle one of three); null for none. May be changed
            before a run resumes.
        checkpoint_steps: how often to save, in addition to the end.
        max_minutes: stop after this time; the same command resumes.
        accelerator, devices, nodes: as in Lightning Fabric; `auto` uses every GPU, or one CPU process if there is none.
        strategy: `ddp` copies the model to every device; `fsdp` shards it (for large and huge).
        precision: `32`, or autocast to `bf16` or `fp16`.
        workers: processes that make batches ahead; by default up to 8, one core left for the model.
        threads: CPU threads of the model.
        out: folder of the run.
    """

    steps: int | None = Field(default=None, gt=0)
    epochs: float | None = Field(default=None, gt=0)
    batch: int | None = Field(default=None, gt=0, le=1_000_000)
    accumulate: int = Field(default=1, gt=0, le=1_000_000)
    validate_epochs: float | None = Field(default=None, gt=0)
    validate_steps: int | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, gt=0)
    checkpoint_steps: int = Field(default=200, gt=0)
    max_minutes: float | None = Field(default=None, gt=0)
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    devices: Literal["auto"] | Annotated[int, Field(gt=0, le=1024)] = "auto"
    nodes: int = Field(default=1, gt=0, le=1024)
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    precision: Literal["32", "bf16", "fp16"] = "32"
    workers: int | None = Field(default=None, ge=0, le=256)
    threads: int | None = Field(default=None, gt=0, le=1024)
    out: Path

    @property
    def clips(self) -> int:
        """Clips in a forward pass of one process."""
        return self.batch or STEP_CLIPS

    @model_validator(mode="before")
    @classmethod
    def _names(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("precision"), int):
            return {**values, "precision": str(values["precision"])}  # YAML reads 32 as a number
        return values

    @model_validator(mode="after")
    def _fits(self) -> TrainerPart:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs; set the other to null")
        if self.validate_steps is not None and self.validate_epochs is not None:
            refuse(("validate_epochs", "give validate_steps or validate_epochs, not both"))
        return self


class Recipe(Part):
    """A complete recipe.

    Attributes:
        task: `classify` (mar-edge train) or `pretrain` (mar-edge pretrain: reconstruction alone, no labels).
        name: of the model.
        description: one line, for users of the model.
        licence: SPDX identifier or a sentence.
        seed: of all random numbers; the filming and drawing of clips have their own.
        attribution: sources of the pictures and videos; written to the model's provenance.
        idle_label: the class that is never reported as an event.
        events: when events of the model begin and end, unless its user says otherwise; null for the defaults.
        clip_answer: what the model answers to a whole clip, here in validation, and in evaluate and classify: `mean` of its
            answers; or `peak`, for brief actions, the answer that is surest of a class other than the idle one. The last
            picture is then held for 0.8 s, because a brief action is named only when it is over. May be changed later.
        streaming: training of a streaming model; null for its defaults.
        baselines: whether what is cheap comes first, see `training.baselines`; for labelled videos.
        augment, mix: augmentation of videos; clips of `camera_moves` and `gestures` have their own symmetries.
    """

    task: Task = "classify"
    name: Name
    description: str
    licence: str
    attribution: tuple[str, ...] = ()
    idle_label: Name | None = None
    events: EventDefaults | None = None
    clip_answer: ClipAnswer = "mean"
    seed: Seed = 0
    model: ModelPart
    streaming: StreamingPart | None = None
    baselines: bool = False
    start: StartPart = StartPart()
    mask: MaskPart = MaskPart()
    data: Annotated[CameraMovesPart | GesturesPart | VideosPart, Field(discriminator="kind")]
    augment: AugmentPart = AugmentPart()
    mix: MixPart = MixPart()
    objective: ObjectivePart = ObjectivePart()
    optimiser: OptimiserPart = OptimiserPart()
    trainer: TrainerPart

    _file: RecipeFile | None = PrivateAttr(default=None)

    @property
    def file(self) -> RecipeFile | None:
        """The file it was read from; None for a recipe created in Python."""
        return self._file

    @property
    def clip(self) -> Geometry:
        """Geometry of a training clip."""
        return self.model.geometry if self.streaming is None else self.streaming.clip(self.model.geometry)

    @model_validator(mode="before")
    @classmethod
    def _streams(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("streaming") is None:
            model = values.get("model")
            causal = (
                model.get("temporal") if isinstance(model, dict) else getattr(model, "temporal", None)
            ) == "causal"
            return {**values, "streaming": StreamingPart()} if causal else values
        return values

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        refuse(
            *self._of_the_task(),
            *self._of_the_model(),
            *self._of_the_data(),
            *self._of_the_validation(),
            *self._of_the_strategy(),
        )
        return self

    def _of_the_model(self) -> Iterator[tuple[str, str]]:
        if self.streaming is None:
            if isinstance(self.data, GesturesPart):
                yield (
                    "model.temporal",
                    "must be causal for data.kind gestures: a hand may gesture several times in a clip",
                )
            return
        if self.model.temporal != "causal":
            yield "streaming", "is for model.temporal causal; leave it out"
            return
        try:
            self.clip.check_cells()
        except GeometryError as error:
            yield "streaming.windows", str(error)
        if self.mask.kind != "cell_running":
            yield "mask.kind", f"'{self.mask.kind}' is for windows; a causal model has the cell running mask"
        if self.mask.fixed_from is not None:
            yield "mask.fixed_from", "is for windows; the mask of a causal model runs with the clock"
        if isinstance(self.data, VideosPart) and self.data.sampling == "uniform":
            yield "data.sampling", "'uniform' spreads the frames over the video; a causal model needs 'dense'"

    def _of_the_task(self) -> Iterator[tuple[str, str]]:
        if self.task != "pretrain":
            return
        if isinstance(self.data, VideosPart) and self.data.val is not None:
            yield "data.val", "pre-training does not validate; leave out videos with data.hold_out"
        needed = {
            "model.decoder_depth": self.model.decoder_depth,
            "objective.reconstruction_weight": self.objective.reconstruction_weight,
            "mask.ratio": self.mask.ratio,
        }
        yield from (
            (key, "pre-training reconstructs what is hidden; set it above 0") for key in needed if not needed[key]
        )
        unwanted = {
            "objective.distil": self.objective.distil is not None,
            "mix": self.mix != MixPart(),
            "objective.class_weights": self.objective.class_weights != "none",
            "events": self.events is not None,
            "clip_answer": self.clip_answer != "mean",
            "baselines": self.baselines,
        }
        yield from ((key, "pre-training has no labels; leave it out") for key in unwanted if unwanted[key])

    def _of_the_data(self) -> Iterator[tuple[str | tuple[str, ...], str]]:
        if not isinstance(self.data, VideosPart):
            yield from unknown_labels(self, self.data.labels)
            if self.baselines:
                yield "baselines", "are for data.kind videos; drawn and filmed clips have no cheap way to compare with"
            for key, off in (("augment", self.augment == AugmentPart()), ("mix", self.mix == MixPart())):
                if not off:
                    yield key, "augment and mix are for data.kind videos; filmed clips have their own symmetries"
        elif self.objective.flow_weight and self.mix != MixPart():
            yield "objective.flow_weight", "cannot be combined with mix: a mixture of two clips has no flow"
        if self.clip_answer == "peak" and isinstance(self.data, VideosPart) and self.data.sampling == "uniform":
            yield "clip_answer", "'peak' is for data.sampling dense; 'uniform' spreads the frames over the video"

    def _of_the_validation(self) -> Iterator[tuple[str, str]]:
        if self.trainer.patience is None:
            return
        if not isinstance(self.data, VideosPart) or self.task == "pretrain":
            yield "trainer.patience", "needs validation, which this training does not have; leave it out"
        elif self.data.val is None and not self.data.hold_out:
            yield "trainer.patience", "needs validation clips; set data.val or data.hold_out"

    def _of_the_strategy(self) -> Iterator[tuple[str, str]]:
        if self.trainer.strategy == "fsdp" and (self.optimiser.kind == "muon" or self.optimiser.ema is not None):
            yield (
                "trainer.strategy",
                "fsdp shards the weights, which muon and ema do not support; use adamw without ema",
            )
        if self.trainer.strategy == "fsdp" and self.clip_answer == "peak" and self.streaming is not None:
            yield "trainer.strategy", "fsdp cannot validate every time step, which clip_answer peak needs; use ddp"
        if self.trainer.precision == "fp16" and self.optimiser.kind == "muon":
            yield "trainer.precision", "fp16 scales the loss for one optimiser; use bf16 with muon"


def unknown_labels(recipe: Recipe, labels: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (key, problem) for each class that a recipe names and its data do not have.

    Args:
        recipe: the recipe.
        labels: those of the data.
    """
    known = f"is not one of {', '.join(labels)}"
    if recipe.idle_label is not None and recipe.idle_label not in labels:
        yield ("idle_label",), f"'{recipe.idle_label}' {known}"
    for label in recipe.events.classes if recipe.events is not None else ():
        if label not in labels:
            yield ("events", "classes", label), f"'{label}' {known}"


def load(path: Path, overrides: Sequence[str] | None = None, *, task: Task = "classify") -> Recipe:
    """Read a recipe and apply `key.key=value` overrides.

    Args:
        path: the YAML file.
        overrides: of the command line.
        task: the expected task.

    Raises:
        RecipeError: naming every problem, its place, and the nearest known key for an unknown one.
    """
    file = read_recipe(path, overrides or ())
    try:
        recipe = Recipe.model_validate(file.values)
    except ValidationError as error:
        problems = explain(error, Recipe)
        raise RecipeError("; ".join(f"{file.place(keys)}: {problem}" for keys, problem in problems)) from error
    if recipe.task != task:
        command = f"mar-edge {COMMANDS[recipe.task]} {typed(path)}"
        raise RecipeError(f"{path} has task '{recipe.task}'. Run: {command}")
    recipe._file = file
    return recipe


def _divisors(width: int, heads: int) -> str:
    """Return the numbers of heads near a requested one that divide a width."""
    below = next((count for count in range(min(heads, width), 0, -1) if width % count == 0), 1)
    above = next((count for count in range(heads, min(width, 4 * heads) + 1) if width % count == 0), None)
    return f"{below}" if above is None else f"{below} or {above}"
