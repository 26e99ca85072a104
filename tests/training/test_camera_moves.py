"""Training on camera moves, at a size that takes seconds, and how the patch embedding starts."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mar_edge.console import Console
from mar_edge.errors import MarEdgeError, OutputError
from mar_edge.event_settings import ClassThresholds, EventDefaults
from mar_edge.masking import cell_running_mask, visible_indices
from mar_edge.model import checkpoint
from mar_edge.model.config import build
from mar_edge.model.mar import patchify, pick
from mar_edge.reporting import no_progress
from mar_edge.training import recipe as recipes
from mar_edge.training.patch_init import init_patch_embedding
from mar_edge.training.synthetic import camera_moves
from mar_edge.training.synthetic.camera_moves import CameraMovesPart
from mar_edge.training.trainer import train
from tests.fakes.recipes import films, write

QUIET = Console(quiet=True)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    values = films(start={"patches_from_data": True}, objective={"reconstruction_weight": 0.1, "flow_weight": 0.5})
    values["data"] |= {"cache": str(tmp_path / "cache")}
    values["trainer"] |= {"out": str(tmp_path / "run"), "workers": 0}
    return write(tmp_path / "recipe.yaml", values)


@pytest.mark.usefixtures("one_process")
def test_the_three_tasks_train_and_the_checkpoint_knows_its_labels(recipe: Path, tmp_path: Path) -> None:
    result = train(recipes.load(recipe, ["events.onset=0.7", "events.classes.shake.onset=0.9"]), QUIET)
    assert result.finished
    assert result.validation is None
    _, _, info = checkpoint.load(result.checkpoint)
    assert info.labels[0] == "still"
    assert info.mask_ratio == 0.5
    assert info.idle_label == "still"
    assert info.events == EventDefaults(onset=0.7, classes={"shake": ClassThresholds(onset=0.9)})
    assert info.provenance["recipe"]["trainer"]["steps"] == 6
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {"classification", "reconstruction", "flow"} <= rows[-1].keys()


def test_clips_travel_to_worker_processes_as_paths_not_pixels(recipe: Path) -> None:
    part = recipes.load(recipe)
    assert isinstance(part.data, CameraMovesPart)
    data = camera_moves.prepare(part.data, geometry=part.model.geometry, progress=no_progress)
    before = data.sample(7, np.random.default_rng(0))
    sent = pickle.dumps(data)
    assert len(sent) < 40 * before.clip.size / 4
    after = pickle.loads(sent).sample(7, np.random.default_rng(0))
    assert np.array_equal(before.clip, after.clip)


def test_places_that_cannot_be_written_and_data_that_is_not_there(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
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
