"""One code path over all versions of TensorRT: the table of what is used when, timings, messages, lists of layers."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mar_edge.errors import EngineError, OptionError
from mar_edge.runtime.engines.tensorrt import build as tensorrt_build
from mar_edge.runtime.engines.tensorrt import versions as tensorrt_versions
from mar_edge.runtime.engines.tensorrt.layers import inspect_engine, read_log
from mar_edge.runtime.engines.tensorrt.messages import explain
from tests.conftest import ROOT
from tests.fakes.gpu.cuda import ForeignContext, Machine
from tests.fakes.gpu.graph import write_graph
from tests.fakes.gpu.tensorrt import API, VERSIONS, make_module

TENSORRT = "tensorrt 11.4.0.106"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph with one product."""
    write_graph(tmp_path / "mask50-fp32.onnx")
    return tmp_path / "mask50-fp32.onnx"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Machine]:
    """Put a version on a computer with a GPU whose context is current."""

    def make(version: str) -> Machine:
        machine = Machine(("Orin", (8, 7), 1 << 20))
        machine.stack.append(ForeignContext())
        module = make_module(version, machine)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return machine

    return make


# ---- versions


@pytest.mark.parametrize(
    ("version", "flag", "timings", "graphs", "report"),
    [
        ("tensorrt 10.3.0", True, True, "captured", "not told"),
        ("tensorrt 10.13.3.9", True, True, "captured", "inspector"),
        ("tensorrt 10.16.1.11", True, True, "captured", "inspector"),
        ("tensorrt 11.0.0.114", False, True, "captured", "log"),
        ("tensorrt 11.4.0.106", False, True, "captured", "log"),
        ("tensorrt_rtx 1.7.1.116", False, False, "built in", "log"),
    ],
)
def test_what_is_used_when(
    install: Callable[[str], Machine],
    graph: Path,
    tmp_path: Path,
    version: str,
    flag: bool,
    timings: bool,
    graphs: str,
    report: str,
) -> None:
    machine = install(version)
    module, number = version.split()
    dialect = tensorrt_versions.load(module)
    assert (dialect.version, bool(dialect.network_flags), dialect.release.cuda_graph) == (number, flag, graphs)
    said: list[str] = []
    built = tensorrt_build.build(
        graph, module=module, timing_cache=tmp_path / "timings", precision="fp32", workspace_mib=64, say=said.append
    )
    header = json.loads(built.data.split(b"\n")[0])
    assert header["version"] == version
    assert header["workspace"] == {"WORKSPACE": 64 << 20}
    assert (tmp_path / "timings").exists() == timings
    assert (built.layers is None) == (report == "not told") == bool(said)
    assert machine.calls.count("deserialize_cuda_engine") == (report != "log")
    assert not machine.broken  # not weakly typed, no TF32, the GPU's context current


def test_the_names_that_tell_versions_apart() -> None:
    """The table stands on these, as NVIDIA's bindings have them."""

    def has(version: str, kind: str, name: str) -> bool:
        return name in API[version].get(kind, ())

    for version in VERSIONS:
        release = tensorrt_versions.find_release(*version.split())
        assert has(version, "NetworkDefinitionCreationFlag", "STRONGLY_TYPED")
        weak = has(version, "BuilderFlag", "FP16"), has(version, "IBuilderConfig", "int8_calibrator")
        assert weak == ((release.typing == "flag"),) * 2
        assert has(version, "NetworkDefinitionCreationFlag", "EXPLICIT_BATCH") == (release.typing == "flag")
        assert has(version, "IRuntimeConfig", "cuda_graph_strategy") == (release.cuda_graph == "built in")
        assert has(version, "IBuilderConfig", "set_compute_capability") == release.portable


@pytest.mark.parametrize(
    ("engine", "version", "message"),
    [
        ("tensorrt", "8.6.1", r"TensorRT 8.6.1 is too old; mar-edge supports 10.3 to 11.x. Upgrade it"),
        ("tensorrt", "10.2.0.post1", "is too old"),
        ("tensorrt", "12.0.1", "newer than this mar-edge supports .* pip install --upgrade mar-edge"),
        ("tensorrt-rtx", "2.0", "TensorRT-RTX 2.0 is newer"),
        ("tensorrt", "unknown", "TensorRT unknown is too old"),
    ],
)
def test_versions_that_are_not_known(engine: str, version: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = engine.replace("-", "_")
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(EngineError, match=message):
        tensorrt_versions.load(engine)


def test_a_module_that_does_not_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(EngineError, match=r"tensorrt is installed but cannot be loaded: libnvinfer.so.10: cannot open"):
        tensorrt_versions.load("tensorrt")


def test_the_doc_has_the_table() -> None:
    text = (ROOT / "docs" / "how-to" / "tensorrt.md").read_text()
    for row in tensorrt_versions.RELEASES:
        title = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}[row.module]
        cells = [
            f"{title} {row.first[0]}.{row.first[1]} to {row.last}.x",
            "`STRONGLY_TYPED`" if row.typing == "flag" else "always",
            "yes" if row.timing_cache else "no",
            row.cuda_graph,
            "any GPU" if row.portable else "the GPU it was built on",
            row.where,
        ]
        assert f"| {' | '.join(cells)} |" in text


