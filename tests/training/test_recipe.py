"""Recipes: every problem is reported, at once, with the key, where it stands, and what to do."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from mar_edge.errors import RecipeError
from mar_edge.files.yaml_problems import all_keys
from mar_edge.training import recipe as recipes
from mar_edge.training.videos import VideosPart
from tests.conftest import ROOT
from tests.fakes.recipes import films, write


def videos(**changes: Any) -> dict[str, Any]:
    """The same for one's own videos."""
    return films(data={"kind": "videos", "train": "train.csv"}, idle_label=None, **changes)


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
        above = key.rpartition(".")[0]
        assert f"unknown key '{key}'; did you mean '{f'{above}.' * bool(above)}{near}'?" in message
    assert "objective.distil.teacher is missing" in message
    assert "trainer.batch: " in message


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model.size_px=112"], "64 px|96 px or 128 px"),
        (["mask.ratio=0.4"], "mask.ratio: 0.4 is not one of"),
        (["trainer.steps"], "is not an override"),
        (["name.first=x"], "is not a key"),
        (["data.kind=pictures"], "data.kind: 'pictures' is not one of camera_moves, gestures, videos"),
        (["trainer.steps=many"], "trainer.steps"),
        (["trainer.steps={"], "cannot be read as YAML"),
        (["trainer.steps=null"], "trainer: give either steps or epochs"),
        (["trainer.epochs=3"], "trainer: give either steps or epochs"),
        (["trainer.precision=fp8"], "trainer.precision"),
        (["trainer.precision=fp16"], "use bf16 with muon"),
        (["trainer.strategy=fsdp"], "which muon and ema do not support"),
        (["trainer.validate_steps=3", "trainer.validate_epochs=3"], "not both"),
        (["model.heads=7"], "24 is not divisible by 7 heads"),
        (["model.width=-3"], "model.width"),
        (["seed=-1"], "seed"),
        (["optimiser.lr=.inf"], "optimiser.lr"),
        (["optimiser.min_lr=1"], "min_lr: 1 must not be above lr"),
        (["optimiser.warmup_epochs=1"], "warmup_steps or warmup_epochs"),
        (["optimiser.schedule=[[5, 1], [2, 0]]"], "must increase"),
        (["data.weights=[0, 0, 0]"], "are all 0"),
        (["idle_label=asleep"], "'asleep' is not one of"),
        (["events.classes.jump.onset=0.9"], r"events\.classes\.jump.*'jump' is not one of still"),
        (["events.onset=0.3"], "events.offset: offset 0.4 is above onset 0.3"),
        (["events.cooldown_s=-1"], "events.cooldown_s: expected a number at least 0"),
        (["events.colldown_s=1"], "unknown key 'events.colldown_s'; did you mean 'events.cooldown_s'"),
        (["clip_answer=best"], "clip_answer"),
        (
            ["task=pretrain", "events.onset=0.7", "clip_answer=peak"],
            "events: pre-training has no labels.*clip_answer: pre-",
        ),
        (["mask.kind=random", "mask.ratio=1.5"], "mask.ratio"),
        (["mask.kind=tube", "mask.fixed_from=3"], "mask.fixed_from: needs kind cell_running"),
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
        (["data.sampling=uniform", "clip_answer=peak"], "clip_answer: 'peak' is for data.sampling dense"),
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


def refused(path: Path, text: str, *overrides: str) -> str:
    path.write_text(text)
    with pytest.raises(RecipeError) as error:
        recipes.load(path, list(overrides))
    assert "discriminator" not in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(path), path.name)


