"""`mar-edge verify` and `mar-edge profile` on a tiny model of every precision, on the engines that are here."""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import mar_edge
from mar_edge.bundle import Bundle
from mar_edge.cli.main import app
from mar_edge.cli.verify import verdicts
from mar_edge.errors import EngineError, ExportError
from mar_edge.manifest import Parity, Variant
from mar_edge.runtime.engines.registry import available_engines, create_engine
from mar_edge.runtime.measurement import bounds
from mar_edge.runtime.measurement.profiling import block_times
from mar_edge.runtime.measurement.timing import run_in_turns
from mar_edge.runtime.measurement.verification import Measurement, broken_promise, choose_pairs
from tests.conftest import need
from tests.fakes.bundle import BrightnessEngine
from tests.fakes.command_line import records
from tests.fakes.environment import has_bf16
from tests.fakes.family import damage, set_head_weight, write_family
from tests.fakes.films import write_films


@pytest.fixture(scope="module", autouse=True)
def openvino() -> None:
    """OpenVINO beside ONNX Runtime."""
    need(find_spec("openvino") is not None, "openvino is not installed")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of every precision, not to be changed."""
    return write_family(tmp_path_factory.mktemp("family") / "tiny.mar").path


@pytest.fixture
def bundle(family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A copy of it, and an empty cache."""
    monkeypatch.setenv("MAR_EDGE_CACHE", str(tmp_path / "cache"))
    return Bundle(Path(shutil.copytree(family, tmp_path / "tiny.mar")))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def four_clips_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge agreement from four clips on."""
    monkeypatch.setattr(bounds, "AGREEMENT_CLIPS", 4)


@pytest.mark.usefixtures("four_clips_suffice")
def test_every_graph_is_compared_in_every_engine_and_remembered(bundle: Bundle) -> None:
    done = run("verify", bundle.path, "--clips", "4", "--threads", "1", "--json", "-")
    assert done.exit_code == 0, done.stderr
    *measurements, summary = records(done.stdout)
    by_title = {(line["precision"], line["engine"]): line for line in measurements}
    engines = available_engines()
    assert set(by_title) == {(precision, name) for precision in ("fp32", "fp16", "bf16", "int8") for name in engines}
    assert by_title["fp32", "onnxruntime"]["speed"] == 1
    for (precision, name), line in by_title.items():
        if line["failure"] is None:
            assert line["held"], line["missed"]
            assert line["median_ms"] > 0
            assert line["engine_version"]
            if (precision, name) != ("fp32", "onnxruntime"):
                assert line["parity"]["clips"] == 4
                assert line["parity"]["reference"] == "graph fp32"
    assert by_title["bf16", "onnxruntime"]["failure"].startswith("ONNX Runtime has no bf16 kernels")
    assert by_title["int8", "openvino"]["products"].keys() == {"int8"}
    assert "tiny on " in done.stderr
    assert "4 clips, demo camera" in done.stderr
    assert "mask 50 bf16 in onnxruntime: does not run here. ONNX Runtime has no bf16" in done.stderr
    # what auto takes now is what load takes, with as many threads
    now = summary["auto"]["50"]
    assert f"auto uses at mask 50: {now['precision']} in {now['engine']}" in done.stderr
    model = mar_edge.load(bundle.path, threads=1)
    assert (model.engine.name, model.variant.precision, model.reason) == (
        now["engine"],
        now["precision"],
        now["reason"],
    )
    assert "measured 20" in model.reason
    assert mar_edge.load(bundle.path).reason.startswith("measured here with 1 thread, not with all cores. Run: ")


def test_a_damaged_graph_is_named_and_never_taken(bundle: Bundle) -> None:
    damage(bundle, "mask50-fp16.onnx", set_head_weight(9))
    done = run("verify", bundle.path, "--clips", "3")
    assert done.exit_code == 1
    assert isinstance(done.exception, ExportError)
    told = str(done.exception)
    assert told.startswith("2 of 8 exceed the bounds of their precision here: mask 50 fp16 in onnxruntime (")
    assert "mask 50 fp16 in openvino (largest error of a logit " in told
    assert "int8" not in told
    assert "bf16" not in told
    assert "mask 50 fp16 in openvino: misses its bounds, largest error of a logit " in done.stderr
    assert mar_edge.load(bundle.path).variant.precision != "fp16"


def test_a_damaged_reference_stops_it(bundle: Bundle) -> None:
    damage(bundle, "mask50-fp32.onnx", set_head_weight(float("nan")))
    done = run("verify", bundle.path, "--clips", "3")
    assert isinstance(done.exception, EngineError)
    assert "mask 50 fp32 does not run in onnxruntime, so nothing can be compared" in str(done.exception)


def test_without_fp32_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAR_EDGE_CACHE", str(tmp_path / "cache"))
    bundle = write_family(tmp_path / "tiny.mar", precisions=["fp16"])
    done = run("verify", bundle.path, "--clips", "3", "--json", "-")
    assert done.exit_code == 0
    measurements = [line for line in records(done.stdout) if line["type"] == "measurement"]
    assert all(line["parity"] is None and line["speed"] is None and not line["held"] for line in measurements)
    assert "the bundle has no fp32 graph at this mask to compare it with" in done.stderr
    model = mar_edge.load(bundle.path)
    assert (model.engine.name, model.variant.precision) == ("onnxruntime", "fp16")


def test_labels_are_used_where_there_are_any(bundle: Bundle, tmp_path: Path) -> None:
    listing = write_films(tmp_path / "films", 2)
    done = run("verify", bundle.path, "--data", listing, "--clips", "4", "--precision", "int8", "--json", "-")
    assert done.exit_code == 0, done.stderr
    found = [line["parity"] for line in records(done.stdout) if line.get("precision") == "int8"]
    assert all(line["clips"] == 4 and 0 <= line["top1"] <= 1 and line["reference_top1"] is not None for line in found)
    assert "top-1" in done.stderr
    broken = tmp_path / "films" / "left_0.mp4"
    broken.write_bytes(b"no video")
    done = run("verify", bundle.path, "--data", listing, "--clips", "4")
    assert "left_0.mp4" in str(done.exception)


def test_only_what_is_asked_for_is_measured_beside_the_reference(bundle: Bundle) -> None:
    pairs = choose_pairs(bundle, engines=["openvino"], precisions=["int8"])
    assert [(variant.precision, name) for variant, name in pairs] == [("fp32", "onnxruntime"), ("int8", "openvino")]
    done = run("verify", bundle.path, "--mask", "75")
    assert "no graph of the requested masks and precisions; it has mask 50 fp32" in str(done.exception)
    done = run("verify", bundle.path, "--engine", "onnxruntime", "--precision", "bf16", "--clips", "1")
    assert done.exit_code == 1
    assert "no graph of bf16 runs here: ONNX Runtime has no bf16 kernels" in str(done.exception)
    for option in (["--engine", "tpu"], ["--precision", "int3"]):
        assert run("verify", bundle.path, *option).exit_code == 2


@pytest.mark.usefixtures("four_clips_suffice")
def test_a_cache_that_cannot_be_written_is_a_warning(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAR_EDGE_CACHE", str(tmp_path / "file"))
    done = run("verify", bundle.path, "--clips", "4")
    assert done.exit_code == 0
    assert "Set MAR_EDGE_CACHE to a folder you can write to; nothing is stored" in " ".join(done.stderr.split())


def test_run_says_what_it_runs_and_why(bundle: Bundle) -> None:
    arguments: list[str | Path] = [
        "--source",
        "demo:realtime=no",
        "--model",
        bundle.path,
        "--max-seconds",
        "2",
        "--json",
        os.devnull,
    ]
    done = run("run", *arguments, "--engine", "openvino")
    assert done.exit_code == 0, done.stderr
    expected = f"tiny: fp32 at mask 50 in openvino, not measured here yet. Run: mar-edge verify {bundle.path}"
    assert done.stderr.splitlines()[0] == expected


PARITY = Parity(max_abs_error=0, bound=1, clips=50, source="made up", top1_agreement=1.0)


def made_up(precision: str, engine: str, median_ms: float, mask: int = 50, **more: Any) -> Measurement:
    variant = Variant.model_construct(mask=mask, precision=precision, placement="any", kept=())
    return Measurement(variant, engine, "1", median_ms=median_ms, speed=100 / median_ms, parity=PARITY, **more)


def test_int8_that_is_slower_is_said() -> None:
    reference = made_up("fp32", "onnxruntime", 100)
    fast, slow, same = (
        made_up("fp32", "openvino", 80),
        made_up("int8", "onnxruntime", 107),
        made_up("int8", "openvino", 78),
    )
    assert verdicts([reference, fast, slow, same]) == [
        "mask 50 int8 in onnxruntime: slower here than fp32 in openvino, so auto does not use it",
        "mask 50 int8 in openvino: hardly faster here than fp32 in openvino (5 % or less), so auto does not use it",
    ]
    assert verdicts([reference, fast, made_up("int8", "openvino", 40)]) == []
    # what missed its bounds is no competitor
    assert verdicts(
        [reference, made_up("bf16", "openvino", 30, missed=("cosine",)), made_up("int8", "openvino", 40)]
    ) == ["mask 50 bf16 in openvino: misses its bounds, cosine"]


def test_a_remark_is_one_line_for_all_graphs_of_which_it_is_true() -> None:
    found = [
        measurement
        for mask in (0, 50, 75)
        for measurement in (
            made_up("fp32", "onnxruntime", 100, mask),
            made_up("fp16", "onnxruntime", 101, mask, unkept="39 of 39 matrix products run in fp32, not in fp16"),
            made_up("bf16", "onnxruntime", 1, mask, failure="It has no kernels."),
            made_up("int8", "openvino", 120 if mask else 40, mask),
        )
    ]
    assert verdicts(found) == [
        "mask 0/50/75 fp16 in onnxruntime: 39 of 39 matrix products run in fp32, not in fp16",
        "mask 0/50/75 fp16 in onnxruntime, mask 50/75 int8 in openvino: slower here than fp32 in onnxruntime, so auto "
        "does not use it",
        "mask 0/50/75 bf16 in onnxruntime: does not run here. It has no kernels.",
    ]


@pytest.mark.usefixtures("four_clips_suffice")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--precision", "fp32", "--precision", "int8", "--clips", "4"],
            "this run has only part of the graphs and engines",
        ),
        (["--engine", "onnxruntime", "--clips", "4"], "this run has only part of the graphs and engines"),
        (["--clips", "3"], "3 clips are too few to judge agreement, which takes 4"),
    ],
)
def test_auto_goes_by_whole_runs_only(bundle: Bundle, tmp_path: Path, options: list[str], told: str) -> None:
    done = run("verify", bundle.path, *options, "--json", "-")
    assert done.exit_code == 0, done.stderr
    assert f"not stored, so auto is unchanged: {told}" in done.stderr
    assert "auto uses at mask" not in done.stderr
    assert records(done.stdout)[-1]["auto"] == {}
    assert not (tmp_path / "cache").exists()
    assert mar_edge.load(bundle.path).reason.startswith("not measured here yet")


@pytest.mark.parametrize("error", [None, OSError(28, "No space left on device")])
def test_a_full_disk_only_costs_what_onnx_runtime_notes(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    def cut(path: Path, **_: Any) -> str:
        if error:
            raise error
        return '[\n{"cat" : "Sess'

    engine = create_engine(bundle, bundle.variant(precision="fp32"), "onnxruntime")
    clip = np.zeros((1, *bundle.manifest.geometry.clip_shape), np.uint8)
    monkeypatch.setattr(Path, "read_text", cut)
    assert engine.layer_precisions() is None
    assert engine.layer_times(clip) is None


def test_numbers_that_were_not_promised_are_told() -> None:
    def promise(precisions: dict[str, str], **changes: Any) -> str | None:
        variant = Variant.model_construct(**{"precision": "int8", "placement": "cpu", "kept": (), **changes})
        return broken_promise(variant, precisions)

    attention, head = "encoder.blocks.0.attn/MatMul_2", "classifier.head/Gemm"
    whole = {attention: "int8", "encoder.blocks.0.fc1/MatMul": "int8", head: "int8"}
    assert promise(whole) is None
    assert promise(whole | {head: "fp32"}) == "1 of 3 matrix products run in fp32, not in int8: classifier.head/Gemm"
    assert promise(dict.fromkeys(whole, "fp32")) == "3 of 3 matrix products run in fp32, not in int8"
    assert promise(whole | {head: "fp32"}, kept=("classifier",)) is None
    assert promise(whole | {attention: "fp32"}, kept=("encoder.blocks.0.attn.scores",)) is None
    assert promise(whole | {attention: "fp32"}, placement="tensorrt") is None
    assert promise(whole | {attention: "fp32"}) is not None


def test_engines_take_turns_and_one_that_fails_drops_out(tmp_path: Path) -> None:
    class Failing(BrightnessEngine):
        def _infer(self, frames: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
            if len(self.seen) == 3:
                raise EngineError("out of memory")
            return super()._infer(frames)

    engines = [BrightnessEngine(tmp_path / "a.mar"), Failing(tmp_path / "b.mar")]
    clips = [np.full((4, 32, 32, 3), value, np.uint8) for value in (0, 100, 200)]
    ticks: list[int] = []
    good, bad = run_in_turns(engines, clips, count=3, rounds=6, progress=lambda: ticks.append(1))
    assert len(good.times_ms) == 6  # two of each clip, beside one that is not counted
    assert [float(logits[2]) for logits in good.logits] == pytest.approx([0, 8 * 100 / 255, 8 * 200 / 255])
    assert good.failure is None
    assert bad.failure == "out of memory"
    assert len(ticks) == 3


def test_profile_tells_time_memory_and_blocks(bundle: Bundle, tmp_path: Path) -> None:
    if not has_bf16():
        pytest.skip("this CPU has no BF16 arithmetic, which nobody can install")
    out = tmp_path / "profile.jsonl"
    done = run("profile", bundle.path, "--precision", "bf16", "--runs", "2", "--json", out)
    assert done.exit_code == 0, done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["precision"], line["engine"]) for line in lines] == [
        ("fp32", "onnxruntime"), ("bf16", "onnxruntime"), ("bf16", "openvino"),
    ]  # fmt: skip
    for line in lines[::2]:
        assert line["gmacs_per_s"] == pytest.approx(1000 * line["gmacs"] / line["median_ms"])
        assert 20 < line["held_mb"] <= line["peak_mb"] < 2000
        assert {"pixels", "encoder.embed", "encoder.blocks.0", "encoder.blocks.1", "classifier.blocks.1"} <= set(
            line["blocks_ms"]
        )
    assert "has no bf16 kernels" in lines[1]["failure"]
    assert "encoder.blocks.1" in done.stderr
    assert "mask 50 bf16 in onnxruntime does not run" in done.stderr


def test_steps_that_an_engine_added_count_for_the_block_that_comes_next() -> None:
    times = {"/Cast": 1.0, "MVN_3": 2.0, "encoder.blocks.0.attn/MatMul": 4.0, "node/x": 8.0, "encoder.blocks.0.fc1/MatMul": 16.0,
             "classifier.head/Gemm/fused": 32.0, "logits": 64.0}  # fmt: skip
    assert block_times(times) == {"pixels": 1.0, "encoder.blocks.0": 30.0, "classifier.head": 96.0}
    assert block_times({"node_linear": 1.0}) is None
