"""OpenVINO beside ONNX Runtime: the same results, in the numbers that the graph promises."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mar_edge.bundle import Bundle
from mar_edge.errors import EngineError, FrameError, MissingExtraError
from mar_edge.runtime.engines.openvino import single_times
from mar_edge.runtime.engines.registry import available_engines, create_engine, engine_version, load_graph
from mar_edge.telemetry import import_openvino
from tests.conftest import need
from tests.fakes.bundle import write_bundle
from tests.fakes.environment import BARE, has_bf16
from tests.fakes.family import clips, damage, write_family


@pytest.fixture(scope="module", autouse=True)
def openvino() -> Any:
    """The module."""
    need(find_spec("openvino") is not None, "openvino is not installed")
    return import_openvino()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny model in every precision."""
    return write_family(tmp_path_factory.mktemp("family") / "tiny.mar")


def infer(bundle: Bundle, precision: str, engine: str, **options: Any) -> Any:
    return create_engine(bundle, bundle.variant(precision=precision), engine, **options).infer(clips(3))


def test_fp32_is_what_onnx_runtime_computes(bundle: Bundle) -> None:
    expected = infer(bundle, "fp32", "onnxruntime")
    for options in ({}, {"threads": 1}):
        got = infer(bundle, "fp32", "openvino", **options)
        assert got.dtype == np.float32
        assert np.abs(got - expected).max() <= 1e-4


# what numbers of 11, 8 and 7 bits can be away from FP32 in logits of about 1, in a model of four blocks
@pytest.mark.parametrize(("precision", "bound"), [("fp16", 0.01), ("bf16", 0.08), ("int8", 0.3)])
def test_lower_precisions_come_near(bundle: Bundle, precision: str, bound: float) -> None:
    if precision == "bf16" and not has_bf16():
        pytest.skip("this CPU has no BF16 arithmetic, which nobody can install")
    expected = infer(bundle, "fp32", "onnxruntime")
    got = infer(bundle, precision, "openvino")
    assert 0 < np.abs(got - expected).max() <= bound


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_every_matrix_product_runs_in_the_numbers_of_its_graph(bundle: Bundle, precision: str) -> None:
    # above all FP32, for which OpenVINO would take BF16 by itself
    if precision == "bf16" and not has_bf16():
        pytest.skip("this CPU has no BF16 arithmetic, which nobody can install")
    found = create_engine(bundle, bundle.variant(precision=precision), "openvino").layer_precisions()
    assert found is not None
    # embedding, 4 blocks of 4 products with weights, reduction and head; attention is fused with its softmax
    assert len(found) >= 19
    assert set(found.values()) == {precision}


def test_the_result_is_the_callers_own(bundle: Bundle) -> None:
    engine = create_engine(bundle, bundle.variant(precision="fp32"), "openvino")
    frames = clips(1)
    first = engine.infer(frames)
    kept = first.copy()
    frames[:] = 0
    other = engine.infer(frames)
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, other)
    first[:] = 0
    assert np.array_equal(engine.infer(clips(1)), kept)


def test_frames_may_lie_anywhere_in_memory(bundle: Bundle) -> None:
    engine = create_engine(bundle, bundle.variant(precision="fp32"), "openvino")
    expected = engine.infer(clips(2))
    mirrored = np.ascontiguousarray(clips(2)[:, :, :, ::-1])
    assert np.array_equal(engine.infer(mirrored[:, :, :, ::-1]), expected)
    read_only = clips(2)
    read_only.flags.writeable = False
    assert np.array_equal(engine.infer(read_only), expected)
    with pytest.raises(FrameError, match="the graph expects uint8"):
        engine.infer(clips(1)[..., :1])


def test_threads_may_share_an_engine(bundle: Bundle) -> None:
    engine = create_engine(bundle, bundle.variant(precision="fp32"), "openvino")
    inputs = [clips(1, seed) for seed in range(16)]
    expected = [engine.infer(frames) for frames in inputs]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(engine.infer, inputs))
    assert all(np.array_equal(a, b) for a, b in zip(expected, got, strict=True))


# run in a process of its own, which this fault ends
SIGNAL_AFTER_ENGINES = """
import gc, signal, sys
from pathlib import Path
from threading import Thread
from mar_edge.bundle import Bundle
from mar_edge.runtime.engines.registry import create_engine

bundle = Bundle(Path(sys.argv[1]))
engines = []

def load():
    engines.extend(create_engine(bundle, variant, "openvino") for variant in bundle.manifest.variants)

def end_the_oldest():
    engines.pop(0)
    gc.collect()

for step in sys.argv[2:]:
    thread = Thread(target=end_the_oldest if "end" in step else load)
    if step.endswith("there"):
        thread.start()
        thread.join()
    else:
        thread.run()
assert not engines
arrived = []
signal.signal(signal.SIGUSR1, lambda *_: arrived.append(True))  # as Ctrl-C and the end of a child process arrive
signal.raise_signal(signal.SIGUSR1)
print("arrived", len(arrived))
"""


@pytest.mark.parametrize(
    "steps",
    [
        ["load here", "end here", "end here"],
        ["load here", "end there", "end there"],
        ["load there", "load here", "end here", "end there", "end here", "end there"],
    ],
)
def test_signals_arrive_after_engines_have_ended(tmp_path: Path, steps: list[str]) -> None:
    # each core of OpenVINO leaves an unmapped signal stack behind if it ends in the wrong order or thread
    bundle = write_family(tmp_path / "tiny.mar", precisions=["fp32", "fp16"])
    command = [sys.executable, "-c", SIGNAL_AFTER_ENGINES, str(bundle.path), *steps]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "arrived 1\n", "")


