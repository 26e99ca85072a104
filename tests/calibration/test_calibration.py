"""INT8 graphs: what they compute, where their Q/DQ lies, and how they are chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mar_edge.calibration.calibrate import PLACEMENTS, Calibrated, Calibration
from mar_edge.calibration.collection import collect
from mar_edge.calibration.equalisation import ALPHA, equalise, pairs, uneven
from mar_edge.calibration.held_clips import HeldClips
from mar_edge.calibration.placement import sites
from mar_edge.calibration.quantise import quantise
from mar_edge.calibration.ranges import ranges
from mar_edge.calibration.sensitivity import blocks_of, sensitivity
from mar_edge.calibration.statistics import Statistics
from mar_edge.calibration.trade_off import trade_off
from mar_edge.calibration.trade_off_plot import plot
from mar_edge.calibration.trial import Trial, logits_of
from mar_edge.errors import ExportError, OptionError, OutputError, SourceError
from mar_edge.export.graph import write_graph
from mar_edge.geometry import Geometry
from mar_edge.model.graph_view import GraphView, block_of
from mar_edge.model_spec import Placement
from mar_edge.runtime.engines.openvino_core import openvino_core
from mar_edge.runtime.measurement.clip_set import ClipSet
from mar_edge.runtime.measurement.parity import compare
from tests.conftest import need
from tests.fakes.films import moving_square, write_film
from tests.fakes.realistic_model import realistic
from tests.fakes.tiny_model import TINY, tiny_clips

DEMO_CLIPS = 6


class Case:
    """A tiny graph that behaves like a trained one, calibrated with what each test shares."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "mask50-fp32.onnx"
        write_graph(realistic(TINY), 0.5, self.path)
        self.model = onnx.load(self.path)
        self.view = GraphView(self.model)
        self.clips = HeldClips.of(tiny_clips(None, DEMO_CLIPS))
        self.statistics = collect(self.path, self.clips, cache=None)
        self.thresholds = ranges(self.statistics, "minmax")
        self.trial = Trial.of(self.path, self.clips)

    def quantised(self, placement: Placement = "cpu", **options: Any) -> ModelProto:
        return quantise(self.model, self.thresholds, placement=placement, **options)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The shared graph."""
    return Case(tmp_path_factory.mktemp("case"))


def attention(width: int, tokens: int) -> GraphView:
    """An attention alone, as export writes it."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in {"q": [1, 2, tokens, width], "k": [1, 2, width, tokens], "v": [1, 2, tokens, width]}.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["q", "k"], ["scores"], "encoder.blocks.0.attn/MatMul_2"),
        helper.make_node("Softmax", ["scores"], ["weights"], "encoder.blocks.0.attn/Softmax"),
        helper.make_node("MatMul", ["weights", "v"], ["out"], "encoder.blocks.0.attn/MatMul_3"),
    ]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2, tokens, width])
    return GraphView(helper.make_model(helper.make_graph(nodes, "attention", inputs, [out])))


@pytest.mark.parametrize(
    ("width", "tokens", "fuses"),
    [(16, 64, True), (32, 512, True), (64, 392, True), (24, 64, False), (32, 513, False), (64, 784, False)],
)
def test_tensorrt_gets_int8_attention_where_it_can_fuse_it(width: int, tokens: int, fuses: bool) -> None:
    view = attention(width, tokens)
    everywhere = ["q", "k", "weights", "v"]
    assert [site.tensor for site in sites(view, "cpu")] == everywhere
    assert [site.tensor for site in sites(view, "tensorrt")] == (everywhere if fuses else [])
    # both products or none for TensorRT; a CPU takes the scores alone, too
    kept = ["encoder.blocks.0.attn.mix"]
    assert [site.tensor for site in sites(view, "cpu", kept=kept)] == ["q", "k"]
    assert not sites(view, "tensorrt", kept=kept)


def calibrated_graphs(graph: Path, clips: ClipSet, out: Path, **options: Any) -> list[Calibrated]:
    """Write the first graph of each placement."""
    calibration = Calibration(graph, clips, **options)
    return [next(calibration.candidates(placement, out)) for placement in PLACEMENTS]


