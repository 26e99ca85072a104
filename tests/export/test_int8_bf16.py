"""INT8 whose rest is BF16, from the export to OpenVINO: it is what it says, or it is refused."""

from __future__ import annotations

import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto

from mar_edge.bundle import Bundle, open_bundle
from mar_edge.calibration import scheme
from mar_edge.errors import EngineError, ExportError
from mar_edge.export import family as families
from mar_edge.export.calibration_options import CalibrationOptions
from mar_edge.export.exported import Exported
from mar_edge.export.exporter import export
from mar_edge.export.gate import Gate
from mar_edge.export.int8 import calibrate
from mar_edge.export.layer_report import report
from mar_edge.export.precision_check import check_precision
from mar_edge.manifest import Variant
from mar_edge.model.config import build
from mar_edge.runtime.engines.openvino import OpenVinoEngine
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.engines.tensorrt.engine import TensorRTEngine
from mar_edge.runtime.measurement.verification import broken_promise
from tests.conftest import need
from tests.fakes.command_line import fails_with
from tests.fakes.command_line import mar_edge as run
from tests.fakes.environment import has_bf16
from tests.fakes.tiny_model import TINY, tiny_clips

DEMO = CalibrationOptions(clips=4, method="minmax", placements=("cpu",))
TITLE = "mask 50 int8-bf16 for cpu"


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its graphs in FP32 and in both kinds of INT8."""
    out = tmp_path_factory.mktemp("both") / "tiny.mar"
    return export(weights, out, precisions=["fp32", "int8", "int8-bf16"], calibration=DEMO)


@pytest.fixture(scope="module")
def diffuse(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same with attention that is too diffuse for INT8."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheme, "DIFFUSE", -1.0)
        out = tmp_path_factory.mktemp("diffuse") / "tiny.mar"
        return export(weights, out, precisions=["int8-bf16"], calibration=DEMO).bundle


def graph_of(bundle: Bundle) -> tuple[Variant, ModelProto]:
    variant = bundle.variant(precision="int8-bf16")
    return variant, onnx.load(str(bundle.graph_path(variant)))


def in_openvino(bundle: Bundle) -> OpenVinoEngine:
    need(find_spec("openvino") is not None, "openvino is not installed")
    if not has_bf16():
        pytest.skip("this CPU has no BF16 arithmetic, which nobody can install")
    engine = create_engine(bundle, bundle.variant(precision="int8-bf16"), "openvino", threads=1)
    assert isinstance(engine, OpenVinoEngine)
    return engine


def compiled(engine: OpenVinoEngine) -> Counter[tuple[str, str, str]]:
    """Return kind, precision and output precision of what OpenVINO compiled."""
    found: Counter[tuple[str, str, str]] = Counter()
    for layer in engine._compiled.get_runtime_model().get_ordered_ops():
        told: dict[str, Any] = {key: getattr(value, "value", value) for key, value in layer.get_rt_info().items()}
        found[told["layerType"], told["runtimePrecision"], told["outputPrecisions"]] += 1
    return found


def test_it_is_exported_beside_int8(exported: Exported) -> None:
    assert exported.failures == ()
    variants = open_bundle(exported.bundle.path).manifest.variants
    assert [v.title for v in variants] == ["mask 50 fp32", TITLE, "mask 50 int8 for cpu"]
    mixed = variants[1]
    assert (mixed.file, mixed.quantisation["rest"]) == ("mask50-int8-bf16-cpu.onnx", "bf16")
    assert mixed.quantisation["int8_share"] == variants[2].quantisation["int8_share"]
    assert mixed.size_bytes < variants[2].size_bytes  # what is not INT8 is half as large
    assert mixed.parity.kl is not None
    assert mixed.parity.kl < 1e-2


def test_its_graph_has_no_fp32_but_pixels_and_logits(exported: Exported) -> None:
    variant, graph = graph_of(exported.bundle)
    onnx.checker.check_model(graph, full_check=True)
    assert check_precision(graph, "int8-bf16", variant.kept) == []
    floats = [t.name for t in graph.graph.initializer if t.data_type == TensorProto.FLOAT]
    assert len(floats) == 2, floats  # mean and deviation of the pixels
    steps = {
        step.name: step.precision for blocks in report(exported.bundle.graph_path(variant)) for step in blocks.steps
    }
    assert (steps["fc1"], steps["norm1"]) == ("int8", "bf16")


def test_openvino_computes_the_products_in_int8_and_the_rest_in_bf16(exported: Exported) -> None:
    engine = in_openvino(exported.bundle)
    assert set(engine.layer_precisions().values()) == {"int8"}
    layers = compiled(engine)
    assert {precision for kind, precision, _ in layers if kind == "FullyConnected"} == {"i8"}
    assert layers["FullyConnected", "i8", "bf16"] > layers["FullyConnected", "i8", "f32"]
    assert {(precision, out) for kind, precision, out in layers if kind == "Split"} == {("bf16", "bf16")}
    assert sum(n for (kind, precision, _), n in layers.items() if (kind, precision) == ("Subgraph", "bf16")) > 4
    clips = np.random.default_rng(0).integers(0, 256, (2, *TINY.geometry.clip_shape), dtype=np.uint8)
    fp32 = create_engine(exported.bundle, exported.bundle.variant(precision="fp32")).infer(clips)
    assert 0 < np.abs(engine.infer(clips) - fp32).max() < 0.3


def test_attention_too_diffuse_for_int8_is_bf16_whole(diffuse: Bundle) -> None:
    # OpenVINO cannot compile an attention of which half is INT8 and half BF16
    variant, graph = graph_of(diffuse)
    parts = {name.rpartition(".")[0] for name in variant.kept}
    assert variant.kept
    assert set(variant.kept) == {f"{part}.{step}" for part in parts for step in ("scores", "mix")}
    assert check_precision(graph, "int8-bf16", variant.kept) == []
    engine = in_openvino(diffuse)
    found = engine.layer_precisions()
    assert broken_promise(variant, found) is None
    assert {kind for name, kind in found.items() if ".fc" in name} == {"int8"}
    assert any(kind == "Subgraph" and "bf16" in (precision, out) for kind, precision, out in compiled(engine))


def turn_fp32(variant: Variant, graph: ModelProto) -> ModelProto:
    """Return the INT8 graph with an FP32 rest."""
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT
    for tensor in constants.values():
        if tensor.data_type == TensorProto.BFLOAT16:
            value = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    return graph


def turn_bf16(variant: Variant, graph: ModelProto) -> ModelProto:
    """Return the graph with its products in BF16: each reads what would have been quantised."""
    before = {node.output[0]: node for node in graph.graph.node}
    for node in graph.graph.node:
        made = before.get(node.input[0])
        if node.op_type in ("MatMul", "Gemm") and made is not None and made.op_type == "DequantizeLinear":
            node.input[0] = before[made.input[0]].input[0]
    return graph


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (turn_fp32, r"does not compute in int8-bf16.*in fp32 that should be bf16"),
        (turn_bf16, r"does not compute in int8-bf16.*do not have INT8 tokens and INT8 weights"),
    ],
)
def test_a_graph_that_lies_about_its_precision_is_refused(
    exported: Exported, tmp_path: Path, lie: Any, says: str
) -> None:
    variant, graph = graph_of(exported.bundle)
    onnx.save(lie(variant, graph), str(tmp_path / variant.file))
    gate = Gate(build(TINY), exported.bundle.manifest, tiny_clips(None, 1))
    with pytest.raises(ExportError, match=says):
        gate.check(variant, tmp_path / variant.file)


def test_a_rest_that_cannot_be_bf16_costs_this_graph_alone(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_model: ModelProto, precision: str, *_arguments: Any, **_options: Any) -> tuple[str, ...]:
        raise ExportError(f"no matrix product of this model can be computed in {precision}")

    monkeypatch.setattr(families, "choose_kept", refused)
    done = export(weights, tmp_path / "a.mar", precisions=["int8", "int8-bf16"], calibration=DEMO)
    assert [v.title for v in done.bundle.manifest.variants] == ["mask 50 int8 for cpu"]
    (failure,) = done.failures
    assert failure.startswith(f"{TITLE}: no matrix product of this model can be computed in bf16. Next: ")
    assert failure.endswith("or --precision int8")


def test_what_was_to_stay_fp32_must_be_fp32(exported: Exported) -> None:
    variant, graph = graph_of(exported.bundle)
    wrong = check_precision(graph, "int8-bf16", variant.kept, ["encoder.blocks.0.norm1"])
    assert any("in bf16 that should be fp32" in problem for problem in wrong)
    assert check_precision(graph, "int8-bf16", variant.kept, ["encoder.nothing"]) != []


def test_products_that_fall_back_are_told(exported: Exported) -> None:
    variant = exported.bundle.variant(precision="int8-bf16")
    names = {"encoder.embed/MatMul": "int8", "encoder.blocks.0.attn/MatMul_2": "int8", "classifier.head/Gemm": "int8"}
    assert broken_promise(variant, names) is None
    told = broken_promise(variant, {**names, "classifier.head/Gemm": "bf16"})
    assert told == "1 of 3 matrix products run in bf16, not in int8: classifier.head/Gemm"
    kept = variant.model_copy(update={"kept": ("encoder.blocks.0.attn.scores", "encoder.blocks.0.attn.mix")})
    attention = "encoder.blocks.0.attn/MatMul_2"
    assert broken_promise(kept, {**names, attention: "bf16"}) is None
    assert broken_promise(kept, {**names, attention: "fp32"}) is not None
    chosen = {**variant.quantisation, "in_fp32": ["encoder.blocks.0.attn.mix"]}
    assert broken_promise(kept.model_copy(update={"quantisation": chosen}), {**names, attention: "fp32"}) is None


def test_engines_that_cannot_run_it_say_so(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    class OldCpu:
        def get_property(self, _device: str, name: str) -> Any:
            return {"OPTIMIZATION_CAPABILITIES": ["FP32", "INT8"], "FULL_DEVICE_NAME": "an old CPU"}[name]

    bundle = exported.bundle
    variant = bundle.variant(precision="int8-bf16")
    with pytest.raises(EngineError, match="has no bf16 kernels for this CPU.*--engine openvino"):
        create_engine(bundle, variant, "onnxruntime")
    with pytest.raises(EngineError, match="int8-bf16 for cpu is for CPUs, not for tensorrt-rtx"):
        TensorRTEngine(bundle.manifest, variant, bundle.graph_path(variant), module="tensorrt-rtx")
    need(find_spec("openvino") is not None, "openvino is not installed")
    monkeypatch.setattr("mar_edge.runtime.engines.openvino.openvino_core", OldCpu)
    with pytest.raises(EngineError, match=r"this CPU \(an old CPU\) has no BF16 arithmetic"):
        create_engine(bundle, variant, "openvino")


def test_calibrate_makes_what_is_asked_and_renews_what_is_there(exported: Exported, tmp_path: Path) -> None:
    path = Path(shutil.copytree(exported.bundle.path, tmp_path / "tiny.mar"))
    done = run("calibrate", path, "--data", tmp_path, "--precision", "bf16")
    assert done.returncode == 2
    assert "'bf16' is not one of int8, int8-bf16" in done.stderr
    with pytest.raises(ExportError, match="precision 'bf16' is not calibrated; choose from int8-bf16, int8"):
        calibrate(path, DEMO, precisions=["bf16"])
    three = CalibrationOptions(clips=3, method="minmax", placements=("cpu",))
    clips = {v.title: v.quantisation.get("clips") for v in calibrate(path, three).bundle.manifest.variants}
    assert clips == {"mask 50 fp32": None, TITLE: 3, "mask 50 int8 for cpu": 3}
    calibrate(path, DEMO, precisions=["int8-bf16"])
    clips = {v.title: v.quantisation.get("clips") for v in open_bundle(path).manifest.variants}
    assert clips == {"mask 50 fp32": None, TITLE: 4, "mask 50 int8 for cpu": 3}


def test_the_command_line_shows_it(exported: Exported, weights: Path, tmp_path: Path) -> None:
    shown = run("inspect", exported.bundle.path)
    assert TITLE in shown.stdout
    assert "rest bf16" in shown.stdout
    fails_with(
        "int8-bf16 needs clips to measure activations on; add --calibrate CLIPS",
        *("export", weights, "-o", tmp_path / "a.mar", "--precision", "int8-bf16"),
    )