GOOD = """\
name: tiny
description: a test
licence: Apache-2.0
model: {frames: 4, size_px: 32}
data:
  kind: videos
  train: list.csv
trainer:
  steps: 6
  out: run
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  steps: 6", "  stpes: 6", "recipe.yaml:9: unknown key 'trainer.stpes'; did you mean 'trainer.steps'?"),
        ("trainer:", "trainr:", "recipe.yaml:8: unknown key 'trainr'; did you mean 'trainer'?"),
        ("  out: run", "  out: run\n  size_px: 64", "recipe.yaml:11: unknown key 'trainer.size_px'; did you mean 'model.size_px'?"),
        ("  out: run", "  out: run\n  xyzzy: 1", "recipe.yaml:11: unknown key 'trainer.xyzzy'; the keys are steps, epochs, batch"),
        ("size_px: 32}", "size_px: 32, heads: many}", "recipe.yaml:4: model.heads: expected an integer, not 'many'"),
        ("size_px: 32}", "size_px: 100}", "recipe.yaml:4: model.size_px: 100, which is not divisible into patches of 16 px"),
        ("size_px: 32}", "size_px: 48}", "recipe.yaml:4: model.size_px: 48 gives 3 tokens of 16 px"),
        ("frames: 4", "frames: 5", "recipe.yaml:4: model.frames: 5 frames are not divisible into tubelets"),
        ("size_px: 32}", "size_px: 32, bridge_heads: 7}", "recipe.yaml:4: model.bridge_heads: a width of 512 is not divisible by 7"),
        ("  kind: videos", "  kind: vidoes", "recipe.yaml:6: data.kind: 'vidoes' is not one of camera_moves, gestures, videos; did you mean 'videos'?"),
        ("  kind: videos\n", "", "recipe.yaml:5: data.kind is missing; choose from camera_moves, gestures, videos"),
        ("  train: list.csv\n", "", "recipe.yaml:5: data.train is missing"),
        ("name: tiny\n", "", "recipe.yaml: name is missing"),
        ("name: tiny", "name: 2024", "recipe.yaml:1: name: expected text, not 2024; put it in quotes"),
        ("name: tiny", "name: yes", "recipe.yaml:1: name: expected text, not True; put it in quotes"),
        ("model: {frames: 4, size_px: 32}", "model:", "recipe.yaml:4: model: expected keys and values, not nothing"),
        ("data:\n  kind: videos\n  train: list.csv", "data: list.csv", "recipe.yaml:5: data: expected keys and values, not 'list.csv'"),
        ("  steps: 6", "  steps: 6\n  devices: two", "recipe.yaml:10: trainer.devices: expected auto or an integer, not 'two'"),
        ("  steps: 6", "  steps: 6\n  precision: fp8", "recipe.yaml:10: trainer.precision: 'fp8' is not one of 32, bf16, fp16"),
        ("  steps: 6", "  steps: 6\n  steps: 7", "recipe.yaml:10: the key 'trainer.steps' is already in line 9"),
        ("  steps: 6", "  steps: 6\n  epochs: 1", "recipe.yaml:8: trainer: give either steps or epochs"),
        ("  steps: 6", "  steps: 6.5", "recipe.yaml:9: trainer.steps: expected an integer, not 6.5"),
        ("  steps: 6", "  steps: 0", "recipe.yaml:9: trainer.steps: expected a number above 0, not 0"),
        ("  train: list.csv", "  train: [list.csv, [a]]", "recipe.yaml:7: data.train[1]: expected a path"),
        ("  train: list.csv", "  train: list.csv\n  labels: 3", "recipe.yaml:8: data.labels: expected a list or a path, not 3"),
        ("  train: list.csv", "  train: list.csv\n  val: a\n  hold_out: [b]", "recipe.yaml:9: data.hold_out: give val or hold_out, not both"),
        ("  out: run", "  out: run\nmask:\n  kind: tube\n  fixed_from: 3", "recipe.yaml:13: mask.fixed_from: needs kind cell_running"),
        ("  out: run", "  out: run\naugment:\n  crop_scale: [0.9, 0.1]", "recipe.yaml:12: augment.crop_scale: the first value must be the smaller one"),
        ("  out: run", "  out: [run", "cannot read the recipe recipe.yaml:11: not valid YAML: expected ',' or ']'"),
        ("  out: run", " out: run", "cannot read the recipe recipe.yaml:10: not valid YAML: "),
        ("  out: run", "\tout: run", "cannot read the recipe recipe.yaml:10: not valid YAML: found character"),
    ],
)  # fmt: skip
def test_an_error_names_the_key_the_line_and_the_nearest_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    assert says in refused(tmp_path / "recipe.yaml", GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trainer.stpes=3", "trainer.stpes=3: unknown key 'trainer.stpes'; did you mean 'trainer.steps'?"),
        ("steps=3", "steps=3: unknown key 'steps'; did you mean 'trainer.steps'?"),
        ("trainr.steps=3", "trainr.steps=3: unknown key 'trainr'; did you mean 'trainer'?"),
        ("trainer.steps=many", "trainer.steps=many: trainer.steps: expected an integer, not 'many'"),
        (
            "data.kind=pictures",
            "data.kind=pictures: data.kind: 'pictures' is not one of camera_moves, gestures, videos",
        ),
        ("model.heads=7", "model.heads=7: model.heads: a width of 768 is not divisible by 7 heads; use 6 or 8"),
        ("trainer=3", "trainer=3: trainer: expected keys and values, not 3"),
        ("name.first=x", "name.first=x: 'name.first' is not a key, because name has a value, not keys"),
        ("trainer.steps={", "trainer.steps={: the value of 'trainer.steps' cannot be read as YAML"),
        ("mask.ratio=0.4", "mask.ratio=0.4: mask.ratio: 0.4 is not one of"),
        ("--steps=3", "--steps=3: unknown key '--steps'; did you mean 'trainer.steps'?"),
        ("trainer..steps=3", "'trainer..steps=3' is not an override"),
    ],
)
def test_an_error_of_an_override_names_the_override(tmp_path: Path, override: str, says: str) -> None:
    assert says in refused(tmp_path / "recipe.yaml", GOOD, override)


def test_no_key_of_a_recipe_speaks_of_pydantic(tmp_path: Path) -> None:
    """Every key is given values of a wrong kind; the message names the key and is in words."""
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    for keys in all_keys(recipes.Recipe):
        if keys[0] != "data" or (keys[1:] and keys[1] in VideosPart.model_fields):
            for value in ("{a: {b: 1}}", "[[[1]]]", ".nan", "-1e99"):
                override = f"{'.'.join(keys)}={value}"
                try:
                    recipes.load(path, [override])
                except RecipeError as error:
                    assert ".".join(keys[:1]) in str(error)
                    for jargon in (
                        "Input",
                        "instance",
                        "discriminator",
                        "pydantic",
                        "valid dictionary",
                        "Unable",
                        "tuple[",
                    ):
                        assert jargon not in str(error), str(error)


def test_what_a_recipe_was_read_from_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    recipe = recipes.load(path, ["trainer.steps=3", "seed=7"])
    assert recipe.file is not None
    assert (recipe.file.path, recipe.file.overrides) == (path, ("trainer.steps=3", "seed=7"))
    assert recipe.file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (recipe.trainer.steps, recipe.seed) == (3, 7)