def test_what_is_quantised(case: Case) -> None:
    products = {product.node.name: product for product in case.view.products}
    for placement in ("cpu", "tensorrt"):
        graph = case.quantised(placement)
        onnx.checker.check_model(graph, full_check=True)
        view = GraphView(graph)
        for node in view.nodes:
            sources = {view.producer[name].op_type for name in node.input if name in view.producer}
            if node.name in products and products[node.name].role == "weights":
                assert sources == {"DequantizeLinear"}  # activations and weights, but not the bias of a Gemm
            elif node.name in products:
                fuses = node.name.startswith("encoder")  # heads of 16 there, of 12 in the classifier
                assert ("DequantizeLinear" in sources) == (placement == "cpu" or fuses)
            elif (
                node.name.endswith(("/Add", "/Add_3"))
                and node.name.count(".blocks.")
                and block_of(node.name) in node.name.split("/")
            ):
                assert ("DequantizeLinear" in sources) == (placement == "tensorrt")
                assert "DequantizeLinear" not in {view.producer[node.input[1]].op_type}  # the branch stays as it is
            elif node.op_type != "QuantizeLinear":
                assert "DequantizeLinear" not in sources
        assert len({node.name for node in view.nodes}) == len(view.nodes)
        assert {block_of(node.name) for node in view.nodes} == {block_of(node.name) for node in case.view.nodes}
        assert [node.name for node in view.nodes if "Quant" not in node.name and "Deq" not in node.name] == [
            node.name for node in case.view.nodes
        ]
        for name, tensor in view.constants.items():
            if name.endswith("zero_point"):
                assert tensor.data_type == TensorProto.INT8
                assert not view.constant(name).any()
        biases = [name for name in case.view.constants if name.endswith("bias") or name.startswith("cat")]
        assert all(view.constants[name].data_type == TensorProto.FLOAT for name in biases if name in view.constants)


def test_weights_have_a_scale_for_every_output_channel(case: Case) -> None:
    view = GraphView(case.quantised())
    for product in case.view.products:
        if product.role == "weights":
            node = next(node for node in view.nodes if node.name == product.node.name)
            dequantise = view.producer[node.input[1]]
            axis = next(a.i for a in dequantise.attribute if a.name == "axis")
            stored, scales, _ = (view.constant(name) for name in dequantise.input)
            expected = case.view.constant(product.node.input[1])
            assert stored.dtype == np.int8
            assert scales.shape == (expected.shape[axis],)
            scales = np.expand_dims(scales, 1 - axis)
            assert np.abs(stored * scales - expected).max() <= 0.51 * scales.max()
            assert (np.abs(stored).max(axis=1 - axis) == 127).all()
    assert not any(name in view.constants for name in ("val_39", "model.classifier.head.weight"))


def test_a_quantised_graph_computes_nearly_the_same(case: Case) -> None:
    for placement in ("cpu", "tensorrt"):
        parity = case.trial.judge(case.quantised(placement, residuals=False)).parity
        assert parity.cosine is not None and 0.9 < parity.cosine < 0.99999  # it is INT8, and without equalisation
    weights = sum(case.view.constant(p.node.input[1]).nbytes for p in case.view.products if p.role == "weights")
    saved = case.model.ByteSize() - case.quantised().ByteSize()
    assert saved > 0.5 * weights  # three quarters, less the names of Q/DQ, which weigh much in a tiny graph


