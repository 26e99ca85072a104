"""What a training recipe may say, checked all at once."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import yaml
from pydantic import Field, ValidationError

from mar_edge.errors import RecipeError
from mar_edge.geometry import Geometry
from mar_edge.masking import MASK_RATIOS, MaskKind
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.mar import InputNorm, Positions
from mar_edge.runtime.camera_path import LABELS
from mar_edge.training.recipe_part import Part, Share


class ModelPart(Part):
    """Architecture; sizes in pixels and tokens as in `ModelConfig`."""

    frames: int = 16
    size_px: int = 224
    patch_px: int = 16
    width: int = Field(default=768, gt=0)
    depth: int = Field(default=12, gt=0)
    heads: int = Field(default=12, gt=0)
    bridge_width: int = Field(default=512, gt=0)
    bridge_depth: int = Field(default=2, gt=0)
    bridge_heads: int = Field(default=8, gt=0)
    decoder_width: int = Field(default=384, gt=0)
    decoder_depth: int = Field(default=4, ge=0)
    decoder_heads: int = Field(default=6, gt=0)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    input_norm: InputNorm = "imagenet"
    positions: Positions = "flat"

    def config(self, classes: int) -> ModelConfig:
        """Return the model configuration for a number of classes."""
        sizes = self.model_dump(exclude={"frames", "size_px", "patch_px"})
        geometry = Geometry(frames=self.frames, height_px=self.size_px, width_px=self.size_px, patch_px=self.patch_px)
        geometry.check_cells()
        return ModelConfig(geometry=geometry, classes=classes, **sizes)


class MaskPart(Part):
    """What training hides.

    From step `fixed_from` on, if given, every clip gets the mask that the model will run with.
    """

    kind: MaskKind = "cell_running"
    ratio: float = Field(default=0.5, ge=0, lt=1)
    fixed_from: int | None = Field(default=None, ge=0)


class CameraMovesPart(Part):
    """Clips filmed by a virtual camera (see `virtual_camera`).

    `pictures` and `videos` are folders; `videos_held_out` names files of them that training must not see.
    """

    kind: Literal["camera_moves"]
    clips: int = Field(gt=0)
    rate_fps: float = Field(default=10.0, gt=0)
    pictures: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    videos_held_out: tuple[str, ...] = ()
    weights: tuple[Share, Share, Share] = (0.4, 0.35, 0.25)
    chunk: int = Field(default=6000, gt=0)
    drawn_per_chunk: int = Field(default=250, gt=0)
    cache: Path = Path("runs/cache")


class OptimiserPart(Part):
    """AdamW, or Muon for the weight matrices of the blocks and AdamW for the rest; warm-up, then cosine to zero.

    `schedule`, where given, replaces warm-up and cosine: [step, share of the learning rate] pairs, joined by lines.
    `lr` and `betas` are AdamW's, `muon_lr` and `muon_momentum` Muon's (Keller Jordan 2024, as in torch.optim.Muon).
    """

    kind: Literal["adamw", "muon"] = "adamw"
    muon_lr: float = Field(default=0.02, gt=0)
    muon_momentum: float = Field(default=0.95, ge=0, lt=1)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    warmup_steps: int = Field(default=100, ge=0)
    schedule: Annotated[list[tuple[int, Share]], Field(min_length=2)] | None = None
    clip_norm: float = Field(default=1.0, gt=0)


class TrainerPart(Part):
    """How long, how much at once, and where to."""

    steps: int = Field(gt=0)
    batch: int = Field(default=64, gt=0)
    checkpoint_steps: int = Field(default=200, gt=0)
    max_minutes: float | None = Field(default=None, gt=0)
    threads: int | None = Field(default=None, gt=0)
    out: Path


class Recipe(Part):
    """A whole recipe.

    `attribution` names whose pictures and videos went in, and goes into the model's provenance.
    `flow_weight` adds a third task to classification and reconstruction: every visible token tells how the world moves
    there, which the virtual camera knows.
    """

    name: str
    description: str
    licence: str
    attribution: tuple[str, ...] = ()
    idle_label: str | None = None
    seed: int = Field(default=0, ge=0)
    model: ModelPart
    mask: MaskPart = MaskPart()
    data: CameraMovesPart
    reconstruction_weight: float = Field(default=0.1, ge=0)
    flow_weight: float = Field(default=0.0, ge=0)
    patch_init: bool = False
    optimiser: OptimiserPart = OptimiserPart()
    trainer: TrainerPart


def load(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe and apply `key.key=value` overrides.

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
            build(recipe.model.config(classes=len(LABELS)))
    except ValidationError as error:
        raise RecipeError(f"{path}: " + "; ".join(_explain(problem) for problem in error.errors())) from error
    except ValueError as error:  # a geometry or heads that do not divide
        raise RecipeError(f"{path}: model: {error}") from error
    if recipe.mask.kind != "cell_running" and recipe.mask.fixed_from is not None:
        raise RecipeError(
            f"{path}: mask.fixed_from needs mask.kind cell_running: only that mask is one that a graph runs with"
        )
    if recipe.idle_label is not None and recipe.idle_label not in LABELS:
        raise RecipeError(f"{path}: idle_label '{recipe.idle_label}' is not one of {', '.join(LABELS)}")
    if not sum(recipe.data.weights):
        raise RecipeError(
            f"{path}: data.weights are all 0; say how much of drawn scenes, pictures and videos there shall be"
        )
    steps = [step for step, _ in recipe.optimiser.schedule or []]
    if steps != sorted(set(steps)):
        raise RecipeError(f"{path}: the steps of optimiser.schedule do not rise: {steps}")
    if recipe.mask.kind == "cell_running" and recipe.mask.ratio not in MASK_RATIOS:
        raise RecipeError(f"{path}: mask.ratio {recipe.mask.ratio} is not one of {', '.join(map(str, MASK_RATIOS))}")
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
    where = [str(key) for key in problem["loc"]]
    if problem["type"] != "extra_forbidden":
        return f"{'.'.join(where)}: {problem['msg']} (it is {problem['input']!r})"
    fields: Any = Recipe.model_fields
    for key in where[:-1]:
        fields = fields[key].annotation.model_fields
    near = difflib.get_close_matches(where[-1], fields, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(fields)}"
    return f"unknown key '{'.'.join(where)}'; {hint}"