# ---- building


def test_what_cannot_be_built_says_why(install: Callable[[str], Machine], graph: Path) -> None:
    machine = install(TENSORRT)
    machine.fail = ("build_serialized_network", 1)
    with pytest.raises(
        EngineError,
        match=r"TensorRT 11.4.0.106 cannot build mask50-fp32.onnx: Error Code 10: Internal Error \(Could not find any "
        r"implementation for node encoder.blocks.0.fc1/MatMul.\); this is often a lack of memory: raise the workspace limit",
    ):
        tensorrt_build.build(graph, module="tensorrt")
    machine.fail = ("Builder", 2)
    with pytest.raises(EngineError, match=r"cannot be started: .*there is no NVIDIA GPU with a driver"):
        tensorrt_build.build(graph, module="tensorrt")
    with pytest.raises(OptionError, match="builds for the GPU it runs on, not for 8.6; tensorrt-rtx builds for others"):
        tensorrt_build.build(graph, module="tensorrt", compute_capabilities=["8.6"])


def test_timings_are_kept_and_merged(install: Callable[[str], Machine], graph: Path, tmp_path: Path) -> None:
    machine = install(TENSORRT)
    timings = tmp_path / "folder" / "timings"
    said: list[str] = []

    def build() -> list[bytes]:
        tensorrt_build.build(graph, module="tensorrt", timing_cache=timings, say=said.append)
        return timings.read_bytes().split(b"\n")

    stamp = TENSORRT.encode() + b" Orin"
    assert build() == [stamp, b"classifier.head/MatMul_myl0_0"]
    timings.write_bytes(stamp + b"\nanother graph's")
    assert build() == [stamp, b"another graph's", b"classifier.head/MatMul_myl0_0"]
    timings.write_bytes(stamp + b"\n")
    builder = sys.modules["tensorrt"].Builder
    finish = builder.build_serialized_network

    def finish_after_another(self: Any, network: Any, config: Any) -> Any:
        timings.write_bytes(stamp + b"\nmeanwhile")
        return finish(self, network, config)

    builder.build_serialized_network = finish_after_another
    assert build() == [stamp, b"classifier.head/MatMul_myl0_0", b"meanwhile"]
    assert not said
    timings.write_bytes(b"of another version")
    builder.build_serialized_network = finish
    assert build() == [stamp, b"classifier.head/MatMul_myl0_0"]
    assert len(said) == 1
    assert "is of another version or GPU, or damaged; kernels are measured again" in said[0]
    timings.write_bytes(stamp + b"\nkept")
    machine.calls.clear()
    machine.fail = ("build_serialized_network", 1)
    with pytest.raises(EngineError):
        build()
    assert timings.read_bytes() == stamp + b"\nkept"
    assert [path.name for path in timings.parent.iterdir()] == ["timings"]


@pytest.mark.parametrize(
    ("message", "cure"),
    [
        (
            "[virtualMemoryBuffer.cpp::resizePhysical::140] Error Code 2: OutOfMemory (Requested size was 123 bytes.)",
            "the GPU's memory is full",
        ),
        ("Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[a...b]}.)", "--"),
        ("cuInit failed: no CUDA-capable device is detected", "no NVIDIA GPU with a driver"),
        ("Target GPU SM 53 is not supported by this TensorRT release.", "does not support this GPU"),
        (
            "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion stdVersionRead == "
            "kSERIALIZATION_VERSION failed.Version tag does not match.)",
            "built by another version",
        ),
        ("cuStreamSynchronize failed: an illegal memory access was encountered", "Restart the process"),
    ],
)
def test_messages_are_explained(message: str, cure: str) -> None:
    told = explain(["Error Code 9: something before", message])
    assert "something before" not in told
    assert (cure if cure != "--" else "this is often a lack of memory") in told


def test_messages_without_a_known_cause() -> None:
    assert explain([]) == "it reports no reason"
    assert explain(["first\n thing", "second"]) == "first thing"
    # a full memory is also reported as no implementation: the cause is said
    both = ["Could not find any implementation for node a", "GPU memory allocation error: out of memory"]
    assert "the GPU's memory is full" in explain(both)


