"""Drawn figures do what their labels say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from mar_edge.console import Console
from mar_edge.errors import RecipeError
from mar_edge.model import checkpoint
from mar_edge.training import recipe as recipes
from mar_edge.training.synthetic.figure import ACTIONS, HAIR, HEIGHT, SHOES, limbs, perform
from mar_edge.training.synthetic.figure_film import film_figure
from mar_edge.training.trainer import train
from tests.fakes.films import moving_square, write_film
from tests.fakes.recipes import tiny

TIMES_S = np.arange(0, 4, 1 / 15)
SEEDS = range(20)


def body(action: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height of the head's top and of the lowest foot, and the way forward, over time."""
    rng = np.random.default_rng(seed)
    pose = perform(action, TIMES_S, rng)
    parts = limbs(pose, rng)
    head = max((limb.end[:, 2] for limb in parts if limb.part == HAIR), key=lambda up: up.mean())
    feet = np.min([limb.start[:, 2] for limb in parts if limb.part == SHOES], axis=0)
    return head, feet, pose.forward


@pytest.mark.parametrize("seed", SEEDS)
def test_actions_differ_as_they_should(seed: int) -> None:
    head, feet, forward = {}, {}, {}
    for action in ACTIONS:
        head[action], feet[action], forward[action] = body(action, seed)
        assert 0.3 * HEIGHT < head[action].min() < 1.2 * HEIGHT
        assert feet[action].min() > -1e-9, "nobody sinks into the ground"
    assert feet["Jump"].max() > 0.14
    for action in ("Sit", "Stand", "Turn", "Walk"):
        assert feet[action].max() < 1e-9, "and only who jumps or runs leaves it"
    assert head["Sit"][-1] < head["Sit"][0] - 0.2
    assert head["Stand"][-1] > head["Stand"][0] + 0.2
    assert np.ptp(forward["Run"]) > np.ptp(forward["Walk"]) > 2
    assert np.ptp(forward["Turn"]) == 0


def test_only_who_turns_turns() -> None:
    for action in ACTIONS:
        turned = abs(perform(action, TIMES_S, np.random.default_rng(1)).yaw[-1])
        assert (turned > 1.2) == (action == "Turn") or action in ("Sit", "Stand")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_film_shows_something_moving_before_its_background(action: str) -> None:
    background = np.full((60, 80, 3), 40, np.uint8)
    seen = 0
    for seed in SEEDS:
        clip = film_figure(
            action, background, frames=16, size_px=64, rate_fps=7.5, rng=np.random.default_rng([seed, 7])
        )
        assert clip.shape == (16, 64, 64, 3)
        assert clip.dtype == np.uint8
        seen += bool(clip.astype(float).std(axis=0).max() > 8)  # noise alone stays below
        again = film_figure(
            action, background, frames=16, size_px=64, rate_fps=7.5, rng=np.random.default_rng([seed, 7])
        )
        assert np.array_equal(clip, again)
    assert seen >= 15


def test_figures_train_beside_videos(tmp_path: Path) -> None:
    rows = ["path,label"]
    for index, action in enumerate(ACTIONS):
        write_film(tmp_path / f"{action}.mp4", moving_square("left", index))
        rows.append(f"{action}.mp4,{action}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    values = tiny(tmp_path, tmp_path / "list.csv")
    values["data"]["figures"] = {"clips": 12, "share": 0.5}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    result = train(recipes.load(recipe, ["trainer.steps=2", "objective.flow_weight=0.1"]), Console(quiet=True))
    assert checkpoint.load(result.checkpoint)[2].labels == list(ACTIONS)
    (tmp_path / "two.csv").write_text("path,label\nJump.mp4,Jump\nRun.mp4,Dance\n")
    with pytest.raises(RecipeError, match="data.figures draws Jump, .*but the labels are Dance, Jump"):
        train(recipes.load(recipe, [f"data.train={tmp_path / 'two.csv'}"]), Console(quiet=True))
    with pytest.raises(RecipeError, match="into a cache"):
        recipes.load(recipe, ["data.cache=null"])
