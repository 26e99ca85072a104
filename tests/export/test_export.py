"""From checkpoint to bundle: the graph's contract, its work, its parity, and what happens when something fails."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mar_edge.bundle import open_bundle
from mar_edge.errors import CheckpointError, ExportError, GeometryError, OutputError, SourceError
from mar_edge.export import family
from mar_edge.export.calibration_options import CalibrationOptions
from mar_edge.export.clip_choice import GATE_CLIPS
from mar_edge.export.exporter import export
from mar_edge.export.graph import count_macs, write_graph
from mar_edge.geometry import Geometry
from mar_edge.masking import cell_running_mask, visible_indices
from mar_edge.model import checkpoint
from mar_edge.model.config import build, preset
from mar_edge.model.deployed import DeployedGraph
from mar_edge.model.mar import MAR, BridgingClassifier
from mar_edge.runtime.engines.registry import create_engine
from tests.fakes.tiny_model import INFO, TINY


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A checkpoint with random weights."""
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(path, build(TINY), TINY, INFO)
    return path


def test_a_bundle_computes_what_torch_computes(weights: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    bundle = export(weights, tmp_path / "tiny.mar", masks=[0, 25, 50, 75]).bundle
    model, _, _ = checkpoint.load(weights)
    clips = rng.integers(0, 256, (3, *TINY.geometry.clip_shape), dtype=np.uint8)
    assert [variant.mask for variant in open_bundle(bundle.path).manifest.variants] == [0, 25, 50, 75]
    for variant in bundle.manifest.variants:
        assert variant.parity.max_abs_error <= variant.parity.bound
        assert variant.parity.clips == GATE_CLIPS
        visible = visible_indices(cell_running_mask(TINY.geometry.grid, variant.mask / 100))
        with torch.no_grad():
            expected = model(torch.from_numpy(clips), torch.from_numpy(visible)).numpy()
        assert np.abs(create_engine(bundle, variant).infer(clips) - expected).max() <= 1e-4


def test_the_graph_keeps_its_contract(weights: Path, tmp_path: Path) -> None:
    bundle = export(weights, tmp_path / "tiny.mar").bundle
    (variant,) = bundle.manifest.variants
    assert variant.mask == 50  # as trained
    graph = onnx.load(bundle.graph_path(variant)).graph
    (frames,), (logits,) = graph.input, graph.output
    assert frames.name == "frames"
    assert frames.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [dim.dim_value for dim in frames.type.tensor_type.shape.dim][1:] == [8, 32, 64, 3]
    assert frames.type.tensor_type.shape.dim[0].dim_param
    assert logits.name == "logits"
    assert logits.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    # shapes are static but for the batch: nothing is computed from shapes, and no operator is outside the standard
    assert not {node.op_type for node in graph.node} & {"Shape", "NonZero", "Loop", "If", "Scan"}
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
    assert not any("decoder" in tensor.name for tensor in graph.initializer)


def test_only_visible_tubelets_are_embedded(weights: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    bundle = export(weights, tmp_path / "tiny.mar").bundle
    engine = create_engine(bundle, bundle.variant())
    clip = rng.integers(0, 256, (1, *TINY.geometry.clip_shape), dtype=np.uint8)
    mask = cell_running_mask(TINY.geometry.grid, 0.5).repeat(2, axis=0).repeat(8, axis=1).repeat(8, axis=2)
    changed = np.where(mask[None, ..., None], clip, 255 - clip)
    assert np.array_equal(engine.infer(clip), engine.infer(changed))
    seen = np.where(mask[None, ..., None], 255 - clip, clip)
    assert np.abs(engine.infer(clip) - engine.infer(seen)).max() > 1e-3


@pytest.mark.parametrize("mask", [0.0, 0.5, 0.75])
def test_macs_are_those_of_the_flop_counter(mask: float, tmp_path: Path) -> None:
    model = build(TINY).eval()
    write_graph(model, mask, tmp_path / "graph.onnx")
    frames = torch.zeros(1, *TINY.geometry.clip_shape, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        DeployedGraph(model, mask).to("meta")(frames)
    assert count_macs(tmp_path / "graph.onnx") == counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("name", "classifier", "ratio", "gmacs"),
    [
        ("base", "bridge", 0.5, 85.342756864),
        ("base", "bridge", 0.75, 39.524442112),
        ("base", "mean_pool", 0.0, 180.34489344),
        ("small", "bridge", 0.5, 29.119946752),
        ("small", "mean_pool", 0.0, 56.878061568),
        ("large", "bridge", 0.5, 274.807332864),
        ("huge", "mean_pool", 0.0, 1190.99410432),
    ],
)
def test_presets_cost_what_the_paper_says(name: str, classifier: str, ratio: float, gmacs: float) -> None:
    with torch.device("meta"):
        model = build(preset(name, classifier=classifier, decoder_depth=0)).eval()
        frames = torch.zeros(1, 16, 224, 224, 3, dtype=torch.uint8)
        visible = torch.zeros(round(1568 * (1 - ratio)), dtype=torch.int64)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(frames, visible)
    # the reference counts an embedding of visible tubelets only; goldens/flops.json, gmacs_embed_visible_only
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=1e-9)


def test_a_graph_that_misses_its_parity_leaves_no_bundle(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(model: MAR, mask: float, path: Path) -> None:
        other = copy.deepcopy(model)
        assert isinstance(other.classifier, BridgingClassifier)
        other.classifier.head.bias.data += 0.01
        write_graph(other, mask, path)

    monkeypatch.setattr(family, "write_graph", damaged)
    with pytest.raises(
        ExportError, match=r"mask 50 fp32: it does not match torch.* largest error of a logit 1\.00e-02"
    ):
        export(weights, tmp_path / "tiny.mar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.safetensors"]


def test_parity_is_measured_on_the_clips_given(weights: Path, tmp_path: Path, real_clips: Path) -> None:
    bundle = export(weights, tmp_path / "tiny.mar", data=real_clips / "daily").bundle
    assert bundle.manifest.variants[0].parity.source == "9 videos of daily"
    with pytest.raises(SourceError, match="no such file or folder: .*nothing"):
        export(weights, tmp_path / "other.mar", data=tmp_path / "nothing")
    with pytest.raises(SourceError, match="no video in"):
        export(weights, tmp_path / "other.mar", data=tmp_path)


def test_damage_stops_a_calibration_but_no_comparison(weights: Path, tmp_path: Path, real_clips: Path) -> None:
    damaged = real_clips / "edge" / "corrupted.mp4"
    compared = export(weights, tmp_path / "tiny.mar", data=damaged, clips=2)
    assert any("damaged" in message for message in compared.warnings)
    with pytest.raises(SourceError, match=r"corrupted\.mp4 cannot be used .* leave it out or record it again"):
        export(
            weights,
            tmp_path / "other.mar",
            precisions=["int8"],
            calibration=CalibrationOptions(data=damaged, clips=2),
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.mar", "tiny.safetensors"]


def test_what_cannot_be_exported(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="mask 40 is not one of 0, 25, 50, 75"):
        export(weights, tmp_path / "a.mar", masks=[40])
    with pytest.raises(ExportError, match="precision 'int3' is not one of fp32"):
        export(weights, tmp_path / "a.mar", precisions=["int3"])
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        export(tmp_path / "no.safetensors", tmp_path / "a.mar")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        export(weights, tmp_path / "file" / "a.mar")
    odd = replace(TINY, geometry=Geometry(frames=8, height_px=24, width_px=24, patch_px=8))
    checkpoint.save(tmp_path / "odd.safetensors", build(odd), odd, INFO)
    with pytest.raises(GeometryError, match="16 px or 32 px"):
        export(tmp_path / "odd.safetensors", tmp_path / "a.mar")
    pretrained = replace(TINY, classifier="none", classes=0)
    checkpoint.save(tmp_path / "pretrained.safetensors", build(pretrained), pretrained, replace(INFO, labels=[]))
    with pytest.raises(CheckpointError, match="no classifier"):
        export(tmp_path / "pretrained.safetensors", tmp_path / "a.mar")
    assert not (tmp_path / "a.mar").exists()


def test_a_dense_model_without_cells_exports_unmasked(tmp_path: Path) -> None:
    odd = replace(
        TINY,
        geometry=Geometry(frames=8, height_px=24, width_px=24, patch_px=8),
        classifier="mean_pool",
        decoder_depth=0,
    )
    checkpoint.save(tmp_path / "odd.safetensors", build(odd), odd, replace(INFO, mask_ratio=0.0))
    bundle = export(tmp_path / "odd.safetensors", tmp_path / "odd.mar").bundle
    assert bundle.manifest.variants[0].mask == 0


def test_checkpoints_come_back_as_they_were(weights: Path) -> None:
    model, config, info = checkpoint.load(weights)
    assert config == TINY
    assert info == INFO
    torch.manual_seed(0)
    fresh = build(TINY).state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in model.state_dict().items())


def test_bad_checkpoints(weights: Path, tmp_path: Path) -> None:
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-50])
    with pytest.raises(CheckpointError, match="is damaged or cut off"):
        checkpoint.load(weights)
    weights.write_bytes(whole.replace(b"mar-edge 1", b"mar-edge 9"))
    with pytest.raises(CheckpointError, match="'mar-edge 9', newer than this"):
        checkpoint.load(weights)
    weights.write_bytes(whole.replace(b'\\"depth\\": 2', b'\\"depth\\": 3', 1))
    with pytest.raises(CheckpointError, match="does not fit its own configuration"):
        checkpoint.load(weights)
    with pytest.raises(OutputError, match="cannot write the checkpoint"):
        checkpoint.save(weights / "below" / "a.safetensors", build(TINY), TINY, INFO)
