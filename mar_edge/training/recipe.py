"""What a training recipe may say, checked all at once."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
import yaml
from pydantic import Field, ValidationError, model_validator

from mar_edge.errors import RecipeError
from mar_edge.geometry import Geometry
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.mar import InputNorm, Positions
from mar_edge.runtime.sources.demo.camera_path import LABELS
from mar_edge.training.augmentation.augmentation import AugmentPart
from mar_edge.training.augmentation.mixing import MixPart
from mar_edge.training.batches import MaskPart
from mar_edge.training.objective import ObjectivePart
from mar_edge.training.optimiser import OptimiserPart
from mar_edge.training.recipe_part import Part
from mar_edge.training.start import StartPart
from mar_edge.training.synthetic.camera_moves import CameraMovesPart
from mar_edge.training.videos import VideosPart

Task = Literal["classify", "pretrain"]


class ModelPart(Part):
    """The architecture.

    Attributes:
        frames: frames in a clip.
        size_px: side of a clip.
        patch_px: side of a tubelet; size_px / patch_px must be even, so that the grid has whole mask cells.
        width, depth, heads: token width, blocks and attention heads of the encoder.
        classifier: `bridge` (MAR) or `mean_pool` (a linear head on the mean of the tokens, as VideoMAE).
        bridge_width, bridge_depth, bridge_heads: the bridging classifier.
        decoder_width, decoder_depth, decoder_heads: the pixel decoder, for training only; depth 0 for none.
        drop_path: probability of skipping the last encoder block's branches; it grows linearly from 0 at the first.
        input_norm: `imagenet`, fixed channel means; `clip`, square root and each clip's own mean and deviation, for dark footage.
        positions: `flat`, MAR's table over the token's number; `grid`, one over time step, row and column.
    """

    frames: int = 16
    size_px: int = 224
    patch_px: int = 16
    width: int = Field(default=768, gt=0)
    depth: int = Field(default=12, gt=0)
    heads: int = Field(default=12, gt=0)
    classifier: Literal["bridge", "mean_pool"] = "bridge"
    bridge_width: int = Field(default=512, gt=0)
    bridge_depth: int = Field(default=2, gt=0)
    bridge_heads: int = Field(default=8, gt=0)
    decoder_width: int = Field(default=384, gt=0)
    decoder_depth: int = Field(default=4, ge=0)
    decoder_heads: int = Field(default=6, gt=0)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    input_norm: InputNorm = "imagenet"
    positions: Positions = "flat"

    @property
    def geometry(self) -> Geometry:
        """Frames and size of a clip."""
        return Geometry(frames=self.frames, height_px=self.size_px, width_px=self.size_px, patch_px=self.patch_px)

    def config(self, classes: int) -> ModelConfig:
        """Return the model configuration for a number of classes; 0 for pre-training."""
        values = self.model_dump(exclude={"frames", "size_px", "patch_px"})
        if not classes:
            values["classifier"] = "none"
        self.geometry.check_cells()
        return ModelConfig(geometry=self.geometry, classes=classes, **values)


class TrainerPart(Part):
    """How long, how much at once, on what, and where to.

    Attributes:
        steps, epochs: optimiser steps, or passes over the training clips; one of the two.
        batch: clips in one forward pass of one process.
        accumulate: forward passes in one optimiser step.
        validate_epochs, validate_steps: how often to validate, besides at the end.
        checkpoint_steps: how often to save, besides at the end.
        max_minutes: stop after so long; the same command goes on.
        accelerator, devices, nodes: as in Lightning Fabric; `auto` takes every GPU there is, else one CPU process.
        strategy: `ddp` copies the model to every device; `fsdp` shards it (for large and huge).
        precision: `32`, or autocast to `bf16` or `fp16`.
        workers: processes that make batches ahead; by default up to 8, one core left for the model.
        threads: CPU threads of the model.
        out: folder of the run.
    """

    steps: int | None = Field(default=None, gt=0)
    epochs: float | None = Field(default=None, gt=0)
    batch: int = Field(default=64, gt=0)
    accumulate: int = Field(default=1, gt=0)
    validate_epochs: float | None = Field(default=None, gt=0)
    validate_steps: int | None = Field(default=None, gt=0)
    checkpoint_steps: int = Field(default=200, gt=0)
    max_minutes: float | None = Field(default=None, gt=0)
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    devices: Literal["auto"] | Annotated[int, Field(gt=0)] = "auto"
    nodes: int = Field(default=1, gt=0)
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    precision: Literal["32", "bf16", "fp16"] = "32"
    workers: int | None = Field(default=None, ge=0)
    threads: int | None = Field(default=None, gt=0)
    out: Path

    @model_validator(mode="before")
    @classmethod
    def _names(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("precision"), int):
            return {**values, "precision": str(values["precision"])}  # YAML reads 32 as a number
        return values

    @model_validator(mode="after")
    def _fits(self) -> TrainerPart:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give steps or epochs, one of the two; set the other to null")
        if self.validate_steps is not None and self.validate_epochs is not None:
            raise ValueError("give validate_steps or validate_epochs, not both")
        return self


class Recipe(Part):
    """A whole recipe.

    Attributes:
        task: `classify` (mar-edge train) or `pretrain` (mar-edge pretrain: reconstruction alone, no labels).
        name: of the model.
        description: one line, for whoever uses it.
        licence: SPDX identifier or a sentence.
        seed: of everything random; the filming and drawing of clips have their own.
        attribution: whose pictures and videos went in; goes into the model's provenance.
        idle_label: the class that is never an event when the model runs.
        augment, mix: what training does to videos; clips of `camera_moves` have their own symmetries.
    """

    task: Task = "classify"
    name: str
    description: str
    licence: str
    attribution: tuple[str, ...] = ()
    idle_label: str | None = None
    seed: int = Field(default=0, ge=0)
    model: ModelPart
    start: StartPart = StartPart()
    mask: MaskPart = MaskPart()
    data: Annotated[CameraMovesPart | VideosPart, Field(discriminator="kind")]
    augment: AugmentPart = AugmentPart()
    mix: MixPart = MixPart()
    objective: ObjectivePart = ObjectivePart()
    optimiser: OptimiserPart = OptimiserPart()
    trainer: TrainerPart

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        problems = [*self._of_the_task(), *self._of_the_data(), *self._of_the_strategy()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _of_the_task(self) -> list[str]:
        problems = []
        if self.task == "pretrain":
            if isinstance(self.data, VideosPart) and self.data.val is not None:
                problems.append(
                    "pre-training does not validate, and so takes no data.val; leave videos out by data.hold_out"
                )
            if not self.model.decoder_depth or not self.objective.reconstruction_weight or not self.mask.ratio:
                problems.append(
                    "pre-training reconstructs what is hidden: model.decoder_depth, objective.reconstruction_weight and "
                    "mask.ratio must be above 0"
                )
            if self.objective.distil or self.mix != MixPart() or self.objective.class_weights != "none":
                problems.append(
                    "pre-training has no labels, and so no objective.distil, mix or objective.class_weights"
                )
        return problems

    def _of_the_data(self) -> list[str]:
        problems = []
        films = isinstance(self.data, CameraMovesPart)
        if films and self.idle_label not in (None, *LABELS):
            problems.append(f"idle_label '{self.idle_label}' is not one of {', '.join(LABELS)}")
        if films and (self.augment, self.mix) != (AugmentPart(), MixPart()):
            problems.append("augment and mix are for data.kind videos; camera moves have their own symmetries")
        if isinstance(self.data, VideosPart) and self.objective.flow_weight and self.mix != MixPart():
            problems.append("objective.flow_weight and mix do not go together: a mixture of two clips has no flow")
        return problems

    def _of_the_strategy(self) -> list[str]:
        problems = []
        if self.trainer.strategy == "fsdp" and (self.optimiser.kind == "muon" or self.optimiser.ema is not None):
            problems.append(
                "trainer.strategy fsdp shards the weights, which neither muon nor ema can work on; use adamw"
            )
        if self.trainer.precision == "fp16" and self.optimiser.kind == "muon":
            problems.append("trainer.precision fp16 scales the loss for one optimiser; use bf16 with muon")
        return problems


def load(path: Path, overrides: list[str] | None = None, *, task: Task = "classify") -> Recipe:
    """Read a recipe and apply `key.key=value` overrides.

    Args:
        path: the YAML file.
        overrides: of the command line.
        task: what it is wanted for.

    Raises:
        RecipeError: naming every problem, with the nearest known key for an unknown one.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"cannot read the recipe {path}: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path} is not a recipe: expected keys and values, got {type(values).__name__}")
    for override in overrides or []:
        _override(values, override)
    try:
        recipe = Recipe.model_validate(values)
        with torch.device("meta"):  # no weights are made
            build(recipe.model.config(classes=0 if recipe.task == "pretrain" else 2))
    except ValidationError as error:
        raise RecipeError(f"{path}: " + "; ".join(_explain(problem) for problem in error.errors())) from error
    except ValueError as error:  # a geometry or heads that do not divide
        raise RecipeError(f"{path}: model: {error}") from error
    if recipe.task != task:
        command = {"classify": "train", "pretrain": "pretrain"}[recipe.task]
        raise RecipeError(f"{path} has task '{recipe.task}'. Run: mar-edge {command} {path}")
    return recipe


