"""Recipes and the training loop, at a size that takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from mar_edge.errors import CheckpointError, MarEdgeError, OutputError, RecipeError
from mar_edge.masking import cell_running_mask, visible_indices
from mar_edge.model import checkpoint
from mar_edge.model.config import build
from mar_edge.model.mar import patchify, pick
from mar_edge.training import recipe as recipes
from mar_edge.training.patch_init import init_patch_embedding
from mar_edge.training.trainer import train
from tests.conftest import ROOT

QUIET = Console(quiet=True)


def tiny(out: Path, **changes: Any) -> dict[str, Any]:
    """A recipe for a very small model."""
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
        "data": {"kind": "camera_moves", "clips": 40, "chunk": 20, "drawn_per_chunk": 3, "cache": str(out / "cache")},
        "patch_init": True,
        "flow_weight": 0.5,
        "optimiser": {"kind": "muon", "warmup_steps": 2},
        "trainer": {"steps": 6, "batch": 8, "checkpoint_steps": 2, "out": str(out / "run")},
    }  # fmt: skip
    return values | changes


def write(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


def test_the_shipped_recipe_is_valid() -> None:
    recipe = recipes.load(ROOT / "training" / "egomotion.yaml")
    assert recipe.mask.kind == "cell_running"
    assert recipe.mask.ratio == 0.5
    assert recipe.reconstruction_weight > 0
    recipe.model.config(classes=10).geometry.check_cells()


def test_every_problem_is_told_at_once_with_the_nearest_key(tmp_path: Path) -> None:
    values = tiny(tmp_path, reconstruction_wieght=0.1)
    values["model"]["widht"] = 3
    values["trainer"]["batch"] = -1
    with pytest.raises(RecipeError) as error:
        recipes.load(write(tmp_path / "recipe.yaml", values))
    message = str(error.value)
    assert "'model.widht'; did you mean 'width'?" in message
    assert "'reconstruction_wieght'; did you mean 'reconstruction_weight'?" in message
    assert "trainer.batch" in message


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model.size_px=112"], "64 px|96 px or 128 px"),
        (["mask.ratio=0.4"], "mask.ratio 0.4"),
        (["trainer.steps"], "is not an override"),
        (["name.first=x"], "is not a key"),
        (["data.kind=films"], "data.kind"),
        (["trainer.steps=many"], "trainer.steps"),
        (["trainer.steps={"], "cannot be read as YAML"),
        (["model.heads=7"], "24 does not divide into 7 heads"),
        (["model.width=-3"], "model.width"),
        (["seed=-1"], "seed"),
        (["optimiser.lr=.inf"], "optimiser.lr"),
        (["optimiser.schedule=[[5, 1], [2, 0]]"], "do not rise"),
        (["data.weights=[0, 0, 0]"], "are all 0"),
        (["idle_label=asleep"], "'asleep' is not one of"),
        (["mask.kind=random", "mask.ratio=1.5"], "mask.ratio"),
        (["mask.kind=tube", "mask.fixed_from=3"], "fixed_from needs"),
    ],
)
def test_bad_overrides(tmp_path: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        recipes.load(write(tmp_path / "recipe.yaml", tiny(tmp_path)), overrides)


@pytest.mark.parametrize("text", ["", "- a\n- b", "a: [", "\x00"])
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match="recipe"):
        recipes.load(tmp_path / "recipe.yaml")
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        recipes.load(tmp_path / "no.yaml")


def test_a_stopped_run_goes_on_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    recipe = write(tmp_path / "recipe.yaml", tiny(tmp_path))
    whole = train(recipes.load(recipe, [f"trainer.out={tmp_path / 'whole'}"]), QUIET)
    assert whole.finished
    assert whole.step == 6

    # no time at all: each start does what it can, here stopped from outside after the third step
    part = recipes.load(recipe, [f"trainer.out={tmp_path / 'part'}"])
    with pytest.MonkeyPatch.context() as patch:
        from mar_edge.training.trainer import _Run

        one_step = _Run.one_step

        def interrupted(self: Any) -> Any:
            if self.step == 3:
                raise KeyboardInterrupt
            return one_step(self)

        patch.setattr(_Run, "one_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(part, QUIET)
    assert checkpoint.load(tmp_path / "part" / "last.safetensors")[2].provenance["step"] == 3
    resumed = train(part, QUIET)
    assert resumed.step == 6
    expected, _, info = checkpoint.load(whole.checkpoint)
    got, _, _ = checkpoint.load(resumed.checkpoint)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, got.state_dict()[name]), name
    assert info.labels[0] == "still"
    assert info.mask_ratio == 0.5
    assert info.provenance["recipe"]["trainer"]["steps"] == 6


def test_a_folder_with_another_run_is_left_alone(tmp_path: Path) -> None:
    recipe = write(tmp_path / "recipe.yaml", tiny(tmp_path))
    train(recipes.load(recipe, ["trainer.steps=1"]), QUIET)
    with pytest.raises(CheckpointError, match="holds a run of another recipe"):
        train(recipes.load(recipe, ["trainer.steps=1", "seed=5"]), QUIET)


def test_places_that_cannot_be_written_and_data_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recipe = write(tmp_path / "recipe.yaml", tiny(tmp_path))
    with pytest.raises(OutputError, match="cannot write"):
        train(recipes.load(recipe, ["trainer.steps=1", f"trainer.out={tmp_path / 'file' / 'run'}"]), QUIET)
    with pytest.raises(OutputError, match=r"Set data\.cache"):
        train(recipes.load(recipe, [f"data.cache={tmp_path / 'file' / 'cache'}"]), QUIET)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MarEdgeError, match="no pictures in"):
        train(recipes.load(recipe, [f"data.pictures=[{tmp_path / 'empty'}]"]), QUIET)


def test_the_patch_embedding_starts_white_and_sees_motion(rng: np.random.Generator) -> None:
    config = recipes.ModelPart(frames=8, size_px=64, patch_px=16, width=32, heads=2, depth=1).config(classes=10)
    model = build(config)
    # smooth random pictures that drift: neighbouring pixels and frames are alike, as in real clips
    base = rng.normal(0, 1, (40, 96, 96, 3)).cumsum(axis=1).cumsum(axis=2)
    base = 255 * (base - base.min()) / (base.max() - base.min())
    clips = np.stack([base[:, 2 * t : 2 * t + 64, t : t + 64] for t in range(8)], axis=1).astype(np.uint8)
    visible = torch.from_numpy(visible_indices(cell_running_mask(config.geometry.grid, 0.5)))
    positions = model.encoder.positions.clone()
    init_patch_embedding(model.encoder, torch.from_numpy(clips), visible)
    seen = model.encoder.normalise(pick(patchify(torch.from_numpy(clips), config.geometry), visible))
    with torch.no_grad():
        responses = model.encoder.embed(seen).flatten(0, 1)
    covariance = responses.T @ responses / len(responses)
    strong = [*range(4), *range(16, 20)]  # the first filters of either half; the last ones are noise
    assert torch.allclose(covariance.diagonal()[strong], torch.ones(8), atol=0.05)
    still = torch.from_numpy(np.repeat(clips[:, :1], 8, axis=1))
    seen = model.encoder.normalise(pick(patchify(still, config.geometry), visible))
    with torch.no_grad():
        assert model.encoder.embed(seen)[..., 16:].abs().max() < 1e-3  # nothing moves, so the second half is silent
    assert torch.allclose(model.encoder.positions, positions / 2)
