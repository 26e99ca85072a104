"""Step graphs of a streaming model: every precision behind the gate, on sequences, from checkpoint to bundle and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper
from typer.testing import CliRunner

from mar_edge.bundle import Bundle
from mar_edge.calibration.collection import collect_from
from mar_edge.calibration.trial import Trial
from mar_edge.cli.main import app
from mar_edge.errors import ExportError
from mar_edge.evaluation.labelled_clips import open_labelled_clips
from mar_edge.export.calibration_options import CalibrationOptions
from mar_edge.export.clip_choice import GATE_CLIPS
from mar_edge.export.exporter import export
from mar_edge.export.family import unmeasured
from mar_edge.export.gate import Gate
from mar_edge.export.half.blame import blame_leaves
from mar_edge.export.half.emulation import emulate, session
from mar_edge.export.half.parts import leaves
from mar_edge.export.half.precision import to_half
from mar_edge.export.half.probes import error_probe
from mar_edge.export.int8 import calibrate
from mar_edge.export.layer_report import report
from mar_edge.export.precision_check import check_precision
from mar_edge.export.tensor_types import HALF
from mar_edge.export.tensorrt_check import check
from mar_edge.export.triton import write_triton
from mar_edge.model import checkpoint
from mar_edge.model.bundle_weights import read_bundle
from mar_edge.model.deployed import describe
from mar_edge.model.graph_view import GraphView
from mar_edge.model.torch_engine import open_checkpoint
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.measurement.bounds import BOUNDS, misses
from mar_edge.runtime.measurement.clip_runner import FRESH, PAST, ClipRunner, joined, step_targets
from mar_edge.runtime.measurement.clip_set import open_clips
from mar_edge.runtime.measurement.profiling import Profile
from mar_edge.runtime.measurement.timing import run_in_turns
from tests.conftest import need
from tests.fakes.films import moving_square, write_film
from tests.fakes.tiny_model import STREAM_INFO, TINY_STREAM, tiny_stream

CLIPS = 3
STEPS = 8
LONG = 128

KEPT = (
    "classifier.blocks.0",
    "encoder.blocks.0.attn.rotary",
    "encoder.blocks.1.attn.qkv",
    "encoder.blocks.1.attn.softmax",
)
"""Kept parts of all kinds that a step graph adds: what makes keys and values, and what turns and keeps them."""


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A streaming model in the precisions without calibration."""
    folder = tmp_path_factory.mktemp("stream")
    checkpoint.save(folder / "stream.safetensors", tiny_stream(), TINY_STREAM, STREAM_INFO)
    exported = export(folder / "stream.safetensors", folder / "a.mar", precisions=["fp32", "fp16", "bf16"], clips=CLIPS)
    assert exported.failures == ()
    return exported.bundle


@pytest.fixture(scope="module")
def bundle(halves: Bundle) -> Bundle:
    """The same with INT8, of weights that were read back from the bundle."""
    options = CalibrationOptions(clips=CLIPS, method="minmax", measure_blocks=True)
    exported = calibrate(halves.path, options, out=halves.path.with_name("stream.mar"))
    assert exported.failures == ()
    return exported.bundle


@pytest.fixture(scope="module")
def graph(halves: Bundle) -> ModelProto:
    """The FP32 step graph."""
    return onnx.load(str(halves.path / "mask50-fp32.onnx"))


@pytest.fixture(scope="module")
def clips(halves: Bundle) -> NDArray[np.uint8]:
    """Clips of the demo camera."""
    return open_clips(halves.manifest, count=CLIPS).stacked()


def changed(graph: ModelProto) -> ModelProto:
    """Return a copy that may be changed."""
    copy = ModelProto()
    copy.CopyFrom(graph)
    return copy


