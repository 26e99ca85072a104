"""Models read back from bundles."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mar_edge.bundle import Bundle, open_bundle
from mar_edge.errors import CheckpointError
from mar_edge.event_settings import ClassThresholds, EventDefaults
from mar_edge.export.exporter import export
from mar_edge.geometry import Geometry
from mar_edge.model import checkpoint
from mar_edge.model.bundle_weights import read_bundle
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ClassifierKind, ModelConfig, build


def test_the_built_in_model_can_be_trained_on() -> None:
    model, config, info = read_bundle(open_bundle("egomotion"))
    assert info.labels[0] == "still"
    assert config.width == 160
    assert model.decoder is None


@pytest.mark.parametrize("classifier", ["bridge", "mean_pool"])
def test_every_weight_comes_back(tmp_path: Path, classifier: ClassifierKind) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        geometry=Geometry(frames=4, height_px=32, width_px=32), width=24, depth=2, heads=2, classes=3,
        classifier=classifier, bridge_width=16, bridge_depth=1, bridge_heads=2, decoder_depth=0, layer_scale=True,
    )  # fmt: skip
    model = build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    events = EventDefaults(smoothing_s=0.1, cooldown_s=1, classes={"b": ClassThresholds(onset=0.8)})
    info = CheckpointInfo(labels=["a", "b", "c"], idle_label="a", events=events, clip_answer="peak")
    checkpoint.save(tmp_path / "m.safetensors", model, config, info)
    export(tmp_path / "m.safetensors", tmp_path / "m.mar", masks=[50])
    got, got_config, got_info = read_bundle(open_bundle(tmp_path / "m.mar"))
    assert (got_info.events, got_info.clip_answer, got_info.idle_label) == (events, "peak", "a")
    assert got_config == config
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, got.state_dict()[name]), name


def test_a_graph_of_another_layout_is_refused() -> None:
    bundle = open_bundle("egomotion")
    architecture = {**bundle.manifest.architecture, "depth": 5}
    deeper = Bundle.of(bundle.path, bundle.manifest.model_copy(update={"architecture": architecture}))
    with pytest.raises(CheckpointError, match="does not have mar-edge's layout"):
        read_bundle(deeper)
