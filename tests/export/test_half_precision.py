"""FP16 and BF16 graphs: typed as they say, near FP32 where half is really computed, and repaired where it is not enough."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from mar_edge.bundle import BUILTIN, open_bundle
from mar_edge.errors import ExportError
from mar_edge.export.graph import write_graph
from mar_edge.export.half.emulation import emulate, session
from mar_edge.export.half.parts import covered, leaves
from mar_edge.export.half.precision import choose_kept, to_half
from mar_edge.export.precision_check import check_precision
from mar_edge.export.tensor_types import element_types
from mar_edge.model.bundle_weights import read_bundle
from mar_edge.model.config import build
from mar_edge.model.mar import BridgingClassifier
from mar_edge.runtime.engines.openvino_core import openvino_core
from mar_edge.runtime.measurement.bounds import BOUNDS
from mar_edge.runtime.measurement.clip_set import open_clips
from mar_edge.runtime.measurement.parity import compare
from tests.conftest import need
from tests.fakes.gpu.real_builder import build_engine
from tests.fakes.tiny_model import TINY

Clips = NDArray[np.uint8]
Logits = NDArray[np.float32]

WINDOWED = BUILTIN / "egomotion_window.mar"
MIXED = ("classifier", "encoder.blocks.0.norm1", "encoder.blocks.0.residual", "encoder.blocks.1.attn.softmax")
"""Kept parts of all kinds: a whole module, a norm, sums, a step of attention."""


Change = dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]]
"""What becomes of the constants of nodes, by name."""


def changed(model: ModelProto, change: Change) -> ModelProto:
    """Return a graph with other constants; the exporter shares equal ones, so each node gets its own."""
    result = ModelProto()
    result.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in result.graph.node:
        if node.name in change:
            index = max(index for index, name in enumerate(node.input) if name in constants)
            value = numpy_helper.to_array(constants[node.input[index]])
            node.input[index] = f"{node.name}:changed"
            result.graph.initializer.append(
                numpy_helper.from_array(change[node.name](value).astype(np.float32), node.input[index])
            )
    return result


def run(model: ModelProto, clips: Clips) -> Logits:
    """Return the logits that ONNX Runtime gives without optimisations."""
    logits: Logits = session(model).run(["logits"], {"frames": clips})[0]
    return logits


def run_reference(model: ModelProto, values: dict[str, Any]) -> Logits:
    """Return the first output that ONNX's reference implementation gives."""
    outputs = ReferenceEvaluator(model).run(None, values)
    assert isinstance(outputs, list)
    return np.asarray(outputs[0])


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> ModelProto:
    """An FP32 graph of random weights."""
    torch.manual_seed(0)
    model = build(TINY)
    assert isinstance(model.classifier, BridgingClassifier)
    torch.nn.init.normal_(model.classifier.head.bias)  # one of zeros would not be in the graph
    path = tmp_path_factory.mktemp("graph") / "graph.onnx"
    write_graph(model, 0.5, path)
    return onnx.load(path)


@pytest.fixture(scope="module")
def clips() -> Clips:
    """Four clips of noise."""
    return np.random.default_rng(0).integers(0, 256, (4, *TINY.geometry.clip_shape), dtype=np.uint8)


@pytest.fixture(scope="module")
def egomotion(tmp_path_factory: pytest.TempPathFactory) -> ModelProto:
    """The FP32 graph of a trained model, whose pixels are standardised by clip."""
    model, config, _ = read_bundle(open_bundle(WINDOWED))
    assert (config.input_norm, config.positions) == ("clip", "grid")
    path = tmp_path_factory.mktemp("egomotion") / "graph.onnx"
    write_graph(model, 0.75, path)
    return onnx.load(path)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("kept", [(), MIXED])