def test_every_precision_passes_on_every_step_and_on_a_long_sequence(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert (manifest.temporal, manifest.format) == ("causal", 5)
    titles = ["fp32", "fp16", "bf16", "int8 for cpu", "int8 for tensorrt"]
    assert [variant.title for variant in manifest.variants] == [f"mask 50 {title}" for title in titles]
    for variant in manifest.variants:
        parity, bounds = variant.parity, BOUNDS[variant.precision]
        assert parity.clips == (GATE_CLIPS if variant.precision == "int8" else CLIPS) * STEPS + LONG
        assert "128 time steps of them in a row" in parity.source
        largest = parity.bound / bounds.max_abs_error
        strict = {"fp32": 1e-5, "fp16": 5e-3}.get(variant.precision, bounds.max_abs_error)
        assert parity.max_abs_error <= strict * largest, variant.title
        # of one step: 8 of 16 places, and 64 keys
        assert variant.gmacs == pytest.approx(manifest.variants[0].gmacs)
    tokens, keys, width, bridge = 8, 64, 48, 64
    blocks = sum(2 * (12 * tokens * d * d + 2 * tokens * keys * d) for d in (width, bridge))
    rest = tokens * 2 * 16 * 16 * 3 * width + tokens * width * bridge + bridge * 5
    assert manifest.variants[0].gmacs == pytest.approx((blocks + rest) / 1e9)


def test_keys_and_values_have_the_type_of_the_rest(bundle: Bundle) -> None:
    wanted = {
        "fp32": TensorProto.FLOAT,
        "fp16": TensorProto.FLOAT16,
        "bf16": TensorProto.BFLOAT16,
        "int8-cpu": TensorProto.FLOAT,
        "int8-tensorrt": TensorProto.FLOAT16,
    }
    for name, kept in wanted.items():
        model = onnx.load(str(bundle.path / f"mask50-{name}.onnx"))
        types = {v.name: v.type.tensor_type.elem_type for v in [*model.graph.input, *model.graph.output]}
        fixed = {name: types.pop(name) for name in ("frames", "step", "bias", "logits")}
        assert fixed == {
            "frames": TensorProto.UINT8, "step": TensorProto.INT64, "bias": TensorProto.FLOAT, "logits": TensorProto.FLOAT
        }  # fmt: skip
        assert len(types) == 16
        assert set(types.values()) == {kept}, name
        onnx.checker.check_model(model, full_check=True)


def test_weights_come_back_from_a_step_graph(bundle: Bundle) -> None:
    model, config, info = read_bundle(bundle)
    assert config == TINY_STREAM
    assert info.mask_ratio == 0.5
    state = model.state_dict()
    for name, tensor in tiny_stream().state_dict().items():
        assert torch.equal(tensor, state[name]), name


def no_time(model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == "sin":
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), "sin"))


def no_bias(model: ModelProto) -> None:
    for node in model.graph.node:
        if "bias" in node.input:
            node.op_type = "Identity"
            node.input.remove("bias")


def wrong_slot(model: ModelProto) -> None:
    """Keep the values of the first attention for the second one, and the other way round."""
    new = {"new_v0": "new_v1", "new_v1": "new_v0"}
    for value in model.graph.output:
        value.name = new.get(value.name, value.name)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = new.get(name, name)


def wrong_phase(model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == "places":
            tensor.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(tensor), 1, axis=0), "places"))


def clock_of_32(model: ModelProto) -> None:
    """Turn as if the clock began again after 32 steps and a jump: right in every clip, wrong in a long sequence."""
    for tensor in model.graph.initializer:
        if tensor.name in ("cos", "sin"):
            table = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.concatenate([table[:32], table[5:37]]), tensor.name))


@pytest.fixture(scope="module")
def gate(halves: Bundle) -> Gate:
    """The gate of the model."""
    return Gate(tiny_stream(), halves.manifest, open_clips(halves.manifest, count=CLIPS))


@pytest.mark.parametrize("fault", [no_time, no_bias, wrong_slot, wrong_phase, clock_of_32])
def test_a_wrong_step_graph_is_refused(
    graph: ModelProto, gate: Gate, tmp_path: Path, fault: Callable[[ModelProto], None]
) -> None:
    model = changed(graph)
    fault(model)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "wrong.onnx")
    with pytest.raises(ExportError, match="it does not match torch: largest error of a logit"):
        gate.check(unmeasured(tmp_path / "wrong.onnx", 50), tmp_path / "wrong.onnx")