def test_threads_that_ask_first_get_one_core() -> None:
    program = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from mar_edge.runtime.engines.openvino_core import openvino_core\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    cores = list(pool.map(lambda _: openvino_core(), range(8)))\n"
        "print(len(set(map(id, cores))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_a_damaged_graph_is_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = Bundle(write_bundle(tmp_path / "fake.mar"))
    with pytest.raises(EngineError, match=r"OpenVINO rejects .*mask50-fp32\.onnx: \S"):
        create_engine(bundle, bundle.manifest.variants[0], "openvino")
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_is_not_what_the_manifest_says_is_refused(tmp_path: Path) -> None:
    bundle = write_family(tmp_path / "tiny.mar", precisions=["fp32"])

    def other_size(model: Any) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4

    bundle = damage(bundle, "mask50-fp32.onnx", other_size)
    with pytest.raises(EngineError, match=r"mask50-fp32\.onnx"):
        create_engine(bundle, bundle.manifest.variants[0], "openvino")
    fewer = write_family(tmp_path / "tiny.mar", precisions=["fp32"])
    labels = fewer.manifest.model_copy(update={"labels": ["left", "right", "up"]})
    graph = labels.variants[0]
    with pytest.raises(
        EngineError, match=r"returns logits float32 \(batch, 2\), not .* its manifest states .* 3 labels"
    ):
        load_graph(labels, graph, fewer.graph_path(graph), "openvino")


def test_bf16_needs_a_cpu_that_has_it(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class OldCpu:
        def get_property(self, _device: str, name: str) -> Any:
            return {"OPTIMIZATION_CAPABILITIES": ["FP32", "INT8"], "FULL_DEVICE_NAME": "an old CPU"}[name]

    monkeypatch.setattr("mar_edge.runtime.engines.openvino.openvino_core", OldCpu)
    with pytest.raises(EngineError, match=r"this CPU \(an old CPU\) has no BF16 arithmetic"):
        create_engine(bundle, bundle.variant(precision="bf16"), "openvino")


def test_onnx_runtime_says_that_it_has_no_bf16(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="has no bf16 kernels for this CPU.*--engine openvino"):
        create_engine(bundle, bundle.variant(precision="bf16"), "onnxruntime")


def test_without_openvino_one_line_says_how_to_get_it(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mar_edge.extras.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError) as caught:
        create_engine(bundle, bundle.manifest.variants[0], "openvino")
    assert str(caught.value) == "OpenVINO is not installed. Run: pip install 'mar-edge[openvino]'"


def test_the_command_line_says_the_same_where_it_is_missing(tmp_path: Path) -> None:
    need(BARE.exists(), f"no environment without torch at {BARE}; make test makes it")
    for command in (["run", "--source", "demo"], ["verify", "egomotion"], ["profile", "egomotion"]):
        arguments: list[str | Path] = [BARE, "-m", "mar_edge", *command, "--engine", "openvino"]
        done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert done.returncode == 1
        assert done.stderr == "mar-edge: OpenVINO is not installed. Run: pip install 'mar-edge[openvino]'\n"


def test_engines_that_are_there() -> None:
    found = available_engines()
    assert found[0] == "onnxruntime"
    assert "openvino" in found
    assert all(engine_version(name) for name in found)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_tell_the_time_of_their_steps(bundle: Bundle, engine: str) -> None:
    times = create_engine(bundle, bundle.variant(precision="fp32"), engine).layer_times(clips(1), runs=3)
    assert times is not None
    assert min(times.values()) >= 0
    assert sum(times.values()) > 0
    parts = {name.partition("/")[0] for name in times}
    assert {"encoder.embed", "encoder.blocks.0.attn", "encoder.blocks.1.fc2", "classifier.reduce"} <= parts


def test_the_slow_first_run_is_in_no_time_of_openvino() -> None:
    """It counts means of all runs since the graph was compiled."""
    took = [3000.0, 100.0, 110.0, 90.0, 4000.0, 100.0]
    means = [sum(took[: run + 1]) / (run + 1) for run in range(len(took))]
    assert single_times(means) == pytest.approx(took)
    assert single_times([]) == []


def test_openvino_counts_means_of_all_runs(bundle: Bundle) -> None:
    """If it counted single runs, `single_times` would make nonsense of them: totals only grow."""
    engine = create_engine(bundle, bundle.variant(precision="fp32"), "openvino")
    compiled = engine._compile(PERF_COUNT=True)  # type: ignore[attr-defined]
    request = compiled.create_infer_request()
    means: dict[str, list[float]] = {}
    for _ in range(8):
        request.infer({0: clips(1)})
        for layer in request.get_profiling_info():
            means.setdefault(layer.node_name, []).append(1e6 * layer.real_time.total_seconds())
    for found in means.values():
        for run, took_us in enumerate(single_times(found)):
            assert took_us >= -(run + 2)  # whole microseconds are counted


def test_int8_of_onnx_runtime_is_told_apart_from_fp32(bundle: Bundle) -> None:
    for precision in ("fp32", "int8"):
        found = create_engine(bundle, bundle.variant(precision=precision), "onnxruntime").layer_precisions()
        assert found is not None
        assert set(found.values()) == {precision}
        assert "encoder.blocks.1.attn.proj" in {name.partition("/")[0] for name in found}