def test_a_half_graph_is_near_fp32(graph: ModelProto, clips: Clips, precision: str, kept: Collection[str]) -> None:
    half = to_half(graph, precision, kept)
    onnx.checker.check_model(half, full_check=True)
    assert check_precision(half, precision, kept) == []
    reference = run(graph, clips)
    verdict = compare(reference, run(emulate(half), clips), precision, source="noise", reference_name="fp32 graph")
    assert verdict.missed == ()
    assert verdict.parity.max_abs_error > 1e-5  # it is half, indeed


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_file_is_half_as_large(graph: ModelProto, precision: str) -> None:
    def weights(model: ModelProto) -> int:
        return sum(len(tensor.SerializeToString()) for tensor in model.graph.initializer)

    # all but indices, shapes and the means and deviations of pixels
    assert weights(to_half(graph, precision, ())) < 0.55 * weights(graph)
    assert weights(to_half(graph, precision, ["encoder", "classifier"])) == weights(graph)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_names_stay_and_casts_stand_at_borders_only(graph: ModelProto, precision: str) -> None:
    half = to_half(graph, precision, MIXED)
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    names = [node.name for node in half.graph.node]
    assert len(set(names)) == len(names)
    assert [name for name in names if "/Cast" not in name] == [
        node.name for node in graph.graph.node if node.op_type != "Cast"
    ]
    made_by = {name: node for node in half.graph.node for name in node.output}
    assert not any(made_by[node.input[0]].op_type == "Cast" for node in casts if node.input[0] != "frames")
    targets = [(node.input[0], node.attribute[0].i) for node in casts]
    assert len(set(targets)) == len(targets)
    types = element_types(half)
    assert all(types[node.input[0]] != types[node.output[0]] for node in casts)
    assert [node.name for node in casts if node.name.startswith("encoder.blocks.1")] == [
        "encoder.blocks.1.attn/Cast",
        "encoder.blocks.1.attn/Cast_2",
    ]
    (frames,), (logits,) = half.graph.input, half.graph.output
    assert (frames.name, frames.type.tensor_type.elem_type) == ("frames", TensorProto.UINT8)
    assert (logits.name, logits.type.tensor_type.elem_type) == ("logits", TensorProto.FLOAT)


def test_types_are_those_that_onnx_infers(graph: ModelProto) -> None:
    half = to_half(graph, "bf16", MIXED)
    inferred = shape_inference.infer_shapes(half, strict_mode=True).graph.value_info
    ours = element_types(half)
    assert len(inferred) > 100
    assert all(ours[value.name] == value.type.tensor_type.elem_type for value in inferred)


def test_pixels_are_normalised_in_fp32(egomotion: ModelProto) -> None:
    half = to_half(egomotion, "fp16", ())
    types = element_types(half)
    pixels = [node for node in half.graph.node if node.op_type == "Sqrt"]
    assert len(pixels) == 2  # of the picture, and of its variance
    assert all(types[node.output[0]] == TensorProto.FLOAT for node in pixels)
    first = next(node for node in half.graph.node if node.op_type == "MatMul")
    assert [types[name] for name in first.input] == [TensorProto.FLOAT16] * 2


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_egomotion_keeps_its_answers(egomotion: ModelProto, precision: str) -> None:
    seen = open_clips(open_bundle(WINDOWED).manifest, count=16).stacked()
    kept = choose_kept(egomotion, precision, seen[:2])
    assert kept == ()
    half = to_half(egomotion, precision, kept)
    assert check_precision(half, precision, kept) == []
    reference, logits = run(egomotion, seen), run(emulate(half), seen)
    verdict = compare(reference, logits, precision, source="demo", reference_name="fp32 graph")
    assert verdict.missed == ()
    assert verdict.parity.top1_agreement == 1


@pytest.mark.parametrize("kind", ["mean_pool", "first_token"])
def test_other_classifiers_and_layer_scale(kind: str, clips: Clips, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = replace(TINY, classifier=kind, decoder_depth=0, layer_scale=True)  # type: ignore[arg-type]
    write_graph(build(config), 0.0, tmp_path / "graph.onnx")
    dense = onnx.load(tmp_path / "graph.onnx")
    kept = ("encoder.blocks.1.residual", "classifier.head")
    half = to_half(dense, "fp16", kept)
    onnx.checker.check_model(half, full_check=True)
    assert check_precision(half, "fp16", kept) == []
    types = element_types(half)
    gains = [node for node in half.graph.node if node.name.startswith("encoder.blocks.1/Mul")]
    assert TensorProto.FLOAT in {types[node.output[0]] for node in gains}  # LayerScale is of the residual, GELU is not
    verdict = compare(run(dense, clips), run(emulate(half), clips), "fp16", source="noise", reference_name="fp32 graph")
    assert verdict.missed == ()


# what half precision does


def test_emulation_overflows_where_onnx_runtime_does_not() -> None:
    """40000 + 40000 - 40000: infinite in FP16, and 40000 where a CPU computes an FP16 graph in FP32."""
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], "Cast", to=TensorProto.FLOAT16),
        helper.make_node("Add", ["h", "h"], ["sum"], "Add"),
        helper.make_node("Sub", ["sum", "h"], ["rest"], "Sub"),
        helper.make_node("Cast", ["rest"], ["y"], "Cast_2", to=TensorProto.FLOAT),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    model = helper.make_model(
        helper.make_graph(nodes, "sum", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 19)], ir_version=10
    )
    values = {"x": np.array([4e4, 1.0], np.float32)}
    assert session(model).run(None, values)[0].tolist() == [4e4, 1]
    assert session(emulate(model)).run(None, values)[0].tolist() == [np.inf, 1]
    with np.errstate(over="ignore"):
        assert run_reference(model, values).tolist() == [np.inf, 1]
    optimised = ort.InferenceSession(emulate(model).SerializeToString(), providers=["CPUExecutionProvider"])
    assert optimised.run(None, values)[0].tolist() == [np.inf, 1]  # not even its optimiser takes the casts out