def test_keys_that_overflow_are_refused(graph: ModelProto, gate: Gate, tmp_path: Path) -> None:
    half = to_half(graph, "fp16", ())
    for node in half.graph.node:  # values are shifted beyond the range of FP16
        if node.name == "encoder.blocks.0.attn/Add":
            weights = next(t for t in half.graph.initializer if t.name in node.input)
            weights.CopyFrom(numpy_helper.from_array(np.full(weights.dims, 6e4, np.float16), weights.name))
    onnx.save(half, tmp_path / "half.onnx")
    with pytest.raises(ExportError, match="values overflow fp16"):
        gate.check(unmeasured(tmp_path / "half.onnx", 50, "fp16"), tmp_path / "half.onnx")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_parts_of_a_step_may_stay_fp32(graph: ModelProto, clips: NDArray[np.uint8], precision: str) -> None:
    half = to_half(graph, precision, KEPT)
    onnx.checker.check_model(half, full_check=True)
    assert check_precision(half, precision, KEPT) == []
    types = {v.name: v.type.tensor_type.elem_type for v in half.graph.output}
    assert {types[name] for name in types if name.startswith(FRESH)} == {HALF[precision]}
    expected = ClipRunner.of(session(graph)).logits(clips[0])
    got = ClipRunner.of(session(emulate(half))).logits(clips[0])
    assert misses(expected, got, BOUNDS[precision]) == []


def test_the_state_is_rounded_where_half_is_emulated(graph: ModelProto, clips: NDArray[np.uint8]) -> None:
    runner = ClipRunner.of(session(emulate(to_half(graph, "fp16", ()))))
    for keys, values in runner.show(clips[0], ["new_k1", "new_v2"]):
        for kept in (keys, values):
            assert kept.dtype == np.float32
            assert np.array_equal(kept, kept.astype(np.float16).astype(np.float32))


def test_the_parts_that_do_harm_are_blamed(graph: ModelProto, clips: NDArray[np.uint8]) -> None:
    found = leaves(graph)
    probe = error_probe(graph, found, HALF["bf16"], ())
    names = list(probe.leaves)
    # the last step sees the whole band: no error of an empty slot counts
    *_, last = ClipRunner.of(session(probe.model)).show(clips[0], names)
    blame = blame_leaves(graph, found, {name: float(value) for name, value in zip(names, last, strict=True)})
    ranked = sorted(blame, key=lambda leaf: -blame[leaf])
    assert 0 < blame["classifier.blocks.1.attn.rotary"] <= 1
    expected = ClipRunner.of(session(graph)).logits(clips[0])
    half = len(ranked) // 2
    worst, best = (
        np.abs(ClipRunner.of(session(emulate(to_half(graph, "bf16", kept)))).logits(clips[0]) - expected).max()
        for kept in (ranked[half:], ranked[:half])
    )
    assert best < worst / 2


def test_the_turn_and_the_bias_have_leaves_of_their_own(graph: ModelProto) -> None:
    found = leaves(graph)
    part = "encoder.blocks.1.attn"
    by_leaf: dict[str, list[str]] = {}
    for node in graph.graph.node:
        if node.name.startswith(f"{part}/"):
            by_leaf.setdefault(found[node.name].removeprefix(f"{part}."), []).append(node.op_type)
    assert set(by_leaf) == {"qkv", "rotary", "scores", "softmax", "mix"}
    assert sorted(set(by_leaf["rotary"])) == ["Add", "Concat", "Mul", "Split", "Sub"]
    assert by_leaf["scores"] == ["Mul", "MatMul", "Add"]
    assert [found[name] for name in ("/Gather", "/Gather_2")] == ["", ""]  # the clock's tables stay FP32


def test_kept_keys_and_values_are_not_quantised(bundle: Bundle) -> None:
    for placement in ("cpu", "tensorrt"):
        model = onnx.load(str(bundle.path / f"mask50-int8-{placement}.onnx"))
        taken = {name: node.op_type for node in model.graph.node for name in node.input if name.startswith(PAST)}
        assert len(taken) == 8
        assert set(taken.values()) == {"Concat"}
        quantised = {name for node in model.graph.node if node.op_type == "QuantizeLinear" for name in node.input[:1]}
        assert "bias" not in quantised
        # products of attention are INT8, with the kept keys among the others
        assert {"encoder.blocks.0.attn/Softmax", "encoder.blocks.0.attn/Concat_4"} <= quantised