def test_openvino_computes_what_onnx_runtime_computes(case: Case) -> None:
    need(find_spec("openvino") is not None, "openvino is not installed")
    graph = case.quantised()
    core = openvino_core()
    compiled = core.compile_model(
        core.read_model(graph.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    expected = logits_of(graph, case.trial.frames)
    got = np.concatenate([compiled({"frames": clip[None]})["logits"] for clip in case.trial.frames])
    # a value on the edge of two steps may fall to either side: a few steps of the logits' own error
    error = float(np.abs(expected - case.trial.reference).max())
    assert np.abs(got - expected).max() <= max(0.05, error)


@pytest.mark.parametrize("placement", ["cpu", "tensorrt"])
def test_tensorrt_builds_it_in_int8(case: Case, tmp_path: Path, placement: Placement) -> None:
    need(find_spec("tensorrt_rtx") is not None, "tensorrt-rtx-cu12 is not installed")
    from tests.fakes.gpu.real_builder import build_engine

    onnx.save(case.quantised(placement), tmp_path / "graph.onnx")
    assert len(build_engine(tmp_path / "graph.onnx", "int8").data) > 10_000


def test_the_products_are_those_of_onnx_runtimes_quantiser(case: Case) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    known = {
        name: TensorData(lowest=np.float32(-limit), highest=np.float32(limit))
        for name, limit in case.thresholds.items()
    }
    one = np.float32(1)
    for node in case.model.graph.node:  # it wants a range of whatever it may meet
        for name in [*node.input, *node.output]:
            known.setdefault(name, TensorData(lowest=-one, highest=one))
    theirs = QDQQuantizer(
        onnx.shape_inference.infer_shapes(case.model), True, False, QuantType.QInt8, QuantType.QInt8,
        TensorsData(CalibrationMethod.MinMax, known), [product.node.name for product in case.view.products], [],
        ["MatMul", "Gemm"],
        {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False,
         "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
    )  # fmt: skip
    theirs.quantize_model()
    expected = logits_of(theirs.model.model, case.trial.frames)
    error = float(np.abs(expected - case.trial.reference).max())
    assert np.abs(logits_of(case.quantised(), case.trial.frames) - expected).max() <= 0.2 * error


def test_kept_blocks_have_no_qdq(case: Case) -> None:
    kept = ["encoder.blocks.1", "classifier.blocks.0.fc1", "classifier.head"]
    found = Counter(
        node.name.split("/")[0] for node in case.quantised("tensorrt", kept=kept).graph.node if "Quant" in node.op_type
    )
    assert not [part for part in found if part.startswith(tuple(kept))]
    assert found["encoder.blocks.0.fc1"] and found["classifier.blocks.0.fc2"] and found["encoder.embed"]
    everything = quantise(case.model, {}, placement="cpu", kept=blocks_of(case.view))
    assert np.abs(logits_of(everything, case.trial.frames) - case.trial.reference).max() <= 1e-5


def test_what_cannot_be_quantised(case: Case) -> None:
    with pytest.raises(ExportError, match="no range for 'encoder"):
        quantise(case.model, {}, placement="cpu")
    old = ModelProto()
    old.CopyFrom(case.model)
    old.opset_import[0].version = 17
    with pytest.raises(ExportError, match="opset 17, and Q/DQ needs 19"):
        quantise(old, case.thresholds, placement="cpu")


def test_equalisation_changes_nothing_but_the_activations(case: Case) -> None:
    outlying = uneven(case.view, case.statistics)
    assert {pair.norm.name.split("/")[0] for pair in outlying} >= {"encoder.blocks.0.norm1", "encoder.blocks.1.norm2"}
    graph = equalise(case.model, case.statistics, ALPHA)
    onnx.checker.check_model(graph)
    assert np.abs(logits_of(graph, case.trial.frames) - case.trial.reference).max() <= 1e-5
    assert [node.name for node in graph.graph.node] == [node.name for node in case.model.graph.node]


def test_norms_that_share_constants_are_equalised_apart(case: Case) -> None:
    shared = ModelProto()
    shared.CopyFrom(case.model)
    norms = [node for node in shared.graph.node if node.name.startswith("encoder.blocks") and "LayerNorm" in node.name]
    gain = np.ones(TINY.width, np.float32)
    gain[3] = 50
    shared.graph.initializer.append(numpy_helper.from_array(gain, "shared"))
    for norm in norms:
        norm.input[1] = "shared"
    clip = case.trial.frames[0]
    before = logits_of(shared, [clip])
    statistics = Statistics(dict(case.statistics.tensors))
    for pair in pairs(GraphView(shared)):
        name = pair.norm.output[0]
        large = np.ones_like(statistics.tensors[name].channel_max)
        large[3] = 50
        statistics.tensors[name] = replace(statistics.tensors[name], channel_max=large)
    after = logits_of(equalise(shared, statistics, ALPHA), [clip])
    assert np.abs(after - before).max() <= 1e-5 * max(1, float(np.abs(before).max()))


def test_outliers_are_no_harm(case: Case, tmp_path: Path) -> None:
    warnings: list[str] = []
    clips = replace(tiny_clips(None, DEMO_CLIPS), warn=warnings.append)
    graphs = calibrated_graphs(case.path, clips, tmp_path, cache=tmp_path / "cache")
    assert [graph.file.name for graph in graphs] == ["mask50-int8-cpu.onnx", "mask50-int8-tensorrt.onnx"]
    assert [message for message in warnings if f"{DEMO_CLIPS} clips are few" in message]
    plain = case.trial.judge(case.quantised()).parity
    for graph in graphs:
        about = graph.quantisation
        assert about["equalisation"] == ALPHA
        assert about["clips"] == DEMO_CLIPS and about["source"] == "demo camera"
        parity, missed, *_ = compare(
            case.trial.reference, logits_of(graph.file, case.trial.frames), "int8", source="", reference_name=""
        )
        assert parity.cosine is not None and parity.cosine >= 0.99
        assert not missed
        assert parity.kl is not None and plain.kl is not None
        assert parity.kl < plain.kl / 3  # what equalisation is for
    # the statistics of both graphs are kept
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_attention_over_many_tokens_is_not_thinned_out(tmp_path: Path) -> None:
    many = replace(TINY, geometry=Geometry(frames=4, height_px=128, width_px=128, patch_px=8), depth=1)
    path = tmp_path / "mask0-fp32.onnx"
    write_graph(realistic(many), 0.0, path)  # 512 tokens
    clips = HeldClips.of(tiny_clips(None, DEMO_CLIPS, geometry=many.geometry))
    graphs = {graph.placement: graph for graph in calibrated_graphs(path, clips, tmp_path, method="minmax")}
    assert "encoder.blocks.0.attn.mix" in graphs["cpu"].kept
    trial = Trial.of(path, clips)
    inputs = {
        placement: {
            node.name: {name.rpartition("/")[2].split("_")[0] for name in node.input}
            for node in onnx.load(graph.file).graph.node
        }
        for placement, graph in graphs.items()
    }
    scores, mix = "encoder.blocks.0.attn/MatMul_2", "encoder.blocks.0.attn/MatMul_3"
    assert inputs["cpu"][scores] == {"DequantizeLinear"}
    for found in (inputs["cpu"][mix], inputs["tensorrt"][scores], inputs["tensorrt"][mix]):
        assert "DequantizeLinear" not in found
    statistics = collect(path, clips, cache=None)
    thin = quantise(onnx.load(path), ranges(statistics, "minmax"), placement="cpu")
    whole = quantise(onnx.load(path), ranges(statistics, "minmax"), placement="cpu", kept=graphs["cpu"].kept)
    assert (trial.judge(whole).parity.kl or 0) < (trial.judge(thin).parity.kl or 0)


def test_a_bad_clip_writes_no_graph(case: Case, tmp_path: Path) -> None:
    for index in range(3):
        write_film(tmp_path / "films" / f"{index}.mp4", moving_square("left", index))
    (tmp_path / "films" / "1.mp4").write_bytes(b"no video" * 50)
    with pytest.raises(SourceError, match=r"1\.mp4"):
        calibrated_graphs(case.path, tiny_clips(tmp_path / "films"), tmp_path)
    assert not list(tmp_path.glob("*.onnx"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        calibrated_graphs(case.path, case.clips, tmp_path / "file", method="minmax")


def test_options_that_cannot_be(case: Case, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="'best'; choose from auto, minmax, percentile, entropy, mse"):
        calibrated_graphs(case.path, case.clips, tmp_path, method="best")
    for drop in (-1, float("nan")):
        with pytest.raises(OptionError, match=f"drop of {drop:g} points is invalid"):
            calibrated_graphs(case.path, case.clips, tmp_path, target_drop=drop)


def test_the_damage_of_each_block(case: Case) -> None:
    damaged = ModelProto()
    damaged.CopyFrom(case.model)
    thresholds = dict(case.thresholds)
    for name in thresholds:
        if block_of(name) == "encoder.blocks.1":
            thresholds[name] *= 400  # as if a single value had been that large
    damages = sensitivity(damaged, thresholds, case.trial, placement="cpu")
    assert damages[0].block == "encoder.blocks.1"
    assert sorted(damage.block for damage in damages) == sorted(blocks_of(case.view))
    assert [damage.kl for damage in damages] == sorted((damage.kl for damage in damages), reverse=True)
    assert damages[0].cosine < damages[-1].cosine


def labelled(case: Case) -> Trial:
    """Clips whose labels are what FP32 says, so that every clip that INT8 sees otherwise is a loss."""
    return replace(case.trial, targets=case.trial.reference.argmax(axis=1).astype(np.int64))


def test_the_target_is_reached(case: Case, tmp_path: Path) -> None:
    thresholds = dict(case.thresholds)
    for name in thresholds:
        if block_of(name) in ("encoder.blocks.0", "encoder.blocks.1"):
            thresholds[name] *= 200
    options: dict[str, Any] = {"placement": "cpu"}
    for trial in (case.trial, labelled(case)):
        damages = sensitivity(case.model, thresholds, trial, **options)
        assert {damage.block for damage in damages[:2]} == {"encoder.blocks.0", "encoder.blocks.1"}
        rows = []
        for row in trade_off(case.model, thresholds, trial, partial(list, damages), **options):
            rows.append(row)
            if row.loss <= 0:
                break
        assert rows[0].kept == () and rows[0].loss > 0
        assert rows[-1].loss <= 0 and all(row.loss > 0 for row in rows[:-1])
        assert [len(row.kept) for row in rows] == list(range(len(rows)))
        assert rows[-1].kept == tuple(damage.block for damage in damages[: len(rows) - 1])
        assert all(one.size_bytes < two.size_bytes for one, two in pairwise(rows))
        assert rows[0].int8_share == 1 and len(rows) > 1 and rows[1].int8_share < 1
        assert (rows[0].parity.top1 is None) == (trial.targets is None)
    plot(rows, tmp_path / "trade_off.png", target_drop=0, title="tiny, mask 50")
    picture = cv2.imread(str(tmp_path / "trade_off.png"))
    assert picture is not None and picture.shape[1] > 800 and len(np.unique(picture)) > 50
    before = (tmp_path / "trade_off.png").read_bytes()
    full = OSError(28, "No space left on device")
    with (
        patch("mar_edge.files.atomic_file.os.replace", side_effect=full),
        pytest.raises(OutputError, match="No space left"),
    ):
        plot(rows, tmp_path / "trade_off.png", title="another")
    assert (tmp_path / "trade_off.png").read_bytes() == before
    assert not list(tmp_path.glob(".*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        plot(rows, tmp_path / "file" / "trade_off.png")


def test_a_target_is_part_of_calibrating(case: Case, tmp_path: Path) -> None:
    graphs = calibrated_graphs(case.path, case.clips, tmp_path, method="percentile", target_drop=0)
    for graph in graphs:
        assert graph.rows[-1].kept == graph.kept
        assert graph.rows[-1].loss <= 0
        assert [entry["block"] for entry in graph.quantisation["sensitivity"]] == [d.block for d in graph.damages]
        kept = [node.name for node in onnx.load(graph.file).graph.node if "Quant" in node.op_type]
        assert not [name for name in kept if name.startswith(tuple(f"{block}." for block in graph.kept))]


def test_clips_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(3):
        write_film(tmp_path / f"{index}.mp4", moving_square("left", index))
    decoded: list[str] = []
    original = ClipSet.__iter__

    def counting(self: ClipSet) -> Iterator[Any]:
        for clip in original(self):
            decoded.append(clip.source)
            yield clip

    monkeypatch.setattr(ClipSet, "__iter__", counting)
    clips = tiny_clips(tmp_path, 3)
    held = HeldClips.of(clips)
    first = [clip.frames for clip in held]
    assert all(np.array_equal(one, two.frames) for one, two in zip(first, held, strict=True))
    assert len(decoded) == len(first) == 3
    assert held.labels() is None and len(held) == 3