def test_emulation_errs_as_true_half_arithmetic_does(graph: ModelProto, clips: Clips) -> None:
    """ONNX's reference computes in numpy's float16, node by node; its layer norms are FP32 inside, ours are not."""
    half = to_half(graph, "fp16", ())
    reference = run(graph, clips)
    truth = np.abs(run_reference(half, {"frames": clips}) - reference).mean()
    emulated = np.abs(run(emulate(half), clips) - reference).mean()
    assert truth > 0
    assert 0.5 * truth < emulated < 4 * truth


# what must not be half


def channel_at(number: float) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a change of one channel of a bias."""
    return lambda bias: np.where(np.arange(len(bias)) == 3, np.float32(number), bias)


BLOCK = "encoder.blocks.1"
OUTLIER: Change = {"encoder.blocks.0.fc2/Add": channel_at(700)}
"""One channel of the residual stream is far from the others, as large ViTs have it: its square overflows in norms."""
STREAM: Change = {f"{BLOCK}.attn.proj/Add": channel_at(4e4), f"{BLOCK}.fc2/Add": channel_at(4e4)}
"""The residual stream itself goes beyond 65504."""
SUM: Change = {"classifier.blocks.1.fc2/Add": lambda bias: bias + np.tile([4000, -4000], 12)}
"""The sum over tokens overflows, and their mean does not."""
WEIGHTS: Change = {
    f"{BLOCK}.fc1/MatMul": lambda weight: weight * 1e6,
    f"{BLOCK}.fc2/MatMul": lambda weight: weight / 1e6,
}
"""Weights that FP16 cannot hold."""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (OUTLIER, (f"{BLOCK}.norm1", f"{BLOCK}.norm2", "encoder.norm")),
        (STREAM, (f"{BLOCK}.attn.proj", f"{BLOCK}.fc2", f"{BLOCK}.norm2", f"{BLOCK}.residual", "encoder.norm")),
        (SUM, ("classifier.norm", "classifier.pool")),
        (WEIGHTS, (f"{BLOCK}.fc1", f"{BLOCK}.fc2", f"{BLOCK}.gelu")),
    ],
)
def test_what_overflows_stays_fp32(graph: ModelProto, change: Change, expected: tuple[str, ...], clips: Clips) -> None:
    model = changed(graph, change)
    reference = run(model, clips)
    try:
        logits = run(emulate(to_half(model, "fp16", ())), clips)
    except ExportError as error:
        assert change is WEIGHTS
        assert "a weight of encoder.blocks.1.fc1 is" in str(error)
        assert "keep that part in fp32" in str(error)
    else:  # not always infinite: what is divided by an infinite deviation is 0, and the answer silently wrong
        assert not np.abs(logits - reference).max() < 10 * BOUNDS["fp16"].max_abs_error
    said: list[str] = []
    kept = choose_kept(model, "fp16", clips, progress=lambda task, _done, _total: said.append(task))
    assert kept == expected
    assert f"{len(expected)} parts would overflow fp16" in said
    verdict = compare(
        reference, run(emulate(to_half(model, "fp16", kept)), clips), "fp16", source="noise", reference_name="fp32"
    )
    assert verdict.missed == ()
    assert choose_kept(model, "bf16", clips) == ()  # whose range is that of FP32


def _take_off(graph: ModelProto) -> Change:
    """A large number that the last layer takes off again: it does not overflow, and drowns the rest."""
    head = next(node for node in graph.graph.node if node.name == "classifier.head/Gemm")
    weight = next(numpy_helper.to_array(tensor) for tensor in graph.graph.initializer if tensor.name == head.input[1])
    return {
        "classifier.norm/LayerNormalization": lambda bias: bias + 500,
        "classifier.head/Gemm": lambda bias: bias - 500 * weight.sum(axis=1),
    }


def _offset(_graph: ModelProto) -> Change:
    """The residual stream is far from zero: norms take the offset off, and the rounding of what was added to it stays."""
    return {"encoder.blocks.0.fc2/Add": lambda bias: bias + 100}


@pytest.mark.parametrize(
    ("change", "precision", "named"),
    [
        (_take_off, "fp16", {"classifier.head", "classifier.norm"}),
        (_take_off, "bf16", {"classifier.head", "classifier.norm"}),
        (_offset, "bf16", {"encoder.blocks.0.fc2", "encoder.blocks.0.residual", "encoder.norm"}),
    ],
)
def test_what_costs_parity_stays_fp32(
    graph: ModelProto, change: Callable[[ModelProto], Change], precision: str, named: set[str], clips: Clips
) -> None:
    model = changed(graph, change(graph))
    reference = run(model, clips)
    without = compare(
        reference, run(emulate(to_half(model, precision, ())), clips), precision, source="noise", reference_name="fp32"
    )
    assert without.missed
    kept = choose_kept(model, precision, clips)
    assert named <= set(kept)
    assert len(kept) <= 6  # of 51 parts
    verdict = compare(
        reference,
        run(emulate(to_half(model, precision, kept)), clips),
        precision,
        source="noise",
        reference_name="fp32",
    )
    assert verdict.missed == ()


def test_models_that_half_precision_does_not_suit(graph: ModelProto, clips: Clips) -> None:
    products = [node.name for node in graph.graph.node if node.op_type in ("MatMul", "Gemm")]
    weighted = [name for name in products if ".attn/" not in name or name.endswith("/MatMul")]
    huge = changed(graph, dict.fromkeys(weighted, lambda weight: weight * 1e5))
    with pytest.raises(ExportError, match="no matrix product of this model can be computed in fp16 within its bounds"):
        choose_kept(huge, "fp16", clips[:1])
    damaged = changed(graph, {"encoder.embed/Add": channel_at(np.nan)})
    with pytest.raises(ExportError, match="fp32 graph itself returns NaN or infinite logits"):
        choose_kept(damaged, "fp16", clips[:1])


# names and checks


def test_names_of_parts(graph: ModelProto) -> None:
    found = set(leaves(graph).values())
    steps = ["norm1", "attn.qkv", "attn.scores", "attn.softmax", "attn.mix", "attn.proj"]
    steps += ["norm2", "fc1", "gelu", "fc2", "residual"]
    blocks = {
        f"{part}.blocks.{index}.{step}" for part in ("encoder", "classifier") for index in (0, 1) for step in steps
    }
    others = {"encoder.embed", "encoder.positions", "encoder.norm"}
    others |= {"classifier.reduce", "classifier.pool", "classifier.norm", "classifier.head"}
    assert found == blocks | others | {""}
    assert covered("encoder.blocks.1.attn.proj", ["encoder.blocks.1"])
    assert not covered("encoder.blocks.10.fc1", ["encoder.blocks.1"])
    with pytest.raises(ExportError, match=r"no part 'encoder\.blocks\.7' to keep in fp32; parts are named as class"):
        to_half(graph, "fp16", ["encoder.blocks.7"])


def test_a_graph_that_is_not_what_it_says_is_found(graph: ModelProto) -> None:
    assert check_precision(graph, "fp32", ()) == []
    (problem,) = [text for text in check_precision(graph, "fp16", ()) if "fp32" in text]
    assert problem.startswith("operators have inputs or outputs in fp32 that should be fp16 (1")
    half = to_half(graph, "fp16", ())
    assert "tensors are half or INT8" in check_precision(half, "fp32", ())[0]
    assert "operators have inputs or outputs in fp16 that should be bf16" in check_precision(half, "bf16", ())[0]
    assert check_precision(half, "fp16", ["encoder.norm"]) == [
        "operators have inputs or outputs in fp16 that should be fp32 (encoder.norm/LayerNormalization)"
    ]
    mixed = to_half(graph, "fp16", ["encoder.blocks.0.fc1"])
    assert check_precision(mixed, "fp16", ()) == [
        "operators have inputs or outputs in fp32 that should be fp16 (2, such as encoder.blocks.0.fc1/MatMul)"
    ]
    assert "the graph has no part 'encoder.blocks.9'" in check_precision(half, "fp16", ["encoder.blocks.9"])[0]
    everything = ["encoder", "classifier"]
    assert check_precision(to_half(graph, "fp16", everything), "fp16", everything) == ["no matrix product is fp16"]


def _quantised(model: ModelProto, wanted: Callable[[str], bool]) -> ModelProto:
    """Return a graph whose products with weights, as far as wanted, are in INT8 of arbitrary scales."""
    result = ModelProto()
    result.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[Any] = []
    scale = numpy_helper.from_array(np.array(0.05, np.float32), "scale")
    zero = numpy_helper.from_array(np.array(0, np.int8), "zero")
    result.graph.initializer.extend([scale, zero])
    for node in result.graph.node:
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in weights and wanted(node.name):
            name, values = node.name, numpy_helper.to_array(weights[node.input[1]])
            stored = numpy_helper.from_array(np.clip(values / 0.05, -127, 127).astype(np.int8), f"{name}:int8")
            result.graph.initializer.append(stored)
            q = helper.make_node("QuantizeLinear", [node.input[0], "scale", "zero"], [f"{name}/Q"], f"{name}/Q")
            dq = helper.make_node("DequantizeLinear", [f"{name}/Q", "scale", "zero"], [f"{name}/DQ"], f"{name}/DQ")
            w = helper.make_node("DequantizeLinear", [f"{name}:int8", "scale", "zero"], [f"{name}/W"], f"{name}/W")
            node.input[0], node.input[1] = f"{name}/DQ", f"{name}/W"
            nodes += [q, dq, w]
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del result.graph.node[:]
    result.graph.node.extend(copies)
    return result


def test_an_int8_graph_that_is_not_one_is_found(graph: ModelProto) -> None:
    whole = _quantised(graph, lambda _name: True)
    onnx.checker.check_model(whole, full_check=True)
    assert check_precision(whole, "int8", ()) == []
    assert "products with weights do not have INT8" in check_precision(graph, "int8", ())[0]
    assert check_precision(graph, "int8", ())[-1] == "nothing is quantised"
    kept = ["encoder.blocks.1"]
    partly = _quantised(graph, lambda name: not name.startswith("encoder.blocks.1."))
    assert check_precision(partly, "int8", kept) == []
    assert check_precision(partly, "int8", ()) == [
        "products with weights do not have INT8 tokens and INT8 weights (4, such as encoder.blocks.1.attn/MatMul)"
    ]
    assert check_precision(whole, "int8", kept) == [
        "products are INT8 although their parts must be FP32 (4, such as encoder.blocks.1.attn/MatMul)"
    ]
    assert "tensors are half or INT8" in check_precision(whole, "fp32", ())[0]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_what_is_not_int8_becomes_half(graph: ModelProto, precision: str) -> None:
    half = to_half(_quantised(graph, lambda _name: True), precision, ())
    onnx.checker.check_model(half, full_check=True)
    assert check_precision(half, "int8", ()) == []
    types = element_types(half)
    assert {types[node.output[0]] for node in half.graph.node if node.op_type == "LayerNormalization"} == {
        TensorProto.FLOAT16 if precision == "fp16" else TensorProto.BFLOAT16
    }


# engines


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("kept", [(), (*MIXED, "encoder.blocks.0.attn.scores", "encoder.blocks.1.fc2")])
def test_tensorrt_builds_it_strongly_typed(
    graph: ModelProto, precision: str, kept: tuple[str, ...], tmp_path: Path
) -> None:
    need(find_spec("tensorrt_rtx") is not None, "tensorrt-rtx-cu12 is not installed")
    onnx.save(to_half(graph, precision, kept), tmp_path / "half.onnx")
    layers = build_engine(tmp_path / "half.onnx", precision, kept).layers  # of that precision, but for what is kept
    assert layers is not None
    products = {name: leaf for name, leaf in leaves(graph).items() if name in layers.products}
    assert len(products) == 27
    assert {layers.products[name] for name, leaf in products.items() if not covered(leaf, kept)} == {precision}
    assert {layers.products[name] for name, leaf in products.items() if covered(leaf, kept)} <= {"fp32"}


def test_onnx_runtime_runs_fp16_and_refuses_bf16(graph: ModelProto, clips: Clips) -> None:
    got = run(to_half(graph, "fp16", MIXED), clips)
    assert np.abs(got - run(graph, clips)).max() < BOUNDS["fp16"].max_abs_error
    with pytest.raises(Exception, match="NOT_IMPLEMENTED"):
        session(to_half(graph, "bf16", ()))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_openvino_runs_it(graph: ModelProto, clips: Clips, precision: str, tmp_path: Path) -> None:
    need(find_spec("openvino") is not None, "openvino is not installed")
    onnx.save(to_half(graph, precision, MIXED), tmp_path / "half.onnx")
    compiled = openvino_core().compile_model(tmp_path / "half.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    logits = compiled([clips])[0]
    assert logits.dtype == np.float32
    assert np.abs(logits - run(graph, clips)).max() < BOUNDS[precision].max_abs_error
