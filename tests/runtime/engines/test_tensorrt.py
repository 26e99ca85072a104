"""Our graphs go through TensorRT's real parser and builder. TensorRT-RTX builds without a GPU; it cannot run here."""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from mar_edge.bundle import open_bundle
from mar_edge.calibration.quantise import quantise
from mar_edge.errors import EngineError, OptionError
from mar_edge.export.graph import write_graph
from mar_edge.export.half.graph import to_half
from mar_edge.export.tensorrt_check import check
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.graph_view import GraphView
from mar_edge.node_names import product_part
from mar_edge.runtime.engines.tensorrt import build as tensorrt_build
from mar_edge.runtime.engines.tensorrt import versions as tensorrt_versions
from mar_edge.runtime.engines.tensorrt.cache import build_to_file
from mar_edge.runtime.engines.tensorrt.messages import make_logger
from tests.conftest import need
from tests.fakes.gpu.real_builder import RTX, build_engine
from tests.fakes.gpu.tensorrt import API
from tests.fakes.step_graphs import write_steps
from tests.fakes.tiny_model import TINY


@pytest.fixture(autouse=True)
def _installed() -> None:
    need(find_spec("tensorrt_rtx") is not None, "tensorrt-rtx-cu12 is not installed")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small graph of ours."""
    path = tmp_path_factory.mktemp("graph") / "graph.onnx"
    torch.manual_seed(0)
    write_graph(build(TINY), 0.5, path)
    return path


@pytest.mark.parametrize("mask", [0.0, 0.5, 0.75])
def test_a_small_graph_builds(tmp_path: Path, mask: float) -> None:
    torch.manual_seed(0)
    write_graph(build(TINY), mask, tmp_path / "graph.onnx")
    built = build_engine(tmp_path / "graph.onnx")
    assert len(built.data) > 10_000
    assert built.layers is not None
    products = {
        node.name for node in onnx.load(tmp_path / "graph.onnx").graph.node if node.op_type in ("MatMul", "Gemm")
    }
    assert built.layers.products == dict.fromkeys(products, "fp32")  # every one of them is told


def test_a_dense_videomae_graph_builds(tmp_path: Path) -> None:
    config: ModelConfig = replace(TINY, classifier="mean_pool", decoder_depth=0, layer_scale=True)
    write_graph(build(config), 0.0, tmp_path / "graph.onnx")
    assert len(build_engine(tmp_path / "graph.onnx").data) > 10_000


def test_a_step_graph_builds(tmp_path: Path) -> None:
    bundle = write_steps(tmp_path / "steps.mar", masks=(50,), kept=("float16",))
    for variant in bundle.manifest.variants:  # with keys and values in FP32 and in FP16
        graph = bundle.graph_path(variant)
        built = tensorrt_build.build(graph, module=RTX, batch=(1, 1, 4), precision="fp32")
        assert built.layers is not None
        products = {node.name for node in onnx.load(graph).graph.node if node.op_type in ("MatMul", "Gemm")}
        assert set(built.layers.products) == products
    model = onnx.load(graph)
    del model.graph.input[1]  # the clock
    for node in model.graph.node:
        node.input[:] = ["bias_clock" if name == "step" else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), "bias_clock"))
    onnx.save(model, tmp_path / "graph.onnx")
    with pytest.raises(
        EngineError, match=r"has frames .* and \d more; .* for a step graph step, bias, and past_X for every"
    ):
        tensorrt_build.build(tmp_path / "graph.onnx", module=RTX)


def test_egomotion_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAR_EDGE_CACHE", str(tmp_path))
    bundle = open_bundle("egomotion")
    for variant in bundle.manifest.variants:
        check(bundle.graph_path(variant))
        built = build_to_file(bundle.graph_path(variant), variant, module=RTX, out=tmp_path / "out.engine")
        assert built.size_bytes == (tmp_path / "out.engine").stat().st_size > variant.size_bytes // 4
        assert built.path.is_file()


def test_an_engine_of_another_precision_is_refused(graph: Path) -> None:
    with pytest.raises(EngineError, match=r"but not in fp16: encoder.embed/MatMul, .* and \d+ more of 27 .*27 in fp32"):
        build_engine(graph, "fp16")
    build_engine(graph, "fp16", kept=("encoder", "classifier"))


@pytest.mark.parametrize("half", [False, True])
def test_int8_products_are_int8_in_the_engine(graph: Path, tmp_path: Path, half: bool) -> None:
    model = onnx.load(graph)
    view = GraphView(model)
    quantised = quantise(model, dict.fromkeys(view.shapes, 4.0), placement="tensorrt", kept=["classifier.head"])
    if half:
        quantised = to_half(quantised, "fp16", ["classifier.head"])
    onnx.save(quantised, tmp_path / "graph.onnx")
    built = build_engine(tmp_path / "graph.onnx", "int8", kept=("classifier.head",))
    assert built.layers is not None
    wide = {product_part(name) for name, kind in built.layers.products.items() if kind != "int8"}
    # heads of width 12 are not quantised; TensorRT-RTX splits the joint product of queries, keys and values, and widens it
    known = {part for part in wide if part.endswith((".attn.qkv", ".attn.scores", ".attn.mix"))} | {"classifier.head"}
    assert wide == known
    assert len(wide) < len(built.layers.products) / 2


def test_the_node_that_the_parser_refuses_is_named(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph)
    (softmax,) = [node for node in model.graph.node if node.name == "encoder.blocks.1.attn/Softmax"]
    softmax.op_type = "Softmaxx"
    onnx.save(model, tmp_path / "graph.onnx")
    with pytest.raises(
        EngineError,
        match=r"cannot read graph.onnx: Softmaxx 'encoder.blocks.1.attn/Softmax' in encoder.blocks.1.attn: ",
    ):
        tensorrt_build.build(tmp_path / "graph.onnx", module=RTX)
    (tmp_path / "graph.onnx").write_bytes(b"not a graph")
    with pytest.raises(EngineError, match="cannot read graph.onnx: the file: "):
        tensorrt_build.build(tmp_path / "graph.onnx", module=RTX)
    with pytest.raises(EngineError, match="cannot be read: No such file"):
        tensorrt_build.build(tmp_path / "none.onnx", module=RTX)


def test_types_that_do_not_fit_are_an_error(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph)  # strong typing: nothing is converted silently
    (add,) = [node for node in model.graph.node if node.name == "encoder.blocks.0.fc1/Add"]
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    bias = next(constants[name] for name in add.input if name in constants)
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias).astype(np.float16), bias.name))
    onnx.save(model, tmp_path / "graph.onnx")
    with pytest.raises(EngineError, match=r"encoder.blocks.0.fc1/Add"):
        tensorrt_build.build(tmp_path / "graph.onnx", module=RTX)


def test_a_graph_with_other_inputs_is_refused(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Relu", ["x"], ["y"], name="a/Relu")],
            "g",
            [value("x", onnx.TensorProto.FLOAT, ["batch", 3])],
            [value("y", onnx.TensorProto.FLOAT, ["batch", 3])],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 19)],
        ir_version=9,
    )
    onnx.save(model, tmp_path / "graph.onnx")
    with pytest.raises(EngineError, match=r"has x .* expected frames uint8 \(batch, T, H, W, 3\) and logits float32,"):
        tensorrt_build.build(tmp_path / "graph.onnx", module=RTX)


def test_options_that_cannot_be(graph: Path) -> None:
    with pytest.raises(OptionError, match="batch 4:1:2 is invalid; give smallest:typical:largest"):
        tensorrt_build.build(graph, module=RTX, batch=(4, 1, 2))
    with pytest.raises(OptionError, match="workspace 0 MiB is invalid"):
        tensorrt_build.build(graph, module=RTX, workspace_mib=0)
    with pytest.raises(OptionError, match=r"does not support compute capability 9.9; it supports 7.5, 8.0, 8.6"):
        tensorrt_build.build(graph, module=RTX, compute_capabilities=["9.9"])


def test_other_gpus_can_be_built_for(graph: Path) -> None:
    usual, chosen = (
        tensorrt_build.build(graph, module=RTX, compute_capabilities=targets).data for targets in ((), ("8.6", "12.0"))
    )
    assert len(chosen) != len(usual)
    with pytest.raises(EngineError, match=r"FP32 GEMM is not supported\. .*on Turing. Choose the fp16 graph"):
        tensorrt_build.build(graph, module=RTX, compute_capabilities=["7.5"])


def test_loading_without_a_gpu_says_so(graph: Path) -> None:
    dialect = tensorrt_versions.load(RTX)
    logger = make_logger(dialect.trt)
    engine = dialect.trt.Runtime(logger).deserialize_cuda_engine(tensorrt_build.build(graph, module=RTX).data)
    need(engine is None, "there is a GPU here, so nothing fails")
    from mar_edge.runtime.engines.tensorrt.messages import explain

    assert "there is no NVIDIA GPU with a driver for this CUDA version. Check nvidia-smi" in explain(logger.errors)


def test_the_recorded_names_are_those_of_the_installed_version() -> None:
    dialect = tensorrt_versions.load(RTX)
    need(f"tensorrt_rtx {dialect.version}" in API, f"TensorRT-RTX {dialect.version} was not recorded")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, members in API[f"tensorrt_rtx {dialect.version}"].items():
            missing = [member for member in members if not hasattr(getattr(dialect.trt, name), member)]
            assert not missing, name
