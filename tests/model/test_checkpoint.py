"""Checkpoints whose header states something else than is stored: refused before memory is taken."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from mar_edge.errors import CheckpointError
from mar_edge.event_settings import ClassThresholds, EventDefaults
from mar_edge.model import checkpoint
from mar_edge.model.config import MAX_DEPTH, MAX_WIDTH, ModelConfig, build, shapes
from mar_edge.model.deployed import describe
from mar_edge.training.start import read_architecture
from tests.fakes.tiny_model import INFO, TINY

GEOMETRY = {"frames": 8, "height_px": 32, "width_px": 64, "tubelet_frames": 2, "patch_px": 8}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(path, build(TINY), TINY, INFO)
    return path


def changed(path: Path, key: str, values: dict[str, Any] | str) -> Path:
    """Write a checkpoint with other metadata."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        metadata = dict(file.metadata())
    metadata[key] = values if isinstance(values, str) else json.dumps({**json.loads(metadata[key]), **values})
    save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize(
    ("key", "values", "says"),
    [
        ("config", {"width": 40_000, "heads": 1}, "width is 40000"),
        (
            "config",
            {"width": MAX_WIDTH, "heads": 1},
            r"does not fit its own configuration: encoder.positions has shape",
        ),
        ("config", {"depth": 1_000_000}, "depth is 1000000"),
        ("config", {"depth": MAX_DEPTH}, f"has {MAX_DEPTH + 3} blocks, and the file"),
        ("config", {"depth": 3}, "encoder.blocks.2.* is missing"),
        ("config", {"depth": 1}, "encoder.blocks.1.* is unknown"),
        ("config", {"decoder_width": 8}, "decoder.* has shape"),
        ("config", {"classes": 10**9}, "classes is 1000000000"),
        ("config", {"geometry": {**GEOMETRY, "frames": 2_000_000_000}}, "frames is 2000000000"),
        ("config", {"geometry": {**GEOMETRY, "frames": 800}}, "encoder.positions has shape"),
        ("config", {"geometry": {**GEOMETRY, "evil": 1}}, "evil"),
        ("config", {"geometry": []}, "geometry"),
        ("info", {"events": {"onset": 0.3}}, "events.*offset 0.4 is above onset 0.3"),
        ("info", {"events": {"unset": 0.3}}, "events.unset"),
        ("info", {"clip_answer": "median"}, "clip_answer is 'median'"),
        ("config", {"width": "32"}, "width is '32'"),
        ("config", {"width": 32.5}, "width is 32.5"),
        ("config", {"width": True}, "width is True"),
        ("config", {"heads": 0}, "heads is 0"),
        ("config", {"heads": 5}, "width 32 is not divisible by heads 5"),
        ("config", {"norm_eps": 0}, "norm_eps is 0"),
        ("config", {"classifier": "x"}, "classifier is 'x'"),
        ("config", "[" * 200_000, "nested deeper"),
        ("config", "[]", "a list, expected keys and values"),
        ("config", '{"width": NaN}', "NaN"),
        ("info", {"labels": 5}, "labels is 5"),
        ("info", {"labels": ["a"]}, "1 label for 5 classes"),
        ("info", {"labels": [1, 2, 3, 4, 5]}, r"labels.0 is 1"),
        ("info", {"provenance": "x"}, "provenance is 'x'"),
        ("info", {"rate_fps": "fast"}, "rate_fps is 'fast'"),
        ("info", {"rate_fps": 1e300}, r"rate_fps is 1e\+300"),
        ("info", {"resize": "x"}, "resize is 'x'"),
        ("info", {"mask_ratio": 2}, "mask_ratio is 2"),
        ("info", {"evil": 1}, "evil is 1"),
        ("info", "5", "damaged metadata"),
        ("format", "mar-edge " + "9" * 5000, "newer than this mar-edge"),
    ],
)
def test_metadata_that_does_not_fit(stored: Path, key: str, values: dict[str, Any] | str, says: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=says) as error:
        checkpoint.load(changed(stored, key, values))
    assert len(str(error.value)) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "in KB"


def test_what_a_model_says_of_its_events_is_kept(stored: Path) -> None:
    events = EventDefaults(onset=0.5, offset=0.25, cooldown_s=1, classes={"b": ClassThresholds(onset=0.8)})
    info = replace(INFO, events=events, clip_answer="peak")
    checkpoint.save(stored, build(TINY), TINY, info)
    _, config, read = checkpoint.load(stored)
    assert read == info
    spec = describe(stored, config, read)
    assert (spec.events, spec.clip_answer) == (events, "peak")
    unknown = replace(info, events=EventDefaults(classes={"wave": ClassThresholds(onset=0.8)}))
    with pytest.raises(CheckpointError, match="cannot be used.*'wave', which is not one of the labels"):
        describe(stored, config, unknown)


def test_a_whole_checkpoint_is_read(stored: Path) -> None:
    _, config, info = checkpoint.load(stored)
    assert (config, info) == (TINY, INFO)
    assert read_architecture(str(stored)) == TINY


def test_a_planned_training_reads_the_same_errors(stored: Path) -> None:
    with pytest.raises(CheckpointError, match="depth is 1000000"):
        read_architecture(str(changed(stored, "config", {"depth": 1_000_000})))


def test_shapes_are_those_of_the_model() -> None:
    assert shapes(TINY) == {name: tuple(tensor.shape) for name, tensor in build(TINY).state_dict().items()}
    largest = ModelConfig(width=MAX_WIDTH, depth=8, heads=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert shapes(largest)["encoder.blocks.7.fc1.weight"] == (4 * MAX_WIDTH, MAX_WIDTH)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "in KB"