def test_the_sensitivity_of_each_block_is_measured(bundle: Bundle) -> None:
    about = bundle.variant(50, "int8", engine="onnxruntime").quantisation
    blocks = {damage["block"] for damage in about["sensitivity"]}
    assert {"encoder.blocks.1", "classifier.blocks.0"} <= blocks


def test_verification_sees_every_step_and_times_single_ones(bundle: Bundle, clips: NDArray[np.uint8]) -> None:
    variants = [bundle.variant(50, precision) for precision in ("fp32", "fp16")]
    engines = [create_engine(bundle, variant) for variant in variants]
    turns = run_in_turns(engines, iter(clips), count=CLIPS)
    for engine, turn in zip(engines, turns, strict=True):
        assert turn.failure is None
        one_by_one = np.concatenate([engine.every_step(clip[None])[0] for clip in clips])
        in_a_row = engine.every_step(clips.reshape(1, -1, *clips.shape[2:]))[0]
        assert np.allclose(np.stack(turn.logits), np.concatenate([one_by_one, in_a_row]), atol=1e-6)
        # the first step of a state is not timed: three fresh ones, and one that goes on
        assert len(turn.times_ms) == 2 * CLIPS * STEPS - CLIPS - 1


def test_the_class_of_a_clip_is_that_of_its_last_step() -> None:
    spec = describe(Path("m"), TINY_STREAM, STREAM_INFO)
    logits = np.zeros((8, 5), np.float32)
    found = step_targets(np.array([4, 2]), [3, 4], logits, spec)
    assert found is not None
    assert found.tolist() == [-1, -1, 4, -1, -1, -1, 2, -1]
    assert step_targets(None, [3, 4], logits, spec) is None
    logits[[1, 3, 7], [1, 2, 1]] = 5, 1, 9  # the surest answer of each clip, and one of no clip
    brief = replace(STREAM_INFO, clip_answer="peak", idle_label="a")
    found = step_targets(np.array([4, 2]), [3, 4], logits, describe(Path("m"), TINY_STREAM, brief))
    assert found is not None
    assert found.tolist() == [-1, 4, -1, 2, -1, -1, -1, -1]


def test_the_gate_answers_to_labelled_clips_of_brief_actions_as_classify_does(tmp_path: Path) -> None:
    info = replace(STREAM_INFO, clip_answer="peak", idle_label="a")
    checkpoint.save(tmp_path / "m.safetensors", tiny_stream(), TINY_STREAM, info)
    model = open_checkpoint(tmp_path / "m.safetensors")
    lines = ["path,label"]
    for index, frames in enumerate((7, 24, 60)):  # one shorter than a window, one longer than the held-out part of it
        write_film(tmp_path / f"{index}.mp4", moving_square("right", index, frames, size_px=64))
        said = model.classify(tmp_path / f"{index}.mp4").label
        lines.append(f"{index}.mp4,{said if index else 'abcde'['abcde'.index(said) - 1]}")  # the first one is wrong
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    done = export(tmp_path / "m.safetensors", tmp_path / "m.mar", data=tmp_path / "clips.csv")
    (variant,) = done.bundle.manifest.variants
    assert [variant.parity.reference_top1, variant.parity.top1] == pytest.approx([2 / 3, 2 / 3])
    assert not [warning for warning in done.warnings if "shorter" in warning or "without a gap" in warning]
    clips = open_labelled_clips(done.bundle.manifest, tmp_path / "clips.csv", count=8)
    trial = Trial.of(done.bundle.graph_path(variant), clips)
    assert trial.targets is not None and (trial.targets >= 0).sum() == 3
    known = trial.targets >= 0
    assert (trial.reference.argmax(axis=1) == trial.targets)[known].sum() == 2


def test_clips_are_joined_and_repeated() -> None:
    clips = [np.full((4, 1, 1, 3), value, np.uint8) for value in (1, 2)]
    assert joined(clips, 5, 2)[:, 0, 0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 1, 1]