# ---- lists of layers


def tensor(kind: str, dims: str = "[1,64,96]") -> str:
    return (
        f"{{ Name: x, Dimensions: {dims}, Strides: [1], Datatype: {kind}, Format: (Linear) Row major linear format }}"
    )


def line(kind: str, inputs: list[str], constants: list[str], *nodes: str) -> str:
    """As TensorRT-RTX 1.7 logs a layer."""
    told = "".join(f"[ONNX Layer: {node}]" for node in nodes)
    return (
        f"Name: l, LayerType: {kind}, Inputs: [ {', '.join(inputs)}], Constants: [ {', '.join(constants)}], "
        f"Outputs: [ {tensor('Float')}], TacticName: t, StreamId: 0, Metadata: {told}"
    )


def test_the_precision_of_each_product_is_read() -> None:
    factors = [tensor("Float", "[1]")] * 2
    report = read_log(
        "Layers:\n"
        + "\n".join(
            [
                line("kgen", [tensor("UInt8")], [], "/Cast"),
                line("gemm", [tensor("Int8")], [tensor("Int8"), *factors], "a.fc1/MatMul"),
                line("kgen", [tensor("Float")] * 2, [tensor("Float")], "a.fc1/MatMul", "a.fc1/Add"),  # its bias
                line("gemm", [tensor("Half"), tensor("Half", "[-1,64]")], factors, "a.attn/MatMul_2"),
                line("runtime_fusion", [tensor("Int8"), tensor("Float")], [], "a.attn/MatMul"),
                line("kgen", [tensor("BFloat16")], [tensor("BFloat16")], "classifier.head/Gemm"),
                line("runtime_fusion", [tensor("Half")], factors, "b.fc1/MatMul"),
            ]
        )
        + "\n\nI/O Tensors:\n Name: frames, IOMode: Input, DataType: UInt8"
    )
    assert report is not None
    assert report.products == {
        "a.fc1/MatMul": "int8",
        "a.attn/MatMul_2": "fp16",
        "a.attn/MatMul": "fp32",  # weights were made wide again
        "classifier.head/Gemm": "bf16",
        "b.fc1/MatMul": "fp16",  # factors are no operands
    }
    assert report.misses("int8") == []
    assert report.misses("fp16", kept=["a.fc1", "a.attn"]) == ["classifier.head/Gemm"]
    assert report.misses("fp16", kept=["a.at", "classifier"]) == ["a.fc1/MatMul", "a.attn/MatMul"]
    assert report.misses("fp16", kept=["a.attn.qkv", "classifier", "a.fc1"]) == []
    assert "1 in int8" in report.summary()
    fp32 = read_log("Layers:\n" + line("gemm", [tensor("Float")], [tensor("Float")], "a.fc1/MatMul"))
    assert fp32 is not None
    assert fp32.misses("int8") == ["a.fc1/MatMul"]


def test_layers_that_hide_what_they_do_are_not_believed() -> None:
    assert read_log("") is None
    assert read_log("Layers:\n" + line("kgen", [tensor("Float")], [], "/Cast")) is None
    hidden = line("myelin", [tensor("UInt8")], [], "/Cast", "a.fc1/MatMul")
    assert read_log("Layers:\n" + hidden) is None


@pytest.mark.parametrize(
    ("text", "products"),
    [
        (
            json.dumps(
                {
                    "Layers": [
                        {
                            "Name": "fc1",
                            "LayerType": "gemm",
                            "Inputs": [
                                {"Name": "x", "Dimensions": [1, 64], "Format/Datatype": "Row major linear FP16 format"}
                            ],
                            "Outputs": [],
                            "Weights": {"Type": "Half", "Count": 4096},
                            "Metadata": "[ONNX Layer: a.fc1/MatMul]",
                        }
                    ],
                    "Bindings": ["frames", "logits"],
                }
            ),
            {"a.fc1/MatMul": "fp16"},
        ),
        (json.dumps({"Layers": ["fc1", "fc2"], "Bindings": []}), None),
        ("not JSON", None),
    ],
)
def test_the_inspector_is_read(text: str, products: dict[str, str] | None) -> None:
    engine = types.SimpleNamespace(
        create_engine_inspector=lambda: types.SimpleNamespace(get_engine_information=lambda _format: text)
    )
    report = inspect_engine(types.SimpleNamespace(LayerInformationFormat=types.SimpleNamespace(JSON=1)), engine)
    assert (None if report is None else report.products) == products
