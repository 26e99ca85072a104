"""Recipes: every problem is told, at once, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mar_edge.errors import RecipeError
from mar_edge.training import recipe as recipes
from tests.conftest import ROOT


def films(**changes: Any) -> dict[str, Any]:
    """A recipe for camera moves."""
    values: dict[str, Any] = {
        "name": "tiny",
        "description": "a test",
        "licence": "Apache-2.0",
        "idle_label": "still",
        "model": {
            "frames": 4, "size_px": 32, "patch_px": 16, "width": 24, "depth": 1, "heads": 2,
            "bridge_width": 24, "bridge_depth": 1, "bridge_heads": 2,
            "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2,
        },
        "data": {"kind": "camera_moves", "clips": 40, "chunk": 20, "drawn_per_chunk": 3},
        "optimiser": {"kind": "muon", "warmup_steps": 2},
        "trainer": {"steps": 6, "batch": 8, "out": "run"},
    }  # fmt: skip
    return values | changes


def videos(**changes: Any) -> dict[str, Any]:
    """The same for one's own videos."""
    return films(data={"kind": "videos", "train": "train.csv"}, idle_label=None, **changes)


def write(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("path", sorted((ROOT / "training").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_recipes_are_valid(path: Path) -> None:
    task = yaml.safe_load(path.read_text()).get("task", "classify")
    recipe = recipes.load(path, task=task)
    assert recipe.trainer.out.parent == Path("runs")
    recipe.model.geometry.check_cells()


def test_every_problem_is_told_at_once_with_the_nearest_key(tmp_path: Path) -> None:
    values = videos(sed=1)
    values["model"]["widht"] = 3
    values["data"]["rate_pfs"] = 3
    values["objective"] = {"distil": {"techer": "x.safetensors"}}
    values["trainer"]["batch"] = -1
    with pytest.raises(RecipeError) as error:
        recipes.load(write(tmp_path / "recipe.yaml", values))
    message = str(error.value)
    for key, near in (
        ("sed", "seed"), ("model.widht", "width"), ("data.rate_pfs", "rate_fps"), ("objective.distil.techer", "teacher"),
    ):  # fmt: skip
        assert f"unknown key '{key}'; did you mean '{near}'?" in message
    assert "objective.distil.teacher is missing" in message
    assert "trainer.batch: " in message


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model.size_px=112"], "64 px|96 px or 128 px"),
        (["mask.ratio=0.4"], "mask: ratio 0.4"),
        (["trainer.steps"], "is not an override"),
        (["name.first=x"], "is not a key"),
        (["data.kind=pictures"], "data.*camera_moves.*videos"),
        (["trainer.steps=many"], "trainer.steps"),
        (["trainer.steps={"], "cannot be read as YAML"),
        (["trainer.steps=null"], "trainer: give steps or epochs"),
        (["trainer.epochs=3"], "trainer: give steps or epochs"),
        (["trainer.precision=fp8"], "trainer.precision"),
        (["trainer.precision=fp16"], "use bf16 with muon"),
        (["trainer.strategy=fsdp"], "neither muon nor ema"),
        (["trainer.validate_steps=3", "trainer.validate_epochs=3"], "not both"),
        (["model.heads=7"], "24 does not divide into 7 heads"),
        (["model.width=-3"], "model.width"),
        (["seed=-1"], "seed"),
        (["optimiser.lr=.inf"], "optimiser.lr"),
        (["optimiser.min_lr=1"], "must not be above lr"),
        (["optimiser.warmup_epochs=1"], "warmup_steps or warmup_epochs"),
        (["optimiser.schedule=[[5, 1], [2, 0]]"], "do not rise"),
        (["data.weights=[0, 0, 0]"], "are all 0"),
        (["idle_label=asleep"], "'asleep' is not one of"),
        (["mask.kind=random", "mask.ratio=1.5"], "mask.ratio"),
        (["mask.kind=tube", "mask.fixed_from=3"], "fixed_from needs"),
        (["augment.flip=0.5"], "are for data.kind videos"),
        (["task=pretrain", "mask.ratio=0"], "reconstructs what is hidden"),
        (["task=pretrain", "objective.class_weights=balanced"], "pre-training has no labels"),
        (["task=pretrain"], "Run: mar-edge pretrain"),
    ],
)
def test_bad_overrides(tmp_path: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        recipes.load(write(tmp_path / "recipe.yaml", films()), overrides)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.val=val.csv", "data.hold_out=['x']"], "val or hold_out, not both"),
        (["data.train=[]"], "data.train"),
        (["data.rate_fps=0"], "data.rate_fps"),
        (["augment.crop_scale=[0.9, 0.1]"], "augment.crop_scale"),
        (["mix.mixup_alpha=0.8", "objective.flow_weight=1"], "has no flow"),
        (["objective.label_smoothing=1"], "objective.label_smoothing"),
    ],
)
def test_bad_overrides_of_videos(tmp_path: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        recipes.load(write(tmp_path / "recipe.yaml", videos()), overrides)


@pytest.mark.parametrize("text", ["", "- a\n- b", "a: [", "\x00"])
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match="recipe"):
        recipes.load(tmp_path / "recipe.yaml")
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        recipes.load(tmp_path / "no.yaml")