def test_the_layer_report_names_what_a_step_adds(bundle: Bundle) -> None:
    blocks = {block.name: block for block in report(bundle.path / "mask50-fp16.onnx")}
    steps = {step.name: step for step in blocks["encoder.blocks.0 to 1"].steps}
    assert steps["attn.rotary"].operators == "turn by time + kept keys and values"
    assert steps["attn"].operators == "MatMul + band + Softmax + MatMul"
    assert steps["attn"].fusion.why == "head width 16, 64 tokens"
    assert blocks["encoder.embed"].steps[0].operators == "MatMul + bias + positions"


def test_the_card_tells_of_the_step_and_the_state(bundle: Bundle) -> None:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["inspect", str(bundle.path)])
    assert done.exit_code == 0, done.stderr
    assert "an answer every 2 frames, a time step" in done.stdout
    assert "band of 8 steps" in done.stdout
    # 7 slots of 8 tokens, keys and values, two attentions each of width 48 and 64
    size = 2 * 7 * 8 * 2 * (48 + 64)
    assert f"{4 * size / 1e6:.3g} MB for a stream" in done.stdout
    assert f"{2 * size / 1e6:.3g} MB for a stream" in done.stdout
    layout = create_engine(bundle, bundle.variant(50, "fp32")).layout
    assert layout is not None
    assert layout.bytes == 4 * size


def test_triton_is_refused_with_what_to_do_instead(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"stream is a streaming model.*serve a windowed model.*mar-edge run"):
        write_triton(bundle, tmp_path / "triton")
    assert not (tmp_path / "triton").exists()


@pytest.mark.parametrize("name", ["fp16", "int8-tensorrt"])
def test_tensorrt_builds_a_step(bundle: Bundle, name: str) -> None:
    need(find_spec("tensorrt_rtx") is not None, "tensorrt_rtx is not installed")
    trt: Any = import_module("tensorrt_rtx")

    path = bundle.path / f"mask50-{name}.onnx"
    check(path)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(path)), [str(parser.get_error(index)) for index in range(parser.num_errors)]
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for index in range(network.num_inputs):
        given = network.get_input(index)
        profile.set_shape(given.name, *[(1, *tuple(given.shape)[1:])] * 3)
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None


@pytest.mark.parametrize(("name", "kind"), [("step", TensorProto.INT32), ("past_v1", TensorProto.FLOAT16)])
def test_inputs_of_a_wrong_type_are_named_before_a_build(
    graph: ModelProto, tmp_path: Path, name: str, kind: int
) -> None:
    model = changed(graph)
    next(v for v in model.graph.input if v.name == name).type.tensor_type.elem_type = kind
    onnx.save(model, tmp_path / "wrong.onnx")
    with pytest.raises(ExportError, match=f"'{name}' is .*; only frames UINT8, step INT64"):
        check(tmp_path / "wrong.onnx")


def test_statistics_are_those_of_every_step_with_what_is_kept(
    halves: Bundle, graph: ModelProto, clips: NDArray[np.uint8]
) -> None:
    keys, values = "encoder.blocks.0.attn/Concat_3", "encoder.blocks.1.attn/Concat_4"
    found = collect_from(
        GraphView(graph), [keys, values], open_clips(halves.manifest, count=1), key="", cache=None
    ).tensors
    runner = ClipRunner.of(session(graph))
    fresh = list(runner.show(np.concatenate([clips[0]] * 2), ["new_k0", "new_v1"]))  # a clip twice in a row
    for place, name in enumerate((keys, values)):
        new = np.stack([step[place] for step in fresh])
        assert found[name].count == 2 * STEPS * 8 * new[0].size  # of eight slots at every step
        assert found[name].low == pytest.approx(min(0, new.min()))  # empty slots are 0
        assert found[name].high == pytest.approx(max(0, new.max()))


def test_profile_tells_the_bytes_of_the_state(bundle: Bundle) -> None:
    variant = bundle.variant(50, "fp32")
    told = Profile(variant, "onnxruntime", layout=create_engine(bundle, variant).layout).to_json()
    assert told["state_bytes"] == 7 * told["step_bytes"] == 4 * 7 * 8 * 2 * 2 * (48 + 64)
