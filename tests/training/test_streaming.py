"""Training of streaming models: what it learns, what it starts from, what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning_fabric import Fabric

from mar_edge.console import Console
from mar_edge.errors import CheckpointError, RecipeError
from mar_edge.geometry import Geometry
from mar_edge.masking import visible_indices
from mar_edge.model import checkpoint
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.streaming import StreamingMAR
from mar_edge.training import recipe as recipes
from mar_edge.training.augmentation.mixing import MixPart
from mar_edge.training.batches import Batches, MaskPart, Order, Rank
from mar_edge.training.clip_source import Sample
from mar_edge.training.objective import Batch, DistilPart, Objective, ObjectivePart
from mar_edge.training.start import StartPart, take_weights
from mar_edge.training.streaming import StreamingPart
from mar_edge.training.trainer import train
from mar_edge.training.training_data import open_data, read_lists
from mar_edge.training.validation import validate
from tests.fakes.films import moving_square, write_film, write_films

QUIET = Console(quiet=True)

pytestmark = pytest.mark.usefixtures("one_process")


def nothing(*_: Any) -> None:
    """Progress that nobody watches."""


CONFIG = ModelConfig(
    geometry=Geometry(frames=4, height_px=32, width_px=32),
    width=24, depth=1, heads=2, classes=3,
    bridge_width=16, bridge_depth=1, bridge_heads=2, decoder_width=16, decoder_depth=1, decoder_heads=2,
    temporal="causal",
)  # fmt: skip
STEPS = 4


class Colours:
    """Clips of one colour, whose class changes in the middle."""

    labels: tuple[str, ...] = ("a", "b", "c")
    classes = np.arange(6) % 3
    flow_channels = 2
    digest = "colours"

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        steps = np.array([index % 3, index % 3, (index + 1) % 3, (index + 1) % 3])
        clip = np.full((8, 32, 32, 3), 40, np.uint8)
        for step, label in enumerate(steps):
            clip[2 * step : 2 * step + 2, ..., label] = 200
        return Sample(clip, int(steps[-1]), None, f"clip {index}", steps)


def batches(**changes: Any) -> Batches:
    settings: dict[str, Any] = {
        "seed": 1,
        "grid": (STEPS, 2, 2),
        "mask": MaskPart(),
        "mixing": MixPart(),
        "batch": 6,
        "accumulate": 1,
        "rank": Rank(0, 1),
        "streaming": StreamingPart(),
    }
    return Batches(Colours(), Order(6, 1), **{**settings, **changes})


def test_a_batch_has_the_class_of_every_step_and_a_mask_that_runs_from_any_phase() -> None:
    batch = batches()[0]
    assert batch.targets.shape == (6, STEPS, 3)
    assert torch.equal(batch.last_targets, batch.targets[:, -1])
    for clip, targets in zip(batch.clips, batch.targets, strict=True):
        assert [int(clip[2 * step, 0, 0].argmax()) for step in range(STEPS)] == targets.argmax(dim=1).tolist()
    phases: set[tuple[int, ...]] = set()
    for _ in range(3):
        for visible in batches(seed=len(phases))[0].visible:
            steps = visible.reshape(STEPS, 2) % 4
            # a place is hidden two steps in a row and comes back: the pattern of step t is that of t - 1, moved by one
            assert torch.equal(steps[1], ((steps[0] + 1) % 4).sort().values)
            phases.add(tuple(steps[0].tolist()))
    assert len(phases) == 4


def test_steps_are_missing_in_the_wanted_share_of_the_clips() -> None:
    some = batches(batch=400, streaming=StreamingPart(skipped=0.5))[0]
    assert some.skipped is not None
    share = float(some.skipped.any(dim=1).float().mean())
    assert 0.25 < share < 0.5  # a drawn clip may miss none of four steps
    assert batches()[0].skipped is None


def a_batch(**changes: Any) -> Batch:
    return Batch(**{**vars(batches()[0]), **changes})


def silent(model: StreamingMAR) -> StreamingMAR:
    with torch.no_grad():
        model.get_parameter("classifier.head.weight").zero_()
        model.get_parameter("classifier.head.bias").copy_(torch.tensor([0.0, math.log(2), 0.0]))
    return model


def streaming(config: ModelConfig = CONFIG) -> StreamingMAR:
    torch.manual_seed(0)
    model = build(config)
    assert isinstance(model, StreamingMAR)
    return model


def test_the_loss_counts_every_step_less_before_the_band_is_full_and_missing_ones_not() -> None:
    skipped = torch.zeros(6, STEPS, dtype=torch.bool)
    skipped[:, 2] = True
    batch = a_batch(skipped=skipped)
    losses = Objective(silent(streaming()), ObjectivePart(reconstruction_weight=0))(batch)
    # probabilities are 1/4, 1/2, 1/4; a band has two steps, so the first counts half
    right = batch.targets.argmax(dim=2)
    costs = torch.where(right == 1, math.log(2), math.log(4))
    weights = torch.tensor([0.5, 1.0, 0.0, 1.0])
    expected = float((costs * weights).sum() / (6 * weights.sum()))
    assert losses.total.item() == pytest.approx(expected, rel=1e-5)
    assert losses.logits.shape == (6, 3)


@pytest.mark.parametrize("carry", [False, True])
def test_every_part_of_the_loss_reaches_the_model(carry: bool) -> None:
    flows = torch.rand(6, STEPS * 4, 2)
    objective = Objective(
        streaming(), ObjectivePart(reconstruction_weight=0.1, flow_weight=0.5), streaming=StreamingPart(carry=carry)
    )
    losses = objective(a_batch(flows=flows))
    assert set(losses.parts) == {"classification", "reconstruction", "flow"}
    losses.total.backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_a_windowed_teacher_judges_each_window_after_its_last_step() -> None:
    windowed = ModelConfig(**{**vars(CONFIG), "temporal": "window", "decoder_depth": 0})
    teacher = build(windowed)
    with torch.no_grad():
        teacher.get_parameter("classifier.head.weight").zero_()
        teacher.get_parameter("classifier.head.bias").copy_(torch.tensor([0.0, math.log(2), 0.0]))
    settings = ObjectivePart(reconstruction_weight=0, distil=DistilPart(teacher="", tokens_weight=0.5))
    model = silent(streaming())
    losses = Objective(model, settings, teacher=teacher)(a_batch())
    assert losses.parts["distillation"].item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        model.get_parameter("classifier.head.bias").zero_()
    unequal = Objective(model, settings, teacher=teacher)(a_batch())
    # of 1/4, 1/2, 1/4 from 1/3 each, for 12 windows in a batch of 12
    expected = 0.25 * math.log(0.75) * 2 + 0.5 * math.log(1.5)
    assert unequal.parts["distillation"].item() == pytest.approx(expected, rel=1e-5)
    assert unequal.parts["tokens"].item() > 0


@pytest.mark.parametrize("positions", ["flat", "grid"])
def test_a_windowed_model_is_a_start(tmp_path: Path, positions: Any) -> None:
    windowed = ModelConfig(**{**vars(CONFIG), "temporal": "window", "positions": positions})
    source = build(windowed)
    info = CheckpointInfo(
        name="w", description="", licence="x", labels=["a", "b", "c"], rate_fps=10, resize="stretch", mask_ratio=0.5
    )
    checkpoint.save(tmp_path / "w.safetensors", source, windowed, info)
    model = streaming(ModelConfig(**{**vars(CONFIG), "positions": positions}))
    notes = take_weights(model, StartPart(weights=str(tmp_path / "w.safetensors")))
    assert notes == []
    theirs, ours = source.state_dict(), model.state_dict()
    assert theirs.keys() == ours.keys()
    for name, tensor in ours.items():
        if name != "encoder.positions":
            assert torch.equal(tensor, theirs[name])
    # the rows of one time step
    assert torch.equal(ours["encoder.positions"], theirs["encoder.positions"].reshape(2, 4, -1)[1])


def recipe(folder: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "name": "moves",
        "description": "camera moves",
        "licence": "Apache-2.0",
        "seed": 3,
        "model": {
            "frames": 4, "size_px": 64, "patch_px": 16, "width": 24, "depth": 1, "heads": 2,
            "bridge_width": 16, "bridge_depth": 1, "bridge_heads": 2,
            "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2,
            "temporal": "causal", "input_norm": "step", "positions": "grid",
        },
        "streaming": {"windows": 4, "carry": True, "skipped": 0.3},
        "data": {"kind": "camera_moves", "clips": 16, "chunk": 16, "drawn_per_chunk": 3, "changing": 0.5,
                 "weights": [1, 0, 0], "cache": str(folder / "cache")},
        "objective": {"flow_weight": 0.5},
        "optimiser": {"kind": "muon"},
        "trainer": {"steps": 4, "batch": 4, "checkpoint_steps": 2, "workers": 0, "out": str(folder / "run")},
    }  # fmt: skip
    for key, value in changes.items():
        part, _, name = key.partition("__")
        if name:
            values[part] = {**(values[part] or {}), name: value}
        else:
            values[part] = value
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_training_that_resumes_ends_as_one_that_was_not_interrupted(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    whole = train(recipes.load(path, [f"trainer.out={tmp_path / 'whole'}"]), QUIET)
    train(recipes.load(path, ["trainer.max_minutes=1e-6"]), QUIET)
    resumed = train(recipes.load(path), QUIET)
    assert (whole.step, resumed.step) == (4, 4)
    ours, theirs = (checkpoint.load(result.checkpoint) for result in (resumed, whole))
    assert ours[1].temporal == "causal"
    for name, tensor in ours[0].state_dict().items():
        assert torch.equal(tensor, theirs[0].state_dict()[name]), name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model__temporal": "window", "model__input_norm": "clip"}, "streaming.*is for model.temporal causal"),
        ({"model__input_norm": "clip"}, "model.input_norm.*looks at later frames"),
        ({"model__classifier": "mean_pool"}, "model.classifier.*cannot stream"),
        ({"mask": {"kind": "random"}}, "mask.kind.*cell running mask"),
        ({"mask": {"fixed_from": 3}}, "mask.fixed_from.*runs with the clock"),
        ({"streaming__windows": 0}, "streaming.windows"),
        ({"streaming__skipped": 2}, "streaming.skipped"),
    ],
)
def test_recipes_that_cannot_be(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        recipes.load(recipe(tmp_path, **changes))


def test_without_a_streaming_part_its_defaults_hold(tmp_path: Path) -> None:
    loaded = recipes.load(recipe(tmp_path, streaming=None))
    assert loaded.streaming == StreamingPart()
    assert loaded.clip.frames == 2 * loaded.model.frames


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model__frames": 130}, "model.frames.*130 frames are 65 time steps.*2 to 64.*use 4 to 128 frames"),
        ({"model__frames": 2}, "model.frames.*2 frames are 1 time step.*2 to 64"),
        ({"model__heads": 8}, "model.heads.*leaves 3 channels for each head.*4 or more"),
        ({"model__bridge_heads": 16}, "model.bridge_heads.*leaves 1 channel for each head"),
    ],
)
def test_attention_that_could_not_tell_the_time(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        recipes.load(recipe(tmp_path, **changes))
    window = {"model__temporal": "window", "model__input_norm": "clip", "streaming": None}
    recipes.load(recipe(tmp_path, **window, **changes))  # a window knows the time by its position table


def test_a_checkpoint_whose_attention_could_not_tell_the_time_is_refused() -> None:
    for changes in ({"heads": 8}, {"bridge_heads": 8}, {"geometry": Geometry(frames=130, height_px=32, width_px=32)}):
        values = ModelConfig(**{**vars(CONFIG), **changes}).to_dict()
        with pytest.raises(CheckpointError, match="cannot be used"):
            ModelConfig.from_dict(values)


def test_a_windowed_model_starts_from_a_streaming_one_with_positions_of_its_own(tmp_path: Path) -> None:
    info = CheckpointInfo(
        name="c", description="", licence="x", labels=["a", "b", "c"], rate_fps=10, resize="stretch", mask_ratio=0.5
    )
    source = streaming()
    checkpoint.save(tmp_path / "c.safetensors", source, CONFIG, info)
    model = build(ModelConfig(**{**vars(CONFIG), "temporal": "window"}))
    own = model.encoder.positions.clone()
    notes = take_weights(model, StartPart(weights=str(tmp_path / "c.safetensors")))
    assert [note.split(": ")[1] for note in notes] == [
        "encoder.positions has another size; this recipe's own table is used"
    ]
    assert torch.equal(model.encoder.positions, own)
    assert torch.equal(model.encoder.embed.weight, source.encoder.embed.weight)


def test_pretraining_on_camera_moves_learns_without_their_labels(tmp_path: Path) -> None:
    path = recipe(tmp_path, task="pretrain", trainer__steps=1)
    result = train(recipes.load(path, task="pretrain"), QUIET)
    model, config, info = checkpoint.load(result.checkpoint)
    assert (config.classifier, config.classes, info.labels) == ("none", 0, [])
    assert model.classifier is None


def test_videos_that_are_shorter_than_a_training_clip_are_told(tmp_path: Path) -> None:
    listing = write_films(tmp_path / "films", 1)  # 12 frames
    data = {
        "kind": "videos",
        "train": str(listing),
        "val": str(listing),
        "rate_fps": 10,
        "resize": "stretch",
        "cache": str(tmp_path / "cache"),
    }
    loaded = recipes.load(recipe(tmp_path, data=data))

    def notes(*, windows: int) -> list[str]:
        read = loaded.model_copy(update={"streaming": StreamingPart(windows=windows)})
        told = open_data(read, read_lists(read, nothing), nothing).notes
        return [note for note in told if "shorter" in note]

    assert notes(windows=3) == []
    assert [note.split(":")[0] for note in notes(windows=4)] == [
        "2 of 2 training videos are shorter than a clip of 16 frames at 10 frames/s, the shortest by 4 frames",
        "2 of 2 validation videos are shorter than a clip of 16 frames at 10 frames/s, the shortest by 4 frames",
    ]


def test_validation_judges_by_the_answer_before_the_last_frame_is_repeated(tmp_path: Path) -> None:
    """As live, where no picture stands still after the end; the answers to one that does would be other ones."""
    steps = {20: 8, 16: 8, 15: 7, 12: 6, 3: 1, 2: 1}  # by frames of the film; a view has 16
    rows = ["path,label"]
    for frames, name in zip(steps, 3 * ["left", "right"], strict=True):
        write_film(tmp_path / f"{frames}.mp4", moving_square(name, 1, frames))
        rows.append(f"{frames}.mp4,{name}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    listing = str(tmp_path / "list.csv")
    data = {"kind": "videos", "train": listing, "val": listing, "rate_fps": 10, "resize": "stretch", "cache": None}
    loaded = recipes.load(recipe(tmp_path, data=data, streaming={"windows": 4}))
    val = open_data(loaded, read_lists(loaded, nothing), nothing).val
    assert val is not None
    model = streaming(replace(CONFIG, geometry=loaded.model.geometry, classes=2)).eval()
    mask = loaded.mask.test_mask(loaded.clip.grid)
    found = validate(model, val, mask, Fabric(accelerator="cpu"), batch=1)
    visible = torch.from_numpy(visible_indices(mask))
    assert found.names == tuple(f"{frames}.mp4" for frames in steps)
    for index, seen in enumerate(steps.values()):
        views = torch.from_numpy(val.views(index))
        assert views.shape[:2] == (2, 16)
        with torch.no_grad():
            until = model(views[:, : 2 * seen], visible[: seen * len(visible) // 8]).softmax(dim=1).mean(dim=0)
            held = model(views, visible).softmax(dim=1).mean(dim=0)
        np.testing.assert_allclose(found.scores[index], until, atol=1e-6)
        assert (seen == 8) == np.allclose(found.scores[index], held, atol=1e-6)