def _override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise RecipeError(f"'{override}' is not an override; write key=value, for instance trainer.max_minutes=5")
    place: Any = values
    for key in keys[:-1]:
        place = place.setdefault(key, {}) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        raise RecipeError(f"'{path}' is not a key of the recipe")
    try:
        place[keys[-1]] = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"the value of '{path}' cannot be read as YAML: {text}") from error


def _explain(problem: Any) -> str:
    parts: list[type[Part]] = [Recipe]
    where: list[str] = []
    for key in problem["loc"]:
        inside = (
            parts_in(parts[-1].model_fields[where[-1]].annotation)
            if where and where[-1] in parts[-1].model_fields
            else []
        )
        kind = [
            part
            for part in inside
            if "kind" in part.model_fields and key in get_args(part.model_fields["kind"].annotation)
        ]
        if kind:  # the discriminator's value is no key
            parts.append(kind[0])
            continue
        if len(inside) == 1:
            parts.append(inside[0])
        where.append(str(key))
    name = ".".join(where)
    if problem["type"] == "value_error":
        return f"{name}: {problem['ctx']['error']}" if name else str(problem["ctx"]["error"])
    if problem["type"] == "missing":
        return f"{name} is missing"
    if problem["type"] != "extra_forbidden":
        return f"{name}: {problem['msg']} (it is {problem['input']!r})"
    fields = parts[-1].model_fields
    near = difflib.get_close_matches(where[-1], fields, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(fields)}"
    return f"unknown key '{name}'; {hint}"


def parts_in(annotation: Any) -> list[type[Part]]:
    """Return the parts that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    return [part for argument in get_args(annotation) for part in parts_in(argument)]
